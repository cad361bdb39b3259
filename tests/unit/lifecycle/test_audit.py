# SPDX-License-Identifier: Apache-2.0
"""Levels that meet, and what hosts have of instances."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels
from tests.unit.lifecycle.audit_case import allocation
from tests.unit.lifecycle.audit_case import AuditTestCase
from tests.unit.lifecycle.audit_case import guest
from tests.unit.lifecycle.audit_case import host
from tests.unit.lifecycle.audit_case import instance
from tests.unit.lifecycle.audit_case import Kind
from tests.unit.lifecycle.audit_case import NOW
from tests.unit.lifecycle.audit_case import ONE
from tests.unit.lifecycle.audit_case import OTHER


class AuditTest(AuditTestCase):
    def test_a_cloud_in_order_has_no_violation(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(), allocation('v', OTHER, ['b'])],
                [
                    host('a', ('u', ONE), guests=[guest()]),
                    host('b', ('v', OTHER), present=['v']),
                ],
                {
                    'u': instance('a', seen=[ONE]),
                    'v': instance('b', seen=[OTHER]),
                },
                is_at_rest=True,
            ),
        )

    # Levels that meet

    def test_two_instances_with_one_level_are_found(self):
        [found] = audit.audit([allocation(), allocation('v')], [])
        self.assertIs(Kind.LEVELS_MEET, found.kind)
        self.assertIn('instance u and instance v', found.text)

    def test_a_level_that_contains_another_is_found(self):
        smaller = levels.Level.parse('s0:c2')
        [found] = audit.audit([allocation(), allocation('v', smaller)], [])
        self.assertIs(Kind.LEVELS_MEET, found.kind)
        self.assertEqual('u', found.instance_uuid)
        self.assertIn('can open the files of instance v at s0:c2', found.text)

    def test_a_level_without_categories_is_open_to_all(self):
        self.assertIn(
            Kind.LEVELS_MEET,
            self.kinds(
                [allocation()], [host('a', ('v', levels.Level.parse('s0')))]
            ),
        )

    def test_a_reserved_level_that_an_instance_has_is_found(self):
        reserved = allocation(None, ONE, ())
        self.assertEqual(
            [Kind.LEVELS_MEET], self.kinds([allocation(), reserved], [])
        )

    def test_levels_on_two_hosts_that_the_store_does_not_know_are_found(self):
        found = audit.audit([], [host('a', ('u', ONE)), host('b', ('v', ONE))])
        self.assertIn(Kind.LEVELS_MEET, [each.kind for each in found])

    def test_what_a_project_shares_meets_nobody(self):
        part = levels.Level.parse('s0:c1')
        self.assertEqual(
            [],
            self.kinds(
                [
                    allocation(part=part),
                    allocation('v', OTHER, part=part),
                ],
                [host('a', ('u', part), ('v', part), present=['u', 'v'])],
            ),
        )

    @given(st.lists(st.sets(st.integers(0, 6), max_size=4), max_size=8))
    def test_exactly_the_levels_that_are_comparable_meet(self, chosen):
        given = [levels.Level(frozenset(each)) for each in chosen]
        expected = sum(
            one.is_comparable(other)
            for one, other in itertools.combinations(given, 2)
        )
        found = self.kinds(
            [allocation(f'u{n}', level) for n, level in enumerate(given)], []
        )
        self.assertEqual(expected, found.count(Kind.LEVELS_MEET))

    def test_a_guest_that_nova_does_not_know_must_not_meet_an_instance(self):
        for level in ('s0', 's0:c2', 's0:c1,c2', 's0:c0.c9'):
            [found] = audit.audit(
                [allocation()],
                [host('a', (None, levels.Level.parse(level)))],
            )
            self.assertIs(Kind.LEVELS_MEET, found.kind)
            self.assertEqual('u', found.instance_uuid)
            self.assertIn('the disk on a', found.text)

    def test_a_guest_that_nova_does_not_know_may_have_a_reserved_level(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(None, ONE, ())],
                [host('a', (None, ONE)), host('b', (None, ONE))],
            ),
        )

    def test_a_level_of_an_instance_without_categories_is_found(self):
        [found] = audit.audit([allocation(level=levels.Level.parse('s0'))], [])
        self.assertIs(Kind.NO_CATEGORY, found.kind)
        self.assertIn('instance u, claimed by a, has no', found.text)

    def test_a_guest_with_many_categories_is_judged_at_once(self):
        whole, half = map(levels.Level.parse, ('s0:c0.c1023', 's0:c0.c511'))
        found = self.kinds([allocation('v', half), allocation('w', whole)], [])
        self.assertEqual([Kind.LEVELS_MEET], found)

    # What hosts have

    def test_a_guest_without_label_is_unconfined(self):
        one = guest(is_labelled=False)
        self.assertEqual(
            [Kind.UNCONFINED],
            self.kinds([allocation()], [host(guests=[one])]),
        )

    def test_a_guest_at_a_level_of_libvirt_is_found(self):
        one = guest(is_static=False)
        self.assertEqual(
            [Kind.DRAWN_LEVEL],
            self.kinds([allocation()], [host(guests=[one])]),
        )

    def test_a_guest_whose_start_left_a_step_out_is_found(self):
        one = guest(omitted='its labels were not read back')
        [found] = audit.audit([allocation()], [host(guests=[one])])
        self.assertIs(Kind.UNCHECKED_START, found.kind)
        self.assertEqual(('u', 'a'), (found.instance_uuid, found.host))
        self.assertEqual(
            'instance u runs on a, and its labels were not read back',
            found.text,
        )

    def test_a_guest_is_judged_once_by_the_worst_that_is_wrong(self):
        one = guest(is_labelled=False, is_static=False, omitted='all')
        self.assertEqual(
            [Kind.UNCONFINED],
            self.kinds([allocation()], [host(guests=[one])]),
        )

    def test_a_host_that_does_not_confine_may_run_any_guest(self):
        for one in (
            guest(is_labelled=False),
            guest(is_static=False),
            guest(omitted='everything'),
        ):
            self.assertEqual(
                [],
                self.kinds(
                    [allocation()], [host(guests=[one], confines=False)]
                ),
            )

    def test_a_level_that_is_not_the_instances_is_found(self):
        [found] = audit.audit([allocation()], [host('a', ('u', OTHER))])
        self.assertIs(Kind.OTHER_LEVEL, found.kind)
        self.assertEqual(('u', 'a'), (found.instance_uuid, found.host))
        self.assertIn('the disk of instance u on a is at s0:c1,c3', str(found))

    def test_a_level_of_an_instance_without_one_is_unknown(self):
        self.assertEqual(
            [Kind.UNKNOWN_LEVEL], self.kinds([], [host('a', ('u', ONE))])
        )

    def test_a_level_that_cools_while_something_has_it_is_found(self):
        cooling = allocation(hosts=(), retired_at=NOW)
        self.assertEqual(
            [Kind.EARLY_RELEASE, Kind.UNCLAIMED],
            self.kinds([cooling], [host('a', ('u', ONE))]),
        )

    def test_a_retired_level_that_its_host_claims_is_in_order(self):
        retired = allocation(retired_at=NOW)
        self.assertEqual([], self.kinds([retired], [host('a', ('u', ONE))]))

    def test_a_host_without_a_claim_on_what_it_has_is_found(self):
        [found] = audit.audit(
            [allocation(hosts=['b'])],
            [host('a', traces={'u': ['the domain', 'the directory u']})],
        )
        self.assertIs(Kind.UNCLAIMED, found.kind)
        self.assertEqual('a', found.host)
        self.assertIn('a has the domain and the directory u of', found.text)
        self.assertIn('claimed by b', found.text)

    def test_a_directory_of_an_instance_from_before_needs_no_claim(self):
        self.assertEqual([], self.kinds([], [host('a')]))

    def test_a_host_that_must_claim_all_is_found_with_an_unclaimed_one(self):
        [found] = audit.audit([], [host('a', requires_claims=True)])
        self.assertIs(Kind.UNCLAIMED, found.kind)
        self.assertEqual(('u', 'a'), (found.instance_uuid, found.host))
        self.assertIn('does not claim it', found.text)

    def test_a_host_that_must_claim_all_and_does_is_in_order(self):
        self.assertEqual(
            [], self.kinds([allocation()], [host('a', requires_claims=True)])
        )
