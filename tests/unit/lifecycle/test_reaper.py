# SPDX-License-Identifier: Apache-2.0

import dataclasses
import datetime
import logging
import random
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.lifecycle import gone_hosts
from svirt_nova.lifecycle import reaper
from svirt_nova.mcs import levels

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


CLOUD = clouds.Cloud(
    'http://nova',
    tuple(
        clouds.ComputeService(host, f'uuid of {host}', host != 'lost')
        for host in ('host', 'lost')
    ),
)
KNOWN = clouds.KnownCloud().meet(CLOUD, (), NOW)


def _held(uuid, number, hosts=()):
    return types.Allocation(
        level=levels.Level(frozenset({number, number + 1})),
        instance_uuid=uuid,
        project_id='project',
        hosts=frozenset(hosts),
        created_at=NOW,
    )


class _Servers:
    """A Nova of one host, in which some instances exist."""

    def __init__(self, existing):
        self.existing = set(existing)
        self.asked = []

    def check(self):
        self.asked.append('check')
        return CLOUD

    def exists(self, uuid):
        self.asked.append(uuid)
        return uuid in self.existing


WEEK = datetime.timedelta(days=7)
LATER = NOW + WEEK
GONE = gone_hosts.GoneHosts(WEEK)


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
        self.allocator.find.side_effect = lambda level: next(
            (each for each in self.held if each.level == level), None
        )
        self.allocator.show_cloud.return_value = KNOWN
        self.allocator.meet_cloud.side_effect = lambda cloud, strangers: (
            KNOWN.meet(cloud, strangers, NOW)
        )
        self.servers = _Servers(['claimed', 'shelved'])
        self.slept = []

    def _find(self, sleep=None, **options):
        found = reaper.find(
            self.allocator,
            self.servers,
            interval=7,
            sleep=sleep or self.slept.append,
            **options,
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

    def test_each_control_counts_where_there_are_few(self):
        # The order of the list says nothing.
        for position in (0, 1):
            self.held.insert(position, _held('hidden', 8, ['host']))
            error = self.assertRaises(exception.ComputeApiError, self._find)
            self.assertIn('1 of 2', str(error))
            self.assertIn('hidden on host', str(error))
            del self.held[position]

    def test_a_small_share_of_controls_may_be_missing(self):
        self._claim(98)
        self.held.append(_held('left over', 900, ['host']))
        self.assertEqual(['gone'], self._find())
        self.held.append(_held('left over 2', 902, ['host']))
        self.assertEqual(['gone'], self._find())
        self.held.append(_held('left over 3', 904, ['host']))
        error = self.assertRaises(exception.ComputeApiError, self._find)
        self.assertIn('3 of 102', str(error))

    def _claim(self, count):
        """Add instances that the host claims and Nova shows."""
        for number in range(count):
            self.held.append(_held(f'more {number}', 10 + number, ['host']))
            self.servers.existing.add(f'more {number}')

    def test_an_instance_that_was_deleted_meanwhile_is_no_control(self):
        self.held.append(_held('deleted', 8, ['host']))

        def exists(uuid):
            if uuid == 'deleted':
                self.held[3:] = after
            return uuid in self.servers.existing

        self.servers.exists = exists
        for after in (
            [],
            [_held('deleted', 8)],
            [_held('another', 8, ['host'])],
            [_held('deleted', 8, ['lost'])],
        ):
            self.held[3:] = [_held('deleted', 8, ['host'])]
            with self.subTest(after):
                self.assertNotIn('claimed', self._find(passes=1))

    def test_claims_of_a_host_that_is_down_are_no_controls(self):
        self.held.append(_held('stale', 8, ['lost']))
        self.assertEqual(['gone'], self._find())
        self.held[0] = _held('claimed', 0, ['lost'])
        error = self.assertRaises(exception.ComputeApiError, self._find)
        self.assertIn('by no host that Nova lists as up', str(error))

    def test_without_controls_nothing_is_found(self):
        del self.held[0]
        error = self.assertRaises(exception.ComputeApiError, self._find)
        self.assertIn('reap --without-controls', str(error))

    def test_who_knows_may_do_without_controls(self):
        del self.held[0]
        self.assertEqual(['gone'], self._find(needs_controls=False))

    def test_a_new_store_does_not_do_without_controls(self):
        del self.held[0]
        self.allocator.show_cloud.return_value = clouds.KnownCloud()
        error = self.assertRaises(
            exception.ComputeApiError, self._find, needs_controls=False
        )
        self.assertIn('svirt-nova cloud accept', str(error))
        self.allocator.meet_cloud.assert_not_called()

    def test_many_controls_are_drawn_anew_in_each_pass(self):
        self._claim(1000)
        self.assertEqual(['gone'], self._find(chance=random.Random(7)))
        others = {'check', 'gone', 'shelved'}
        asked = [each for each in self.servers.asked if each not in others]
        self.assertEqual(3 * 200, len(asked))
        self.assertGreater(len(set(asked)), 450)

    def test_the_newest_are_controls_always(self):
        """A copy of Nova's database of an hour ago has all but these."""
        self._claim(1000)
        hour = datetime.timedelta(hours=1)
        for number in range(5):
            self.held.append(
                dataclasses.replace(
                    _held(f'new {number}', 1014 + number, ['host']),
                    created_at=NOW + hour,
                )
            )
        error = self.assertRaises(exception.ComputeApiError, self._find)
        self.assertIn('5 of 200', str(error))

    def test_a_cloud_that_hides_controls_is_not_remembered(self):
        self.servers.existing.clear()
        self.assertRaises(exception.ComputeApiError, self._find)
        self.allocator.meet_cloud.assert_not_called()

    def test_another_cloud_is_asked_for_nothing(self):
        self.allocator.show_cloud.return_value = clouds.KnownCloud(
            'http://other', (clouds.KnownHost('host', 'another uuid'),)
        )
        self.assertRaises(exception.OtherCloud, self._find)
        self.assertEqual(['check'], self.servers.asked)
        self.allocator.meet_cloud.assert_not_called()

    def test_claims_of_hosts_that_nova_never_listed_stop_it(self):
        self.held.append(_held('foreign', 8, ['elsewhere']))
        self.servers.existing.add('foreign')
        error = self.assertRaises(exception.ComputeApiError, self._find)
        self.assertIn('elsewhere', str(error))
        self.allocator.meet_cloud.assert_called_once_with(CLOUD, ['elsewhere'])

    def _know(self, *strangers, missing=(), asked_at=LATER):
        """Let the store know hosts that Nova does not list, since NOW."""
        old = clouds.Cloud(
            'http://nova',
            (
                *CLOUD.services,
                *(
                    clouds.ComputeService(host, f'uuid of {host}', False)
                    for host in missing
                ),
            ),
        )
        known = clouds.KnownCloud().meet(old, strangers, NOW)
        known = known.meet(CLOUD, (), NOW)
        self.allocator.show_cloud.return_value = dataclasses.replace(
            known, asked_at=asked_at
        )
        self.allocator.meet_cloud.side_effect = lambda cloud, strangers: (
            dataclasses.replace(
                known.meet(cloud, strangers, LATER), asked_at=asked_at
            )
        )

    def test_claims_of_a_missing_host_fall_with_their_instances(self):
        self._know(missing=['old'])
        self.held.append(_held('gone too', 8, ['old']))
        self.held.append(_held('here', 10, ['old']))
        self.servers.existing.add('here')
        self.assertEqual(['gone'], self._find())
        self.assertEqual(['gone', 'gone too'], self._find(gone=GONE))
        # A service of a former release does not tell its time.
        for early in (LATER - WEEK / 7, None):
            self._know(missing=['old'], asked_at=early)
            self.assertEqual(['gone'], self._find(gone=GONE))

    def test_claims_of_a_listed_host_never_fall(self):
        self._know(missing=['old'])
        for hosts in (['host'], ['lost'], ['lost', 'old']):
            self.held[3:] = [_held('gone too', 8, hosts)]
            # A host that is up has nothing of what Nova does not show.
            self._claim(60)
            self.assertEqual(['gone'], self._find(gone=GONE), hosts)

    def test_retired_levels_of_a_missing_host_are_found(self):
        self._know(missing=['old'])
        self.held.append(
            dataclasses.replace(_held('gone too', 8, ['old']), retired_at=NOW)
        )
        self.assertEqual(['gone', 'gone too'], self._find(gone=GONE))

    def test_host_that_is_listed_again_keeps_its_claims(self):
        self._know(missing=['old'])
        self.held.append(_held('gone too', 8, ['old']))
        back = clouds.Cloud(
            'http://nova',
            (
                *CLOUD.services,
                clouds.ComputeService('old', 'uuid of old', False),
            ),
        )
        answers = [CLOUD, CLOUD, back]
        self.servers.check = lambda: answers.pop(0)
        self.assertEqual(['gone'], self._find(gone=GONE))

    def test_silent_stranger_stops_nothing_and_loses_its_claims(self):
        self._know('made up')
        self.held.append(_held('gone too', 8, ['made up']))
        self.assertRaises(exception.ComputeApiError, self._find)
        self.assertEqual(['gone', 'gone too'], self._find(gone=GONE))

    def test_new_stranger_stops_all(self):
        self._know('made up')
        self.held.append(_held('gone too', 8, ['made up']))
        self.held.append(_held('foreign', 10, ['elsewhere']))
        error = self.assertRaises(
            exception.ComputeApiError, self._find, gone=GONE
        )
        self.assertIn('elsewhere', str(error))
        self.assertNotIn('made up', str(error))

    def _gone(self, *hosts, **changes):
        found = _held('gone too', 8, hosts)
        claims = dict.fromkeys(hosts, 7)
        return dataclasses.replace(
            found, **{'claims': claims, 'last_claim': 9} | changes
        )

    def test_claims_are_dropped_by_their_numbers(self):
        self._know('made up', missing=['old'])
        reaper.retire(self.allocator, [self._gone('made up', 'old')], GONE)
        self.assertEqual(
            [
                mock.call.unclaim('gone too', 'made up', 7),
                mock.call.unclaim('gone too', 'old', 7),
                mock.call.retire('gone too', 9),
            ],
            [
                call
                for call in self.allocator.mock_calls
                if call[0] in ('unclaim', 'retire')
            ],
        )

    def test_level_that_stays_held_is_not_said_to_be_retired(self):
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        gone, kept = self.held[1:]
        self.allocator.retire.side_effect = lambda uuid, number: (
            uuid == gone.instance_uuid and self.held.remove(gone)
        )
        self.assertEqual(
            [gone], reaper.retire(self.allocator, [gone, kept], GONE)
        )
        self.assertIn(f'Retired the level {gone.level}', log.output)
        self.assertNotIn(f'Retired the level {kept.level}', log.output)
        self.assertIn(f'The level {kept.level}', log.output)

    def test_claims_are_kept_of_a_host_that_has_called_meanwhile(self):
        self._know(missing=['old'])
        known = self.allocator.show_cloud().hear('old', LATER)
        self.allocator.show_cloud.return_value = known
        reaper.retire(self.allocator, [self._gone('old')], GONE)
        self.allocator.unclaim.assert_not_called()
        self.allocator.retire.assert_not_called()

    def test_claims_without_numbers_are_kept(self):
        self._know(missing=['old'])
        reaper.retire(self.allocator, [self._gone('old', claims={})], GONE)
        self.allocator.unclaim.assert_not_called()
        self.allocator.retire.assert_not_called()

    def test_strangers_are_noted_when_all_are_claimed(self):
        del self.held[1:]
        self.assertEqual([], self._find())
        self.allocator.meet_cloud.assert_called_once_with(CLOUD, [])
        self.assertEqual(['check', 'claimed'], self.servers.asked)

    def test_nova_is_not_asked_by_an_empty_store(self):
        self.held = []
        self.assertEqual([], self._find())
        self.assertEqual([], self.servers.asked)

    def test_finding_retires_nothing_by_itself(self):
        self._find()
        self.allocator.retire.assert_not_called()

    def test_what_was_found_is_retired(self):
        reaper.retire(self.allocator, self.held[2:])
        self.allocator.retire.assert_called_once_with('gone', None)
