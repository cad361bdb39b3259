# SPDX-License-Identifier: Apache-2.0
"""What is checked after every test sees each promise that is broken.

The unit tests of the audit show that it finds them in what it is given. Here
each is broken in a cloud that Nova has made, and put right again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

import nova.conf
from nova.tests.fixtures import libvirt as fakelibvirt

from svirt_nova.lifecycle import audit
from svirt_nova.lifecycle import reaper
from svirt_nova.mcs import levels
from tests.functional.nova import two_hosts

CONF = nova.conf.CONF
Kind = audit.Kind


class CheckerTest(two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self.server = self._boot()
        self.uuid = self.server['id']
        self.held = self.allocator.get(self.uuid)
        self.domain = self._domains('here')[self.uuid]

    def _found(self) -> set[Kind]:
        found = self._violations(self.host_fixture.drivers)
        return {each.kind for each in found}

    def _acquire(self, host: str = 'here') -> Any:
        """A level of an instance that Nova does not know."""
        return self.allocator.acquire(str(uuid.uuid4()), 'project', host)

    def _release(self, allocation: Any) -> None:
        for host in ('here', 'there'):
            self.allocator.give_back(allocation.instance_uuid, host)

    # Each breaks one promise, and puts it right at the end.

    @contextlib.contextmanager
    def _a_guest_without_a_label(self) -> Iterator[Kind]:
        kept, self.domain.seclabel = self.domain.seclabel, None
        yield Kind.UNCONFINED
        self.domain.seclabel = kept

    @contextlib.contextmanager
    def _a_guest_at_a_level_that_libvirt_chose(self) -> Iterator[Kind]:
        self.domain.seclabel.set('type', 'dynamic')
        yield Kind.DRAWN_LEVEL
        self.domain.seclabel.set('type', 'static')

    @contextlib.contextmanager
    def _a_guest_at_another_level(self) -> Iterator[Kind]:
        other = self._acquire()
        label = self.domain.seclabel.find('label')
        kept = label.text
        label.text = kept.replace(str(self.held.level), str(other.level))
        yield Kind.OTHER_LEVEL
        label.text = kept
        self._release(other)

    @contextlib.contextmanager
    def _a_guest_whose_labels_nobody_read_back(self) -> Iterator[Kind]:
        self.domain.destroy()
        self.domain._is_unread = True
        self.domain.createWithFlags(fakelibvirt.VIR_DOMAIN_START_PAUSED)
        self.assertEqual(set(), self._found())
        self.domain.resume()
        yield Kind.UNCHECKED_START
        self.domain.omitted = ''

    @contextlib.contextmanager
    def _a_guest_that_was_not_started_paused(self) -> Iterator[Kind]:
        self.domain.destroy()
        self.domain._is_unread = True
        self.domain.createWithFlags(0)
        yield Kind.UNCHECKED_START
        self.domain.omitted = ''

    @contextlib.contextmanager
    def _a_guest_whose_disk_was_labelled_too_late(self) -> Iterator[Kind]:
        path = os.path.join(CONF.instances_path, self.uuid, 'disk.late')
        given = self.domain.given_xml
        self.domain.given_xml = (
            f'<domain><devices><disk type="file"><source file="{path}"/>'
            '</disk></devices></domain>'
        )
        self.domain.destroy()
        self.domain._is_unread = True
        self.domain.createWithFlags(fakelibvirt.VIR_DOMAIN_START_PAUSED)
        yield Kind.UNCHECKED_START
        self.domain.given_xml = given
        self.domain.omitted = ''
        self.domain._is_unread = False

    @contextlib.contextmanager
    def _a_guest_without_a_claim(self) -> Iterator[Kind]:
        self.allocator.unclaim(self.uuid, 'here')
        yield Kind.UNCLAIMED
        self.allocator.acquire(self.uuid, self.held.project_id, 'here')

    @contextlib.contextmanager
    def _a_directory_without_a_claim(self) -> Iterator[Kind]:
        directory = os.path.join(CONF.instances_path, self.uuid)
        os.makedirs(directory)
        self.allocator.unclaim(self.uuid, 'here')
        with mock.patch.object(self.domain, 'seclabel', None):
            yield Kind.UNCLAIMED
        self.allocator.acquire(self.uuid, self.held.project_id, 'here')
        shutil.rmtree(directory)

    @contextlib.contextmanager
    def _a_claim_where_there_is_nothing(self) -> Iterator[Kind]:
        self.allocator.acquire(self.uuid, self.held.project_id, 'there')
        yield Kind.STALE_CLAIM
        self.allocator.unclaim(self.uuid, 'there')

    @contextlib.contextmanager
    def _a_second_level(self) -> Iterator[Kind]:
        other = self._acquire()
        seen = self.host_fixture.levels.seen[self.uuid]
        for name in ('acquire', 'adopt'):
            call = mock.Mock(return_value=other)
            self.host_fixture.levels.recording(call)(None, self.uuid)
            self.assertIn(Kind.LEVEL_CHANGED, self._found(), name)
        yield Kind.LEVEL_CHANGED
        seen.discard(other.level)
        self._release(other)

    @contextlib.contextmanager
    def _two_levels_of_which_one_contains_the_other(self) -> Iterator[Kind]:
        listed = self.allocator.list()
        other = mock.Mock(
            wraps=self.held,
            level=self.held.level,
            project_level=None,
            instance_uuid=str(uuid.uuid4()),
            hosts=frozenset(),
            state=self.held.state,
        )
        with mock.patch.object(
            type(self.allocator), 'list', return_value=[*listed, other]
        ):
            yield Kind.LEVELS_MEET

    @contextlib.contextmanager
    def _a_level_without_a_category(self) -> Iterator[Kind]:
        level = levels.Level.parse('s0')
        other = mock.Mock(wraps=self.held, level=level, project_level=None)
        other.instance_uuid = self.uuid
        other.hosts = self.held.hosts
        other.state = self.held.state
        with mock.patch.object(
            type(self.allocator), 'list', return_value=[other]
        ):
            yield Kind.NO_CATEGORY

    @contextlib.contextmanager
    def _a_level_that_comes_free_too_early(self) -> Iterator[Kind]:
        self.allocator.give_back(self.uuid, 'here')
        yield Kind.EARLY_RELEASE
        self.allocator.acquire(self.uuid, self.held.project_id, 'here')

    @contextlib.contextmanager
    def _a_level_that_its_instance_does_not_hold(self) -> Iterator[Kind]:
        with mock.patch.object(type(self.allocator), 'list', return_value=[]):
            yield Kind.UNKNOWN_LEVEL

    @contextlib.contextmanager
    def _a_level_that_stays_held_after_its_instance(self) -> Iterator[Kind]:
        lost = self._acquire()
        self.allocator.unclaim(lost.instance_uuid, 'here')
        yield Kind.LEAK
        self._release(lost)

    def test_each_broken_promise_is_seen(self):
        self.assertEqual(set(), self._found())
        seen = set()
        for name in dir(self):
            if not name.startswith(('_a_', '_two_')):
                continue
            with self.subTest(name), getattr(self, name)() as kind:
                self.assertIn(kind, self._found())
                seen.add(kind)
            self.assertEqual(set(), self._found(), f'after {name}')
        # What an instance leaves behind is judged once Nova has cleaned up.
        self.assertEqual(set(Kind) - {Kind.LEFTOVER}, seen)

    def test_what_is_found_fails_the_test(self):
        self.allocator.acquire(self.uuid, self.held.project_id, 'there')
        drivers = self.host_fixture.drivers
        with mock.patch('tests.functional.nova.confined._SETTLING_TIME', 0):
            error = self.assertRaises(AssertionError, self._judge, drivers)
            self.assertIn('there claims instance', str(error))
            # Where it is expected, it is tolerated until hosts reconcile.
            self._judge(drivers, Kind.STALE_CLAIM)
            self._reconcile(drivers)
            self._judge(drivers)

            lost = self._acquire()
            self.allocator.unclaim(lost.instance_uuid, 'here')
            self._judge(drivers)
            with mock.patch.object(reaper, 'retire'):
                error = self.assertRaises(
                    AssertionError, self._judge_at_rest, drivers
                )
            self.assertIn('leak', str(error))

            self.domain.seclabel.set('type', 'dynamic')
            error = self.assertRaises(AssertionError, self._judge, drivers)
            self.assertIn('drawn level', str(error))
            self.domain.seclabel.set('type', 'static')

            with mock.patch.dict(drivers, clear=True):
                error = self.assertRaises(
                    AssertionError, self._check_invariants
                )
            self.assertIn('no compute ran with our driver', str(error))
