# SPDX-License-Identifier: Apache-2.0
"""What the service believes; attacks are in the functional tests."""

import pathlib
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.memory import MemoryAllocator
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import key_files
from tests import quick_store
from tests.unit.allocator.rpc import wire


class AuthenticationTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        store = self.useFixture(quick_store.QuickStore())
        self.keys = store.make().enrolled_keys()
        directory = self.useFixture(fixtures.TempDir()).path
        self.path = pathlib.Path(directory, 'service')
        key_files.make(self.path)

    def make(self, topic=calls.Topic.COMPUTES, keys=None, **options):
        conf = wire.make_conf(None)
        options.setdefault('service_key_file', str(self.path))
        for name, value in options.items():
            conf.set_override(name, value, 'svirt_nova_allocator')
        return authentication.Authentication(conf, keys or self.keys, topic)

    def bind(self, host, key='A' * 43):
        self.keys.enroll(Role.HOST, host, key)
        with self.keys.once(self.keys.find(key), 'i' * 43, 2**31):
            pass

    def test_unsigned_call_is_allowed_as_the_option_has_it(self):
        self.bind('bound')
        for mode, host, allowed in (
            ('any', 'bound', True),
            ('any', 'other', True),
            ('enrolled', 'bound', False),
            ('enrolled', 'other', True),
            ('signed', 'bound', False),
            ('signed', 'other', False),
        ):
            made = self.make(callers=mode)
            for context, message in (
                ({'host': host}, {}),
                ({}, {'host': host}),
                ({'host': 'other'}, {'host': host}),
            ):
                if allowed:
                    made.check_unsigned('get', context, message)
                else:
                    self.assertRaises(
                        exception.NotAllowed,
                        made.check_unsigned,
                        'get',
                        context,
                        message,
                    )

    def test_host_with_a_revoked_key_is_not_spoken_for(self):
        """Whoever the key was revoked for must not do without."""
        self.keys.enroll(Role.HOST, 'never-used', 'B' * 43)
        made = self.make(callers='enrolled')
        made.check_unsigned('get', {'host': 'never-used'}, {})
        self.keys.revoke(Role.HOST, 'never-used')
        self.assertRaises(
            exception.NotAllowed,
            made.check_unsigned,
            'get',
            {'host': 'never-used'},
            {},
        )

    def test_host_that_is_bound_at_its_enrolment_is_not_spoken_for(self):
        self.keys.enroll(Role.HOST, 'new', 'B' * 43, is_binding=True)
        self.assertRaises(
            exception.NotAllowed,
            self.make(callers='enrolled').check_unsigned,
            'get',
            {},
            {'host': 'new'},
        )

    def test_ping_is_allowed_to_everybody(self):
        for topic in calls.Topic:
            self.make(topic, callers='signed').check_unsigned('ping', 7, None)

    def test_message_without_sense_is_no_way_round(self):
        made = self.make(callers='signed')
        for junk in (None, 7, [], 'host', {'host': ['a']}, {'host': '\ud800'}):
            self.make().check_unsigned('get', junk, junk)
            self.assertRaises(
                exception.NotAllowed, made.check_unsigned, 'get', junk, junk
            )
            for message in (junk, {'call': junk}, {'call': 'x', 'y': 1}):
                self.assertRaises(exception.NotAllowed, made.read, message)

    def test_service_without_a_key_does_no_signed_call(self):
        made = self.make(service_key_file=None)
        error = self.assertRaises(exception.NotAllowed, made.read, {})
        self.assertIn('service_key_file', str(error))

    def test_signed_calls_alone_need_a_key_and_a_store_of_keys(self):
        for options in ({'service_key_file': None}, {'keys': None}):
            if 'keys' in options:
                self.keys = None
            error = self.assertRaises(
                exception.InvalidOption,
                self.make,
                callers='signed',
                **options,
            )
            self.assertIn('callers', str(error))

    def test_driver_without_keys_serves_unsigned_calls_alone(self):
        conf = quick_store.make_conf('sqlite://')
        allocator = MemoryAllocator(conf, mock.Mock())
        self.assertIsNone(authentication.keys_of(conf, allocator))
        conf.set_override(
            'service_key_file', str(self.path), 'svirt_nova_allocator'
        )
        self.assertRaises(
            exception.InvalidOption, authentication.keys_of, conf, allocator
        )

    def test_key_that_others_can_read_stops_the_service(self):
        self.path.chmod(0o644)
        self.assertRaises(exception.InvalidOption, self.make)
