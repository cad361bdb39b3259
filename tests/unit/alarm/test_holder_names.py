# SPDX-License-Identifier: Apache-2.0

import datetime
import time

import fixtures

from svirt_nova import exception
from svirt_nova.alarm import audit_lines
from svirt_nova.alarm import holder_names
from svirt_nova.allocator import types
from tests.unit.alarm import audit


class HolderNamesTest(audit.AlarmTestCase):
    def make(self):
        made = holder_names.HolderNames(
            self.conf(), lambda: self.allocator, audit.HOST
        )
        made.start()
        return made

    def ask(self, names, line):
        question = names.ask(audit_lines.read(line), 10)
        deadline = time.monotonic() + 10
        while not question.is_answered and time.monotonic() < deadline:
            time.sleep(0.005)
        return question

    def named(self, names, line):
        judgement = self.ask(names, line).judgement
        found = []
        for each in (judgement.source, judgement.target):
            held = each and each.holding
            found.append(held and held.project_id)
        return judgement.verdict.value, *found


class StoreTest(HolderNamesTest):
    def test_an_instance_of_another_host_is_found_in_the_store(self):
        self.assertEqual(
            ('cross-project', 'ann', 'eve'),
            self.named(self.make(), audit.denial(target=audit.ELSEWHERE)),
        )

    def test_claims_of_this_host_are_not_asked_for_one_by_one(self):
        names = self.make()
        self.named(names, audit.denial())
        self.named(names, audit.denial(audit.BOB, audit.ANN))
        self.assertEqual(['list'], self.allocator.asked)

    def test_the_former_holder_is_named_for_a_line_of_its_time(self):
        now = datetime.datetime.now(datetime.UTC)
        minute = datetime.timedelta(minutes=1)
        self.allocator.rows[0] = audit.row(audit.ANN, audit.HOST, now)
        old = types.Holding(
            audit.UUIDS[audit.ELSEWHERE],
            'former',
            audit.BORN,
            now - 10 * minute,
        )
        find = self.allocator.find

        def history(level, *_):
            found = find(level)
            held = [found.holding] if found else []
            return [old, *held] if str(level) == 's0:c1,c2' else held

        self.allocator.history = history
        line = audit.denial(at=time.time() - 1200)
        self.assertEqual(
            ('cross-project', 'former', 'bob'), self.named(self.make(), line)
        )

    def test_a_level_that_the_space_has_no_more_is_found_in_the_history(self):
        now = datetime.datetime.now(datetime.UTC)
        minute = datetime.timedelta(minutes=1)
        gone = types.Holding(
            audit.UUIDS[audit.ELSEWHERE], 'gone', audit.BORN, now - 10 * minute
        )
        find = self.allocator.find

        def refuse(level):
            if str(level) == 's0:c70,c71':
                raise exception.NotInSpace('it is not one of the space')
            return find(level)

        self.allocator.find = refuse
        self.allocator.history = lambda level, *_: [gone]
        line = audit.denial(target='c70,c71', at=time.time() - 1200)
        self.assertEqual(
            ('cross-project', 'ann', 'gone'), self.named(self.make(), line)
        )

    def test_a_store_that_is_not_trusted_names_nobody(self):
        self.allocator.show_trust = lambda: types.Trust(1, audit.BORN)
        self.assertEqual(
            ('doubtful', None, None), self.named(self.make(), audit.denial())
        )


class ClaimsTest(HolderNamesTest):
    driver = 'rpc'

    def test_a_guest_that_came_later_is_found_by_a_new_list(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{holder_names.__name__}._LEAST_PAUSE', 0)
        )
        names = self.make()
        self.assertEqual('cross-project', self.named(names, audit.denial())[0])
        self.allocator.rows.append(audit.row(audit.ELSEWHERE, audit.HOST))
        self.assertEqual(
            ('cross-project', 'ann', 'eve'),
            self.named(names, audit.denial(target=audit.ELSEWHERE)),
        )

    def test_a_level_that_changed_hands_names_its_new_holder(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{holder_names.__name__}._LEAST_PAUSE', 0)
        )
        names = self.make()
        self.named(names, audit.denial())
        self.allocator.rows[2] = types.Allocation(
            self.allocator.rows[2].level,
            audit.UUIDS[audit.ELSEWHERE],
            'eve',
            frozenset({audit.HOST}),
            audit.BORN,
        )
        self.assertEqual(
            ('cross-project', 'ann', 'eve'), self.named(names, audit.denial())
        )

    def test_what_was_listed_names_while_the_allocator_is_away(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{holder_names.__name__}._LEAST_PAUSE', 0)
        )
        names = self.make()
        self.named(names, audit.denial())

        def fail(**_):
            raise exception.StoreUnreachable('no answer')

        self.allocator.list = fail
        question = self.ask(names, audit.denial())
        self.assertEqual('cross-project', question.judgement.verdict.value)
        self.assertIn('no answer', question.judgement.notes[-1])

    def test_an_allocator_that_fails_in_any_way_is_asked_again(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{holder_names.__name__}._LEAST_PAUSE', 0)
        )
        listed, errors = self.allocator.list, [ValueError('x'), OSError('y')]

        def fail(**filters):
            if errors:
                raise errors.pop()
            return listed(**filters)

        self.allocator.list = fail
        names = self.make()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.named(names, audit.denial())[0] == 'cross-project':
                break
        self.assertEqual([], errors)

    def test_questions_without_number_are_not_kept(self):
        self.allocator.hangs.clear()
        names = self.make()
        sighting = audit_lines.read(audit.denial())
        asked = [names.ask(sighting, 0.01) for _ in range(1010)]
        self.assertIn('keep up', asked[-1].problem)
