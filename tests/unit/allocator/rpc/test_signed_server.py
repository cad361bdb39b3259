# SPDX-License-Identifier: Apache-2.0
"""What the service answers to signed calls, and what it signs."""

import pathlib
from types import SimpleNamespace
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import credentials
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import server
from tests import quick_store
from tests.unit.allocator.rpc import wire
from tests.unit.allocator.sql import test_host_keys


class SignedServerTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.allocator = self.useFixture(quick_store.QuickStore()).make()
        self.keys = self.allocator.enrolled_keys()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for owner in ('service', 'a'):
            name = key_files.make(self.directory / owner)
        self.keys.enroll(Role.HOST, 'a', name)
        conf = wire.make_conf(None)
        conf.set_override(
            'service_key_file',
            str(self.directory / 'service'),
            'svirt_nova_allocator',
        )
        callers = authentication.Authentication(
            conf, self.keys, calls.Topic.COMPUTES
        )
        self.dispatcher = server._Dispatcher(
            endpoints.ComputeEndpoint(self.allocator), callers
        )
        caller = wire.make_conf('a')
        for name, value in (
            ('host_key_file', self.directory / 'a'),
            ('service_public_key_file', self.directory / 'service.pub'),
        ):
            caller.set_override(name, str(value), 'svirt_nova_allocator')
        self.caller = credentials.Credentials(caller)
        self.uuid = contract.new_uuid()

    def sign(self, name='space', version='1.0', timeout=40, **arguments):
        return self.caller.sign(
            calls.Topic.COMPUTES, 'a', name, version, arguments, timeout
        )

    def send(self, text, waited=0.0, **context):
        watch = mock.Mock(**{'elapsed.return_value': waited})
        return self.dispatcher.dispatch(
            SimpleNamespace(
                ctxt=context,
                message={'method': 'signed', 'args': {'call': text}},
                client_timeout=None,
                stopwatch=watch,
            )
        )

    def ask(self, waited=0.0, **call):
        """Make a signed call, whose answer must be signed."""
        signed = self.sign(**call)
        return signed.read(self.send(signed.text, waited))

    def refusal(self, kind, answer):
        return str(self.assertRaises(kind, envelope.read, answer, None))

    def acquire(self):
        return {
            'name': 'acquire',
            'instance_uuid': self.uuid,
            'project_id': 'p',
            'host': 'a',
        }


class SignedServerTest(SignedServerTestCase):
    def test_call_that_the_service_does_not_know_is_refused_with_a_signature(
        self,
    ):
        for name in ('nothing', 'retire', '_answer', 'x\ny', '', 'x' * 10**4):
            self.assertIn(
                'upgrade it before computes',
                self.refusal(exception.StoreUnusable, self.ask(name=name)),
            )
        for version in ('1.999', '2.0', '0.9'):
            text = self.refusal(
                exception.StoreUnusable, self.ask(version=version)
            )
            self.assertIn(version, text)

    def test_version_that_is_none_is_refused_unread(self):
        for version in ('1', '', '1.', '.1', '1.0.0', 'x', '1.x', '9' * 9999):
            answer = self.send(self.sign(version=version).text)
            self.assertIn(
                'version', self.refusal(exception.NotAllowed, answer)
            )

    def test_error_that_nobody_has_thought_of_is_answered_with_a_signature(
        self,
    ):
        for place in ('admit', 'once'):
            with fixtures.MonkeyPatch(
                f'{authentication.__name__}.Authentication.{place}',
                mock.Mock(side_effect=IndexError('secret')),
            ):
                text = self.refusal(exception.StoreUnusable, self.ask())
            self.assertNotIn('secret', text)

    def test_call_is_not_done_where_its_answer_cannot_be_signed(self):
        signed = self.sign(**self.acquire())
        (self.directory / 'service').unlink()
        self.refusal(exception.StoreUnusable, self.send(signed.text))
        self.assertRaises(
            exception.UnknownInstance, self.allocator.get, self.uuid
        )

    def test_answer_is_signed_also_if_the_key_goes_meanwhile(self):
        real = self.allocator.acquire

        def acquire(*arguments, **more):
            (self.directory / 'service').unlink()
            return real(*arguments, **more)

        self.allocator.acquire = acquire
        self.assertIn('result', self.ask(**self.acquire()))

    def test_call_for_another_service_or_topic_is_not_refused_with_a_signature(
        self,
    ):
        """Else, whoever sends it there can have it refused at will."""
        for changes in ({'_topic_name': 'levels-operator'}, {}):
            signed = self.sign()
            for name, value in changes.items():
                setattr(self.dispatcher._callers, name, value)
            if not changes:
                key_files.make(self.directory / 'other')
                (self.directory / 'other').replace(self.directory / 'service')
            answer = self.send(signed.text)
            self.refusal(exception.NotAllowed, answer)
            self.assertRaises(exception.ForgedAnswer, signed.read, answer)

    def test_how_long_a_call_may_wait_is_signed(self):
        """What the context says, anybody can have written."""
        signed = self.sign()
        got = signed.read(self.send(signed.text, 19.0, timeout=0.001))
        self.assertIn('result', got)
        signed = self.sign()
        got = signed.read(self.send(signed.text, 21.0, timeout=10**6))
        self.refusal(exception.StoreUnreachable, got)

    def test_calls_that_only_read_are_done_again_and_not_recorded(self):
        self.ask()
        for name, arguments in (
            ('space', {}),
            ('get', {'instance_uuid': self.uuid}),
            ('is_held', {'level': 's0:c1,c2'}),
            ('claims', {'host': 'a', 'after': None, 'limit': 5}),
        ):
            signed = self.sign(name=name, version='1.2', **arguments)
            first, second = (
                signed.read(self.send(signed.text)) for _ in range(2)
            )
            self.assertEqual(first, second)
            self.assertNotIn('RepeatedCall', str(first))
        self.assertEqual(0, self.recorded())
        self.ask(**self.acquire())
        self.assertEqual(1, self.recorded())

    def recorded(self):
        return len(
            self.allocator._store.read(
                lambda c: c.execute(test_host_keys.RECORDS).all()
            )
        )


class ReadsTest(testtools.TestCase):
    """What the table of calls says of them."""

    def test_call_that_is_said_to_read_writes_nothing(self):
        store = self.useFixture(quick_store.QuickStore())
        allocator = store.make()
        arguments = {
            'instance_uuid': contract.new_uuid(),
            'level': allocator.acquire(contract.new_uuid(), 'p', 'a').level,
        }
        real = allocator._store._run

        def run(work, *, writes):
            self.assertFalse(writes)
            return real(work, writes=writes)

        allocator._store._run = run
        endpoint = {
            calls.Topic.COMPUTES: endpoints.ComputeEndpoint(allocator),
            calls.Topic.OPERATORS: endpoints.OperatorEndpoint(allocator),
        }
        for call in calls.CALLS:
            if not call.only_reads:
                continue
            given = dict.fromkeys(each.name for each in call.arguments)
            given |= {k: v for k, v in arguments.items() if k in given}
            if call is calls.CLAIMS:
                given['host'] = 'a'
            message = call.write_arguments(given)
            for topic in call.topics:
                context = {'host': 'a'}
                answer = getattr(endpoint[topic], call.name)(
                    context, **call.thin_out(message)
                )
                self.assertNotIn('StoreUnusable', str(answer), call.name)
