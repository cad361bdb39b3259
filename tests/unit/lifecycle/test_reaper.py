# SPDX-License-Identifier: Apache-2.0

import datetime
from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.lifecycle import reaper
from svirt_nova.mcs import levels

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def _held(uuid, number, hosts=()):
    return types.Allocation(
        level=levels.Level(frozenset({number, number + 1})),
        instance_uuid=uuid,
        project_id='project',
        hosts=frozenset(hosts),
        created_at=NOW,
    )


class _Servers:
    """A Nova in which some instances exist."""

    def __init__(self, existing):
        self.existing = set(existing)
        self.asked = []

    def check(self):
        self.asked.append('check')

    def exists(self, uuid):
        self.asked.append(uuid)
        return uuid in self.existing


class FindTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.held = [
            _held('claimed', 0, ['host']),
            _held('shelved', 2),
            _held('gone', 4),
        ]
        self.allocator.list.side_effect = lambda **kwargs: list(self.held)
        self.servers = _Servers(['claimed', 'shelved'])
        self.slept = []

    def _find(self, sleep=None):
        found = reaper.find(
            self.allocator,
            self.servers,
            interval=7,
            sleep=sleep or self.slept.append,
        )
        return [allocation.instance_uuid for allocation in found]

    def test_an_instance_absent_in_every_pass_is_found(self):
        self.assertEqual(['gone'], self._find())
        self.assertEqual([7, 7], self.slept)
        self.assertEqual(3, self.servers.asked.count('gone'))
        self.assertEqual(3, self.servers.asked.count('check'))
        self.assertEqual(3, self.allocator.list.call_count)

    def test_an_instance_that_shows_up_once_lives(self):
        def sleep(seconds):
            self.slept.append(seconds)
            if len(self.slept) == 2:
                self.servers.existing.add('gone')

        self.assertEqual([], self._find(sleep))

    def test_an_instance_claimed_meanwhile_lives(self):
        def sleep(seconds):
            self.held[2] = _held('gone', 4, ['host'])

        self.assertEqual([], self._find(sleep))

    def test_an_instance_with_a_new_level_meanwhile_lives(self):
        def sleep(seconds):
            self.held[2] = _held('gone', 6)

        self.assertEqual([], self._find(sleep))

    def test_one_unanswered_question_spoils_the_whole_run(self):
        def exists(uuid):
            if uuid == 'shelved':
                raise exception.ComputeApiError('the cell is down')
            return uuid in self.servers.existing

        self.servers.exists = exists
        self.assertRaises(exception.ComputeApiError, self._find)

    def test_a_nova_that_hides_instances_that_hosts_have_is_not_believed(self):
        self.servers.existing.clear()
        error = self.assertRaises(exception.ComputeApiError, self._find)
        self.assertIn('credentials', str(error))

    def test_a_nova_that_shows_only_unclaimed_instances_is_not_believed(self):
        self.servers.existing = {'shelved'}
        self.assertRaises(exception.ComputeApiError, self._find)

    def test_one_claimed_instance_that_nova_shows_is_enough(self):
        # The order of the list says nothing.
        for position in (0, 1):
            self.held.insert(position, _held('hidden', 8, ['host']))
            self.assertEqual(['gone'], self._find())
            del self.held[position]

    def test_nova_is_not_asked_when_all_are_claimed(self):
        self.held = self.held[:1]
        self.assertEqual([], self._find())
        self.assertEqual([], self.servers.asked)

    def test_finding_retires_nothing_by_itself(self):
        self._find()
        self.allocator.retire.assert_not_called()

    def test_what_was_found_is_retired(self):
        reaper.retire(self.allocator, self.held[2:])
        self.allocator.retire.assert_called_once_with('gone')
