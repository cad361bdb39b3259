# SPDX-License-Identifier: Apache-2.0
"""What every allocator must do; each driver's tests run all of it."""

import datetime

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture

State = types.State

PROJECTS = spaces.LevelSpace.parse('c14.c17', 2, '', 'c10.c13')


class AllocatorContract:
    """A mixin: the test class makes allocators on one store.

    ``make(cooling_time, **options)`` gives another allocator on its store,
    whose space is two of c0.c9: 45 levels.
    """

    def setUp(self):
        super().setUp()
        self.allocator = self.make(3600)
        self.warm = self.make(0)
        self.uuid = fixture.new_uuid()

    def state(self):
        return self.allocator.get(self.uuid).state

    def test_acquire_gives_a_level_of_the_space(self):
        before = datetime.datetime.now(datetime.UTC)
        got = self.allocator.acquire(self.uuid, 'p', 'a')
        self.assertIn(got.level, self.allocator.space())
        self.assertEqual(self.uuid, got.instance_uuid)
        self.assertEqual('p', got.project_id)
        self.assertEqual({'a'}, got.hosts)
        self.assertIs(State.HELD, got.state)
        self.assertIsNone(got.retired_at)
        stored = self.allocator.get(self.uuid)
        self.assertEqual(got, stored)
        self.assertLess(
            abs(stored.created_at - before), datetime.timedelta(seconds=10)
        )
        self.assertEqual(got, self.allocator.find(got.level))
        self.assertEqual([got], self.allocator.list())

    def test_a_full_space_costs_those_who_have_a_level_nothing(self):
        held = [
            self.warm.acquire(fixture.new_uuid(), 'p', 'a')
            for _ in range(self.warm.space().size)
        ]
        self.assertRaises(
            exception.SpaceFull, self.warm.acquire, self.uuid, 'p', 'a'
        )
        for host in ('a', 'b'):
            for found in held[:5]:
                again = self.warm.acquire(found.instance_uuid, 'p', host)
                self.assertEqual(found.level, again.level)

    def test_names_like_those_of_keys_mean_nothing(self):
        for name in ('PRIMARY', "'PRIMARY'", 'allocation_pkey'):
            uuid = fixture.new_uuid()
            first = self.allocator.acquire(uuid, name, name)
            self.assertEqual(first, self.warm.acquire(uuid, name, name))

    def test_acquire_again_keeps_the_level(self):
        first = self.allocator.acquire(self.uuid, 'p', 'a')
        self.assertEqual(first, self.allocator.acquire(self.uuid, 'p', 'a'))
        second = self.allocator.acquire(self.uuid, 'p', 'b')
        self.assertEqual(first.level, second.level)
        self.assertEqual({'a', 'b'}, second.hosts)
        self.assertEqual(second, self.make(3600).get(self.uuid))

    def test_one_spelling_of_an_instance(self):
        first = self.allocator.acquire(self.uuid, 'p', 'a')
        again = self.allocator.acquire(self.uuid.upper(), 'p', 'a')
        self.assertEqual(first, again)
        self.assertEqual(first, self.allocator.get(self.uuid.upper()))

    def test_a_list_in_parts(self):
        for _ in range(7):
            self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.allocator.acquire(fixture.new_uuid(), 'q', 'b')
        everything = self.allocator.list()
        self.assertEqual(8, len(everything))
        self.assertEqual(everything[:3], self.allocator.list(limit=3))
        self.assertEqual(
            everything[3:6],
            self.allocator.list(after=everything[2].level, limit=3),
        )
        self.assertEqual(
            everything[6:], self.allocator.list(after=everything[5].level)
        )
        self.assertEqual([], self.allocator.list(after=everything[7].level))
        own = [each for each in everything if each.project_id == 'p']
        self.assertEqual(
            own[2:5],
            self.allocator.list(
                project_id='p', host='a', after=own[1].level, limit=3
            ),
        )

    def test_adopt_records_the_level_that_a_guest_has(self):
        level = levels.Level.parse('s0:c3,c4')
        got = self.allocator.adopt(self.uuid, 'p', 'a', level)
        self.assertEqual(level, got.level)
        self.assertEqual({'a'}, got.hosts)
        self.assertEqual(got, self.allocator.acquire(self.uuid, 'p', 'a'))
        self.assertEqual(got, self.allocator.adopt(self.uuid, 'p', 'a', level))
        self.assertEqual(
            {'a', 'b'}, self.allocator.adopt(self.uuid, 'p', 'b', level).hosts
        )

    def test_adopt_takes_nobody_elses_level_and_no_second_one(self):
        held = self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.assertRaises(
            exception.LevelTaken,
            self.allocator.adopt,
            self.uuid,
            'p',
            'a',
            held.level,
        )
        self.assertRaises(
            exception.UnknownInstance, self.allocator.get, self.uuid
        )
        own = self.allocator.acquire(self.uuid, 'p', 'a')
        free = next(
            level
            for level in self.allocator.space()
            if level not in (own.level, held.level)
        )
        self.assertRaises(
            exception.LevelTaken,
            self.allocator.adopt,
            self.uuid,
            'p',
            'a',
            free,
        )
        self.assertEqual(own, self.allocator.get(self.uuid))

    def test_adopt_takes_no_level_outside_of_the_space(self):
        self.assertRaises(
            exception.NotInSpace,
            self.allocator.adopt,
            self.uuid,
            'p',
            'a',
            levels.Level.parse('s0:c900,c901'),
        )

    def test_adopt_waits_for_a_cooling_level_and_no_longer(self):
        other = fixture.new_uuid()
        level = self.allocator.acquire(other, 'p', 'a').level
        self.allocator.give_back(other, 'a')
        self.assertRaises(
            exception.LevelTaken,
            self.allocator.adopt,
            self.uuid,
            'p',
            'a',
            level,
        )
        self.assertEqual(
            level, self.warm.adopt(self.uuid, 'p', 'a', level).level
        )

    def test_levels_are_never_comparable(self):
        got = [
            self.allocator.acquire(fixture.new_uuid(), 'p', 'a').level
            for _ in range(45)
        ]
        self.assertEqual(45, len(set(got)))
        self.assertFalse(
            [
                (a, b)
                for a in got
                for b in got
                if a is not b and a.is_comparable(b)
            ]
        )

    def test_full_space_is_refused(self):
        for _ in range(45):
            self.allocator.acquire(self.uuid, 'p', 'a')
            self.uuid = fixture.new_uuid()
        error = self.assertRaises(
            exception.SpaceFull, self.allocator.acquire, self.uuid, 'p', 'a'
        )
        self.assertIn('45', str(error))
        self.assertRaises(
            exception.UnknownInstance, self.allocator.get, self.uuid
        )

    def test_full_space_serves_those_who_hold(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        for _ in range(44):
            self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        got = self.allocator.acquire(self.uuid, 'p', 'b')
        self.assertEqual({'a', 'b'}, got.hosts)

    def test_full_space_takes_what_has_cooled(self):
        first = self.allocator.acquire(self.uuid, 'p', 'a')
        for _ in range(44):
            self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.allocator.give_back(self.uuid, 'a')
        self.assertRaises(
            exception.SpaceFull,
            self.allocator.acquire,
            fixture.new_uuid(),
            'p',
            'a',
        )
        got = self.warm.acquire(fixture.new_uuid(), 'p', 'a')
        self.assertEqual(first.level, got.level)
        self.assertEqual(0, self.allocator.stats().free)

    def test_unclaim_keeps_the_level(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.unclaim(self.uuid, 'b')
        self.assertEqual({'a'}, self.allocator.get(self.uuid).hosts)
        self.allocator.unclaim(self.uuid, 'a')
        self.allocator.unclaim(self.uuid, 'a')
        self.assertEqual(frozenset(), self.warm.get(self.uuid).hosts)
        self.assertIs(State.HELD, self.state())

    def test_a_claim_keeps_a_retired_level(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        self.assertIs(State.RETIRED, self.warm.get(self.uuid).state)
        for _ in range(44):
            self.warm.acquire(fixture.new_uuid(), 'p', 'a')
        self.assertRaises(
            exception.SpaceFull,
            self.warm.acquire,
            fixture.new_uuid(),
            'p',
            'a',
        )

    def test_cooling_starts_anew_with_the_last_claim_dropped(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        retired = self.allocator.get(self.uuid).retired_at
        self.wait_a_tick()
        self.allocator.unclaim(self.uuid, 'a')
        cooling = self.allocator.get(self.uuid)
        self.assertIs(State.COOLING, cooling.state)
        self.assertGreater(cooling.retired_at, retired)

    def test_repeated_calls_do_not_restart_cooling(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.give_back(self.uuid, 'a')
        cooling = self.allocator.get(self.uuid)
        self.wait_a_tick()
        self.allocator.give_back(self.uuid, 'a')
        self.allocator.retire(self.uuid)
        self.allocator.unclaim(self.uuid, 'a')
        self.assertEqual(cooling, self.allocator.get(self.uuid))

    def test_give_back_with_another_claim(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.give_back(self.uuid, 'a')
        self.assertIs(State.RETIRED, self.state())
        self.allocator.give_back(self.uuid, 'b')
        self.assertIs(State.COOLING, self.state())

    def test_a_retired_instance_that_comes_back_keeps_its_level(self):
        for give_up in (self.allocator.retire, self._give_back):
            first = self.allocator.acquire(self.uuid, 'p', 'a')
            give_up(self.uuid)
            again = self.allocator.acquire(self.uuid, 'p', 'a')
            self.assertEqual(first, again)

    def _give_back(self, uuid):
        self.allocator.give_back(uuid, 'a')

    def test_what_has_cooled_is_free(self):
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.allocator.give_back(self.uuid, 'a')
        self.assertEqual(1, self.allocator.stats().cooling)
        self.assertEqual(45, self.warm.stats().free)
        self.assertEqual([], self.warm.list())
        self.assertIsNone(self.warm.find(level))
        self.assertRaises(exception.UnknownInstance, self.warm.get, self.uuid)

    def test_changes_to_unknown_instances_are_no_errors(self):
        self.allocator.unclaim(self.uuid, 'a')
        self.allocator.retire(self.uuid)
        self.allocator.give_back(self.uuid, 'a')
        self.assertEqual([], self.allocator.list())

    def test_unknown_instance(self):
        for name in (self.uuid, 'no uuid', ''):
            self.assertRaises(
                exception.UnknownInstance, self.allocator.get, name
            )

    def test_reserve(self):
        level = levels.Level.parse('s0:c3,c7')
        self.assertIsNone(self.allocator.find(level))
        got = self.allocator.reserve(level, 'a legacy guest')
        self.assertIs(State.RESERVED, got.state)
        self.assertEqual('a legacy guest', got.note)
        self.assertIsNone(got.instance_uuid)
        self.assertEqual(got, self.allocator.reserve(level, 'a legacy guest'))
        self.assertEqual(got, self.warm.find(level))
        taken = {
            self.warm.acquire(fixture.new_uuid(), 'p', 'a').level
            for _ in range(44)
        }
        self.assertNotIn(level, taken)

    def test_reserve_a_level_in_use(self):
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        error = self.assertRaises(
            exception.LevelTaken, self.allocator.reserve, level, ''
        )
        self.assertIn(self.uuid, str(error))
        self.allocator.give_back(self.uuid, 'a')
        self.assertRaises(
            exception.LevelTaken, self.allocator.reserve, level, ''
        )
        self.assertIs(State.RESERVED, self.warm.reserve(level, '').state)

    def test_release(self):
        level = levels.Level.parse('s0:c3,c7')
        self.allocator.reserve(level, '')
        self.allocator.release(level)
        self.allocator.release(level)
        self.assertIsNone(self.allocator.find(level))
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        error = self.assertRaises(
            exception.LevelTaken, self.allocator.release, held.level
        )
        self.assertIn(self.uuid, str(error))
        self.assertEqual(held, self.allocator.get(self.uuid))

    def test_history(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        first = self.allocator.get(self.uuid)
        [now] = self.allocator.history(first.level)
        self.assertEqual(
            types.Holding(self.uuid, 'p', first.created_at, None), now
        )
        self.allocator.give_back(self.uuid, 'a')
        gone = self.allocator.get(self.uuid).retired_at
        [past] = self.allocator.history(first.level)
        self.assertEqual(
            types.Holding(self.uuid, 'p', first.created_at, gone), past
        )
        # It comes free, and another instance gets it.
        self.warm.tidy()
        self.assertEqual([past], list(self.allocator.history(first.level)))
        other = fixture.new_uuid()
        self.allocator.adopt(other, 'q', 'b', first.level)
        found = list(self.allocator.history(first.level))
        self.assertEqual([self.uuid, other], [h.instance_uuid for h in found])
        self.assertEqual(past, found[0])
        self.assertIsNone(found[1].until)
        self.assertLessEqual(found[0].until, found[1].since)

    def test_history_of_an_instance_that_a_host_claims_has_no_end(self):
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        [now] = self.allocator.history(held.level)
        self.assertIsNone(now.until)

    def test_history_is_forgotten(self):
        forgetful = self.make(0, history_time=0)
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.allocator.give_back(self.uuid, 'a')
        self.warm.tidy()
        self.assertEqual(1, len(self.allocator.history(level)))
        self.wait_a_tick()
        forgetful.tidy()
        self.assertEqual([], list(self.allocator.history(level)))

    def test_tidy_frees_what_has_cooled_and_no_more(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        held = self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.allocator.give_back(self.uuid, 'a')
        self.allocator.tidy()
        self.assertIs(State.COOLING, self.state())
        self.warm.tidy()
        self.assertEqual([held], self.allocator.list())

    def test_usage(self):
        other = fixture.new_uuid()
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.acquire(other, 'q', 'b')
        usage = self.allocator.usage()
        self.assertEqual({'p': 1, 'q': 1}, usage.by_project)
        self.assertEqual({'a': 1, 'b': 2}, usage.by_host)
        self.assertIsNone(usage.per_day)
        self.assertIsNone(usage.full_at)

    def test_a_changed_space_gives_out_its_own_levels(self):
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        kept = self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        fresh = spaces.LevelSpace.parse('c0.c20', 2, 'c0')
        self.allocator.set_space(fresh)
        # Also by a process that knew the former one.
        for allocator in (self.allocator, self.warm):
            self.assertEqual(fresh, allocator.space())
            for _ in range(20):
                got = allocator.acquire(fixture.new_uuid(), 'p', 'a')
                self.assertIn(got.level, fresh)
        for before in (held, kept):
            self.assertEqual(
                before, self.warm.acquire(before.instance_uuid, 'p', 'a')
            )
            self.assertEqual(before, self.warm.find(before.level))
        outside = [f for f in (held, kept) if f.level not in fresh]
        stats = self.allocator.stats()
        self.assertEqual(fresh.size, stats.size)
        self.assertEqual(42 - len(outside), stats.held)

    def test_a_space_that_levels_in_use_stand_against_is_refused(self):
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        before = self.allocator.space()
        for fresh in (
            spaces.LevelSpace.parse('c0.c9', 1),
            spaces.LevelSpace.parse('c0.c9', 3),
            spaces.LevelSpace.parse('c5.c9', 2, '', 'c0.c4'),
        ):
            error = self.assertRaises(
                exception.InvalidSpace, self.allocator.set_space, fresh
            )
            self.assertIn(str(held.level), str(error))
            self.assertEqual(before, self.allocator.space())
            self.warm.acquire(fixture.new_uuid(), 'p', 'a')

    def test_a_space_beside_levels_that_it_cannot_meet(self):
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        fresh = spaces.LevelSpace.parse('c20.c29', 2, '', 'c10.c19')
        self.warm.set_space(fresh)
        got = self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.assertIn(got.level, fresh)
        self.assertEqual(held, self.allocator.acquire(self.uuid, 'p', 'a'))
        self.assertFalse(held.level.is_comparable(got.level))

    def test_levels_of_a_project_have_its_part(self):
        self.allocator.set_space(PROJECTS)
        parts = {}
        for project in ('p', 'q', 'p', 'q', 'p'):
            allocator = (self.allocator, self.warm)[len(parts) % 2]
            got = allocator.acquire(fixture.new_uuid(), project, 'a')
            self.assertIn(got.level, PROJECTS)
            part = PROJECTS.project_part(got.level)
            self.assertEqual(part, got.project_level)
            self.assertEqual(part, parts.setdefault(project, part))
            self.assertEqual(got, allocator.get(got.instance_uuid))
            self.assertEqual(
                got, allocator.acquire(got.instance_uuid, project, 'a')
            )
        self.assertNotEqual(parts['p'], parts['q'])

    def test_a_project_has_all_of_its_levels_and_no_more(self):
        self.allocator.set_space(PROJECTS)
        for project in ('p', 'q'):
            got = {
                self.allocator.acquire(fixture.new_uuid(), project, 'a').level
                for _ in range(PROJECTS.per_owner)
            }
            self.assertEqual(PROJECTS.per_owner, len(got))
            error = self.assertRaises(
                exception.SpaceFull,
                self.allocator.acquire,
                fixture.new_uuid(),
                project,
                'a',
            )
            self.assertIn(project, str(error))

    def test_parts_are_taken_from_projects_without_levels_alone(self):
        self.allocator.set_space(PROJECTS)
        uuids = {}
        for n in range(PROJECTS.projects):
            uuids[n] = fixture.new_uuid()
            self.allocator.acquire(uuids[n], f'p{n}', 'a')
        self.assertRaises(
            exception.SpaceFull,
            self.allocator.acquire,
            self.uuid,
            'another',
            'a',
        )
        part = self.allocator.get(uuids[3]).project_level
        self.allocator.give_back(uuids[3], 'a')
        # It cools.
        self.assertRaises(
            exception.SpaceFull,
            self.allocator.acquire,
            self.uuid,
            'another',
            'a',
        )
        self.warm.tidy()
        got = self.warm.acquire(self.uuid, 'another', 'a')
        self.assertEqual(part, got.project_level)
        # A process that remembers the former part does not give it out.
        self.assertRaises(
            exception.SpaceFull,
            self.allocator.acquire,
            fixture.new_uuid(),
            'p3',
            'a',
        )

    def test_adopt_takes_no_part_of_another_project(self):
        self.allocator.set_space(PROJECTS)
        held = self.allocator.acquire(fixture.new_uuid(), 'p', 'a')
        other = next(
            level
            for level in PROJECTS
            if PROJECTS.project_part(level) == held.project_level
            and level != held.level
        )
        self.assertRaises(
            exception.LevelTaken,
            self.allocator.adopt,
            self.uuid,
            'q',
            'a',
            other,
        )
        got = self.allocator.adopt(self.uuid, 'p', 'a', other)
        self.assertEqual(held.project_level, got.project_level)

    def test_levels_outside_the_space(self):
        for text in ('s0', 's0:c1', 's0:c1,c2,c3', 's0:c1,c900'):
            level = levels.Level.parse(text)
            self.assertRaises(
                exception.NotInSpace, self.allocator.reserve, level, ''
            )
            self.assertRaises(exception.NotInSpace, self.allocator.find, level)
        self.assertEqual([], self.allocator.list())

    def test_list_filters(self):
        held, retired, cooling = (fixture.new_uuid() for _ in range(3))
        self.allocator.acquire(held, 'p', 'a')
        self.allocator.acquire(retired, 'q', 'a')
        self.allocator.acquire(retired, 'q', 'b')
        self.allocator.retire(retired)
        self.allocator.acquire(cooling, 'q', 'b')
        self.allocator.give_back(cooling, 'b')
        free = next(
            level
            for level in self.allocator.space()
            if self.allocator.find(level) is None
        )
        self.allocator.reserve(free, 'kept')

        def listed(**filters):
            return {
                found.instance_uuid for found in self.allocator.list(**filters)
            }

        self.assertEqual({held, retired, cooling, None}, listed())
        self.assertEqual({held, retired}, listed(host='a'))
        self.assertEqual({retired}, listed(host='b'))
        self.assertEqual({retired, cooling}, listed(project_id='q'))
        self.assertEqual({retired}, listed(host='a', project_id='q'))
        self.assertEqual(set(), listed(host='A'))
        for state, uuid in (
            (State.HELD, held),
            (State.RETIRED, retired),
            (State.COOLING, cooling),
            (State.RESERVED, None),
        ):
            self.assertEqual({uuid}, listed(states=frozenset({state})))
        self.assertEqual(
            {retired, cooling},
            listed(states=frozenset({State.RETIRED, State.COOLING})),
        )
        self.assertEqual(set(), listed(states=frozenset()))
        found = self.allocator.list()
        self.assertEqual(
            sorted(found, key=lambda f: ranking.rank(f.level.categories)),
            found,
        )
        self.assertEqual(
            types.Stats(size=45, held=1, retired=1, cooling=1, reserved=1),
            self.allocator.stats(),
        )
        self.assertEqual(41, self.allocator.stats().free)

    def test_bad_arguments(self):
        for call in (
            lambda: self.allocator.acquire('x', 'p', 'a'),
            lambda: self.allocator.acquire(self.uuid, '', 'a'),
            lambda: self.allocator.acquire(self.uuid, 'p' * 256, 'a'),
            lambda: self.allocator.acquire(self.uuid, 'p', 'a\0'),
            lambda: self.allocator.acquire(self.uuid, 'p', '\ud800'),
            lambda: self.allocator.unclaim(self.uuid, ''),
            lambda: self.allocator.retire('x'),
            lambda: self.allocator.give_back(self.uuid, '\n'),
            lambda: self.allocator.reserve(
                levels.Level.parse('s0:c1,c2'), 'n' * 256
            ),
        ):
            self.assertRaises(ValueError, call)
        self.assertEqual([], self.allocator.list())
