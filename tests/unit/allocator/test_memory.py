# SPDX-License-Identifier: Apache-2.0

import datetime
import random

import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import contract
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.mcs import spaces
from tests import quick_store

BORN = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)


def make_conf(**options):
    return quick_store.make_conf('', **options)


class MemoryContractTest(contract.AllocatorContract, testtools.TestCase):
    def setUp(self):
        self.store = memory_store.MemoryStore(contract.SPACE)
        super().setUp()

    def make(self, cooling_time, **options):
        conf = make_conf(cooling_time=cooling_time, **options)
        return memory.MemoryAllocator(conf, self.store)

    def wait_a_tick(self):
        begin = self.store.now()
        while self.store.now() == begin:
            pass


class ClockTest(testtools.TestCase):
    """A clock that goes on only when a test says so."""

    def setUp(self):
        super().setUp()
        self.time = BORN
        self.store = memory_store.MemoryStore(
            contract.SPACE, now=lambda: self.time
        )
        self.allocator = memory.MemoryAllocator(
            make_conf(cooling_time=3600, history_time=86400), self.store
        )
        self.uuid = contract.new_uuid()

    def test_a_level_is_free_when_its_cooling_time_is_over(self):
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.allocator.give_back(self.uuid, 'a')
        self.time += HOUR - datetime.timedelta(seconds=1)
        self.assertEqual(1, self.allocator.stats().cooling)
        self.time += datetime.timedelta(seconds=1)
        self.assertEqual(45, self.allocator.stats().free)
        self.assertIsNone(self.allocator.find(level))

    def test_history_is_kept_for_the_history_time(self):
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.time += HOUR
        self.allocator.give_back(self.uuid, 'a')
        self.time += DAY
        self.allocator.tidy()
        [past] = self.allocator.history(level)
        self.assertEqual((BORN, BORN + HOUR), (past.since, past.until))
        self.time += datetime.timedelta(seconds=1)
        self.allocator.tidy()
        self.assertEqual([], self.allocator.history(level))

    def test_the_forecast_goes_on_as_since_the_first_level(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.time += 2 * DAY
        for _ in range(9):
            self.allocator.acquire(contract.new_uuid(), 'p', 'a')
        usage = self.allocator.usage()
        self.assertEqual(4.5, usage.per_day)
        self.assertEqual(self.time + 35 / 4.5 * DAY, usage.full_at)

    def test_the_forecast_counts_levels_that_have_come_free_since(self):
        self.allocator.acquire(self.uuid, 'p', 'a')
        gone = contract.new_uuid()
        self.allocator.acquire(gone, 'p', 'a')
        self.time += DAY
        self.allocator.give_back(gone, 'a')
        self.time += DAY
        # Two at first, and one now.
        usage = self.allocator.usage()
        self.assertEqual(-0.5, usage.per_day)
        self.assertIsNone(usage.full_at)


class ChoiceTest(testtools.TestCase):
    def _levels(self, seed, space):
        store = memory_store.MemoryStore(space, chance=random.Random(seed))
        allocator = memory.MemoryAllocator(make_conf(), store)
        return [
            allocator.acquire(contract.new_uuid(), f'p{n % 3}', 'a').level
            for n in range(12)
        ]

    def test_the_same_seed_chooses_the_same_levels(self):
        for space in (
            contract.SPACE,
            spaces.LevelSpace.parse('c0.c9', 2, '', 'c20.c29'),
        ):
            self.assertEqual(self._levels(1, space), self._levels(1, space))
            self.assertNotEqual(self._levels(1, space), self._levels(2, space))


class LoadTest(testtools.TestCase):
    def test_it_cannot_be_configured(self):
        error = self.assertRaises(
            exception.InvalidOption, base.load, make_conf(), 'memory'
        )
        self.assertIn('memory', str(error))

    def test_it_cannot_be_made_as_a_configured_driver_is(self):
        self.assertRaises(TypeError, memory.MemoryAllocator, make_conf())
