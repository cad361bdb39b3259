# SPDX-License-Identifier: Apache-2.0
"""Names that look alike are different names."""

from __future__ import annotations

import unicodedata

from svirt_nova import exception
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels

_COMPOSED = unicodedata.normalize('NFC', 'comput\u00e9')

ALIKE = (
    ('compute1', 'compute 1'),
    ('compute 1', 'compute  1'),
    # A collation may ignore case, accents, width and forms of Unicode.
    ('compute1', 'Compute1'),
    ('compute1', 'comput\u00e91'),
    (_COMPOSED, unicodedata.normalize('NFD', _COMPOSED)),
    ('stra\u00dfe', 'strasse'),
    ('compute1', '\uff43ompute1'),
    ('\ufb01ve', 'five'),
    ('\u212b', '\u00c5'),
    ('\u0131', 'i'),
    # A letter of another alphabet, and two that some servers do not know.
    ('compute1', 'c\u043empute1'),
    ('\U0001f600', '\U0001f601'),
    # What a pattern or an escape would take for something else.
    ('compute1', 'compute_'),
    ('compute1', 'compute%'),
    ('compute\\', 'compute\\\\'),
    ("compute'", "compute''"),
)
"""Names that a database might take for the same, and that are not."""

NO_NAMES = (
    # A column that pads ignores spaces at the end.
    'compute1 ',
    ' compute1',
    'compute1' + 200 * ' ',
    ' ',
    'compute1\t',
    'compute1\n',
    '\ncompute1',
    'compute1\r',
    'compute1\0',
    'compute1\x1b[2J',
    'compute1\x7f',
    'compute1\x85',
    'compute1\u00a0',
    'compute1\u200b',
    'compute1\u202e',
    'compute1\u2028',
    'compute1\ufeff',
    'compute1\ud800',
    'compute1\U000e0001',
)
"""No names: who reads a log or a table would not see what they are.

MariaDB would take those with spaces at the end for others."""


