# SPDX-License-Identifier: Apache-2.0
"""What is checked after every test finds each promise that is broken."""

from __future__ import annotations

import os
import uuid
from unittest import mock

import nova.conf

from svirt_nova.lifecycle import reaper
from tests.functional.nova import two_hosts

CONF = nova.conf.CONF
_ALLOCATOR = 'svirt_nova.allocator.sql.sql_allocator.SqlAllocator'


class CheckerTest(two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self.server = self._boot()
        self.uuid = self.server['id']
        self.held = self.allocator.get(self.uuid)

    def tearDown(self):
        # What the test has broken stays broken.
        self._check_invariants = lambda: None
        super().tearDown()

    def _assert_found(self, problem):
        error = self.assertRaises(AssertionError, self._check_invariants)
        self.assertIn(problem, str(error))

    def test_nothing_is_found_where_all_is_well(self):
        self._check_invariants()

        self._assert_cooling(self.server)

    def test_a_guest_without_a_label(self):
        self._domains('here')[self.uuid].seclabel = None

        self._assert_found('runs unconfined on here')

    def test_a_guest_at_a_level_that_libvirt_chose(self):
        self._domains('here')[self.uuid].seclabel.set('type', 'dynamic')

        self._assert_found('at a level of libvirt')

    def test_a_guest_at_another_level(self):
        other = self.allocator.acquire(str(uuid.uuid4()), 'project', 'here')
        label = self._domains('here')[self.uuid].seclabel.find('label')
        label.text = label.text.replace(str(self.held.level), str(other.level))

        self._assert_found('has another level')

    def test_a_guest_without_a_claim(self):
        self.allocator.unclaim(self.uuid, 'here')

        self._assert_found('a domain without claim')

    def test_a_directory_without_a_claim(self):
        domain = self._domains('here')[self.uuid]
        domain.destroy()
        domain.undefine()
        os.makedirs(os.path.join(CONF.instances_path, self.uuid))
        self.allocator.unclaim(self.uuid, 'here')

        self._assert_found('here has the directory of')

    def test_a_claim_where_there_is_nothing(self):
        self.allocator.acquire(self.uuid, self.held.project_id, 'there')

        self._assert_found('there claims what it has nothing of')

    def test_a_claim_where_there_is_nothing_that_is_expected(self):
        self.STALE_CLAIMS = {self._test_name: 'it is made here'}
        self.allocator.acquire(self.uuid, self.held.project_id, 'there')

        self._check_invariants()

    def test_a_second_level_however_it_came(self):
        for name in ('acquire', 'adopt'):
            with self.subTest(name):
                other = self.allocator.acquire(
                    str(uuid.uuid4()), 'project', 'here'
                )
                with mock.patch(
                    f'{_ALLOCATOR}.{name}',
                    self.host_fixture.levels.recording(
                        mock.Mock(return_value=other)
                    ),
                ):
                    getattr(self.allocator, name)(self.uuid)

                self._assert_found('has had')
                self.host_fixture.levels.seen[self.uuid].remove(other.level)

    def test_two_levels_of_which_one_contains_the_other(self):
        with mock.patch(
            'svirt_nova.mcs.levels.Level.is_comparable', return_value=True
        ):
            self._boot()
            self._assert_found(' and Allocation(')

    def test_a_level_that_nobody_gives_back(self):
        with (
            mock.patch(f'{_ALLOCATOR}.give_back'),
            mock.patch(f'{_ALLOCATOR}.unclaim'),
        ):
            self._delete_server(self.server)
            self._assert_found('here claims what it has nothing of')

    def test_a_level_that_stays_held_after_its_instance(self):
        unknown = str(uuid.uuid4())
        self.allocator.acquire(unknown, 'project', 'here')
        self.allocator.unclaim(unknown, 'here')
        with mock.patch.object(reaper, 'retire'):
            self._assert_found('leaked')

    def test_a_compute_with_another_driver(self):
        self.host_fixture.drivers.clear()

        self._assert_found('no compute ran with our driver')
