# SPDX-License-Identifier: Apache-2.0

import json

import testtools

from svirt_nova.alarm import flood_control
from tests.unit.alarm import audit

EVENT = ('2026-01-01T00:00:00.000+00:00', '1:1')


class FloodControlTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.floods = flood_control.FloodControl(60.0)

    def add(self, now, source=audit.ANN, **more):
        told, _ = self.floods.add(audit.alarm(source, **more), now)
        return [(each.verdict.value, each.is_permissive) for each in told]

    def count(self, now, count=1, target='s0:c6,c7'):
        self.floods.count('s0:c1,c2', target, count, EVENT, now)

    def due(self, now):
        return [(each.count, each.targets) for each in self.floods.due(now)[0]]

    def test_the_first_denial_of_each_level_is_told(self):
        self.assertEqual([('cross-project', False)], self.add(0))
        self.assertEqual([], self.add(1))
        self.assertEqual([('cross-project', False)], self.add(2, audit.BOB))

    def test_a_flood_is_told_as_one_with_its_count(self):
        self.add(0)
        for second in range(60):
            self.count(second, 10_000, f's0:c6,c{second % 3 + 20}')
            self.assertEqual([], self.due(second))
        self.assertEqual([(600_000, 3)], self.due(60))
        self.assertEqual([], self.due(61))

    def test_what_goes_on_is_told_at_growing_intervals(self):
        self.add(0)
        told = []
        for second in range(0, 20_000, 10):
            self.count(second)
            if self.due(second):
                told.append(second)
        self.assertEqual([60, 180, 420, 900, 1860, 3780, 7380], told[:7])
        self.assertEqual(3600, told[-1] - told[-2])

    def test_a_flood_that_is_over_is_told_and_forgotten(self):
        self.add(0)
        self.count(59)
        self.due(60)
        self.count(100)
        self.assertEqual([], self.due(150))
        self.assertEqual([(1, 1)], self.due(160))
        self.assertEqual(0, len(self.floods))
        self.assertEqual([('cross-project', False)], self.add(161))

    def test_what_is_worse_is_told_at_once(self):
        self.assertEqual(
            [('same-project', False)], self.add(0, verdict='same-project')
        )
        self.assertEqual(
            [('doubtful', False)], self.add(1, verdict='doubtful')
        )
        self.assertFalse(self.floods.can_count('s0:c1,c2', False))
        self.assertEqual([('cross-project', False)], self.add(2))
        self.assertTrue(self.floods.can_count('s0:c1,c2', False))
        self.assertFalse(self.floods.can_count('s0:c1,c2', True))
        self.assertEqual(
            [('same-project', True)],
            self.add(3, verdict='same-project', permissive=True),
        )
        self.assertEqual(
            [('cross-project', True)], self.add(4, permissive=True)
        )
        for verdict in ('same-project', 'doubtful', 'cross-project'):
            for permissive in (False, True):
                self.assertEqual(
                    [],
                    self.add(5, verdict=verdict, permissive=permissive),
                )

    def test_what_was_counted_outlives_a_restart(self):
        self.add(0)
        self.count(10, 7)
        kept = json.loads(json.dumps(self.floods.to_json(20)))
        self.floods = flood_control.FloodControl(60.0)
        self.floods.load(kept, 5000)
        self.assertEqual([], self.add(5001))
        self.assertEqual([], self.due(5039))
        self.assertEqual([(8, 1)], self.due(5040))

    def test_a_state_that_makes_no_sense_changes_nothing(self):
        self.add(0)
        [kept] = self.floods.to_json(0)
        for wrong in (
            [{}],
            [{**kept, 'count': -1}],
            [{**kept, 'interval': 1e9}],
            [{**kept, 'next_in': float('nan')}],
            [{**kept, 'worst': {'verdict': 'own'}}],
            [{**kept, 'told': [[False, 'own']]}],
            [None],
        ):
            self.assertRaises(
                (ValueError, TypeError, KeyError), self.floods.load, wrong, 0
            )
        self.assertEqual(1, len(self.floods))

    def test_its_memory_is_bounded_and_nothing_is_lost_by_that(self):
        most = flood_control.MOST_SOURCES
        self.add(0)
        self.count(0, 5)
        forgotten, counts = [], []
        for number in range(most):
            level = f'c{number // 1000},c{number % 1000 + 20}'
            told, gone = self.floods.add(audit.alarm(level), 1 + number)
            forgotten += gone
            counts += [each.count for each in told]
        self.assertEqual(most, len(self.floods))
        self.assertEqual(['s0:c1,c2'], forgotten)
        self.assertEqual([5], [each for each in counts if each > 1])

    def test_targets_are_counted_up_to_a_bound(self):
        self.add(0)
        for number in range(1000):
            self.count(1, 1, f's0:c{number}')
        [told] = self.floods.finish()
        self.assertEqual(1000, told.count)
        self.assertEqual(flood_control.MOST_TARGETS, told.targets)
        self.assertEqual(flood_control.FIRST_TARGETS, len(told.first_targets))
        self.assertIn('or more', told.notes[0])
