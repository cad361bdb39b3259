# SPDX-License-Identifier: Apache-2.0

from types import SimpleNamespace
from unittest import mock

import testtools
from oslo_utils import timeutils

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import server
from tests.unit.allocator.rpc import wire


class LateTest(testtools.TestCase):
    """Calls that waited in the service."""

    def is_late(self, seconds, **context):
        watch = mock.create_autospec(timeutils.StopWatch, instance=True)
        watch.elapsed.return_value = seconds
        incoming = SimpleNamespace(ctxt=context, stopwatch=watch)
        seconds = server._timeout_of(context)
        try:
            server._check_waited(incoming, seconds)
        except exception.StoreUnreachable:
            return True
        return False

    def test_call_is_late_after_half_of_its_callers_time(self):
        self.assertFalse(self.is_late(4.9, timeout=10.0))
        self.assertTrue(self.is_late(5.1, timeout=10.0))

    def test_call_is_never_late_without_the_time_of_its_caller(self):
        self.assertFalse(self.is_late(1000))
        for junk in ('1', None, [1], float('nan'), 10**400):
            self.assertFalse(self.is_late(1000, timeout=junk))


class AccessTest(testtools.TestCase):
    """Names that are no calls."""

    def test_name_that_is_no_call_is_not_answered(self):
        allocator = mock.create_autospec(base.Allocator, instance=True)
        for name in (
            'target',
            'topic',
            '_allocator',
            '_answer',
            '_give_back',
            '__init__',
            '__class__',
        ):
            for topic in (wire.TOPIC, wire.OPERATOR_TOPIC):
                got = wire.serve(
                    allocator,
                    {
                        'exchange': 'svirt-nova',
                        'topic': topic,
                        'context': {},
                        'message': {'method': name, 'args': {}},
                    },
                )
                self.assertEqual(
                    'oslo_messaging.rpc.dispatcher.NoSuchMethod',
                    got['failure']['class'],
                )
        self.assertEqual([], allocator.mock_calls)