class NamesContract(case.ContractCase):
    """Hosts and projects are compared by the bytes of their names."""

    def test_host_drops_no_claim_of_a_host_whose_name_looks_alike(
        self,
    ) -> None:
        for one, other in ALIKE:
            for mine, theirs in ((one, other), (other, one)):
                uuid = case.new_uuid()
                self.allocator.acquire(uuid, 'p', mine)
                self.allocator.unclaim(uuid, theirs)
                self.assertEqual({mine}, self.allocator.get(uuid).hosts)
                # As a further claim, which is kept in another place.
                self.allocator.acquire(uuid, 'p', theirs)
                self.allocator.unclaim(uuid, mine)
                self.assertEqual({theirs}, self.allocator.get(uuid).hosts)
                self.allocator.unclaim(uuid, mine)
                self.assertEqual({theirs}, self.allocator.get(uuid).hosts)
                self.warm.give_back(uuid, theirs)

    def test_hosts_whose_names_look_alike_claim_an_instance_each(
        self,
    ) -> None:
        for one, other in ALIKE:
            uuid = case.new_uuid()
            for host in (one, other, 'third', one, other):
                self.allocator.acquire(uuid, 'p', host)
            self.assertEqual(
                {one, other, 'third'}, self.allocator.get(uuid).hosts
            )
            for host, left in (
                (one, {other, 'third'}),
                (other, {'third'}),
                ('third', set()),
            ):
                self.assertIn(
                    uuid,
                    {a.instance_uuid for a in self.allocator.list(host=host)},
                )
                self.allocator.unclaim(uuid, host)
                self.assertEqual(left, self.allocator.get(uuid).hosts)
            self.allocator.retire(uuid)

    def test_host_is_listed_and_counted_under_its_own_name(self) -> None:
        for one, other in ALIKE:
            first = self.allocator.acquire(case.new_uuid(), 'p', one)
            second = self.allocator.acquire(case.new_uuid(), 'p', other)
            self.assertEqual([first], self.allocator.list(host=one))
            self.assertEqual([second], self.allocator.list(host=other))
            self.assertEqual(
                {one: 1, other: 1}, self.allocator.usage().by_host
            )
            for held in (first, second):
                for host in held.hosts:
                    self.allocator.give_back(str(held.instance_uuid), host)

    def test_project_is_listed_and_counted_under_its_own_name(self) -> None:
        for one, other in ALIKE:
            first = self.warm.acquire(case.new_uuid(), one, 'a')
            second = self.warm.acquire(case.new_uuid(), other, 'a')
            self.assertEqual([first], self.warm.list(project_id=one))
            self.assertEqual([second], self.warm.list(project_id=other))
            self.assertEqual({one: 1, other: 1}, self.warm.usage().by_project)
            for held in (first, second):
                self.warm.give_back(str(held.instance_uuid), 'a')
            self.wait_a_tick()

    def test_projects_whose_names_look_alike_share_no_part(self) -> None:
        self.allocator.set_space(case.PROJECT_SPACE)
        for one, other in ALIKE:
            held = [
                self.warm.acquire(case.new_uuid(), project, 'a')
                for project in (one, other)
            ]
            self.assertEqual(
                2,
                len({each.project_level for each in held}),
                f'{one}, {other}',
            )
            for each in held:
                self.warm.give_back(str(each.instance_uuid), 'a')
            self.wait_a_tick()
            self.warm.tidy()

    def test_names_are_kept_as_they_were_given(self) -> None:
        for name in {name for pair in ALIKE for name in pair}:
            uuid = case.new_uuid()
            self.warm.acquire(uuid, name, name)
            held = self.warm.get(uuid)
            self.assertEqual((name, {name}), (held.project_id, held.hosts))
            self.warm.give_back(uuid, name)
            self.wait_a_tick()

    def test_host_that_reports_is_not_taken_for_one_that_looks_alike(
        self,
    ) -> None:
        for one, other in ALIKE:
            self.allocator.distrust('a test')
            self.allocator.meet(one, 0)
            self.allocator.meet(other, 0)
            trust = self.allocator.report(one, [one, other])
            self.assertEqual((other,), trust.awaited)
            with self.later():
                trust = self.allocator.report(other, [])
            self.assertTrue(trust.is_trusted)

    def test_names_that_cannot_be_seen_are_refused(self) -> None:
        for name in NO_NAMES:
            for call in (
                lambda n=name: self.allocator.acquire(self.uuid, n, 'a'),
                lambda n=name: self.allocator.acquire(self.uuid, 'p', n),
                lambda n=name: self.allocator.unclaim(self.uuid, n),
                lambda n=name: self.allocator.give_back(self.uuid, n),
                lambda n=name: self.allocator.list(host=n),
                lambda n=name: self.allocator.list(project_id=n),
                lambda n=name: self.allocator.meet(n, 0),
                lambda n=name: self.allocator.report('a', [n]),
            ):
                error = self.assertRaises(ValueError, call)
                self.assertTrue(str(error).isprintable())
            self.assertRaises(
                exception.UnknownInstance, self.allocator.get, name
            )

    def test_text_that_is_refused_is_repeated_in_short(self) -> None:
        long = 5_000_000 * 'x'
        level = levels.Level.parse('s0:c1,c2')
        for call in (
            lambda: self.allocator.acquire(long, 'p', 'a'),
            lambda: self.allocator.acquire(self.uuid, long, 'a'),
            lambda: self.allocator.acquire(self.uuid, 'p', long),
            lambda: self.allocator.retire(long),
            lambda: self.allocator.list(host=long),
            lambda: self.allocator.distrust(long),
            lambda: self.allocator.distrust('why\nand a forged line'),
            lambda: self.allocator.reserve(level, 'a note\x1b[2J'),
        ):
            error = self.assertRaises(ValueError, call)
            self.assertLess(len(str(error)), 1_000)
            self.assertTrue(str(error).isprintable())
        # A service bounds texts before it looks for an instance.
        unknown = self.assertRaises(
            (exception.UnknownInstance, ValueError), self.allocator.get, long
        )
        self.assertLess(len(str(unknown)), 1_000)
