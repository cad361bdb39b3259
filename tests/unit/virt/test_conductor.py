# SPDX-License-Identifier: Apache-2.0
"""How Nova's conductor is asked by a program of an operator."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import fixtures
import nova.conf
import oslo_messaging
import testtools
from nova import objects
from nova import rpc
from nova.objects import base

from svirt_nova import exception
from svirt_nova.virt import conductor

CONF = nova.conf.CONF
LEVEL = 's0:c1,c2'


class AskTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self._patch('svirt_nova.virt.conductor.connect', lambda: None)

    def _patch(self, name, new):
        self.useFixture(fixtures.MonkeyPatch(name, new))

    def _silence(self, question):
        return str(
            self.assertRaises(
                exception.ComputeApiError, conductor.ask, question
            )
        )

    def test_an_answer_is_given(self):
        self.assertEqual([], conductor.ask(list))

    def test_a_silent_bus_is_given_up(self):
        self._patch('svirt_nova.virt.conductor._TIMEOUT', 0.01)
        never = threading.Event()
        self.addCleanup(never.set)
        self.assertIn('did not answer within', self._silence(never.wait))

    def test_a_refusal_is_told(self):
        def refuse():
            raise oslo_messaging.MessagingTimeout('no reply')

        self.assertIn('no reply', self._silence(refuse))

    def test_an_error_of_the_question_is_its_own(self):
        def fail():
            raise exception.InvalidLevel('x')

        self.assertRaises(exception.InvalidLevel, conductor.ask, fail)

    def test_the_remembered_levels_of_a_host_are_asked_for_at_once(self):
        asked = []

        def get(cls, context, host, expected_attrs):
            asked.append((host, expected_attrs))
            return [
                SimpleNamespace(
                    uuid='a', system_metadata={'svirt_nova_level': LEVEL}
                ),
                SimpleNamespace(uuid='b', system_metadata={}),
            ]

        objects.register_all()
        self._patch('nova.objects.InstanceList.get_by_host', classmethod(get))
        found = conductor.remembered_levels('here')
        self.assertEqual([('here', ['system_metadata'])], asked)
        self.assertEqual(LEVEL, str(found['a'].own))
        self.assertIsNone(found['b'])


class ConnectTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MockPatchObject(base.NovaObject, 'indirection_api', None)
        )

    def _url(self, url):
        oslo_messaging.TransportURL.parse(CONF)
        CONF.set_override('transport_url', url)
        self.addCleanup(CONF.clear_override, 'transport_url')

    def test_nova_is_not_asked_without_a_message_bus(self):
        self._url('rabbit://')
        error = self.assertRaises(exception.ComputeApiError, conductor.connect)
        self.assertIn('transport_url', str(error))

    def test_objects_ask_the_conductor_on_the_bus(self):
        self._url('fake://127.0.0.1')
        self.addCleanup(rpc.cleanup)
        conductor.connect()
        first = base.NovaObject.indirection_api
        self.assertIsNotNone(first)
        conductor.connect()
        self.assertIs(first, base.NovaObject.indirection_api)
