# SPDX-License-Identifier: Apache-2.0

import pathlib

import fixtures
import oslo_messaging
import testtools

from svirt_nova import exception
from svirt_nova.allocator.rpc import caller
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import credentials
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures
from tests.unit.allocator.rpc import golden
from tests.unit.allocator.rpc import wire

COMPUTES, OPERATORS = calls.Topic.COMPUTES, calls.Topic.OPERATORS


class CredentialsTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.names = {
            owner: key_files.make(self.directory / owner)
            for owner in ('host', 'operator', 'service')
        }

    def conf(self, *owners, host='host1', **options):
        conf = wire.make_conf(host)
        files = {
            f'{owner}_key_file': str(self.directory / owner)
            for owner in owners
        }
        files.setdefault(
            'service_public_key_file', str(self.directory / 'service.pub')
        )
        for name, value in (files | options).items():
            conf.set_override(name, value, 'svirt_nova_allocator')
        return conf


class CredentialsTest(CredentialsTestCase):
    def sign(self, made, topic=COMPUTES, host='host1'):
        return made.sign(topic, host, 'get', '1.0', {'a': 1}, 40)

    def command(self, *owners, **options):
        """The credentials of a program that has no name for its host."""
        return credentials.Credentials(
            self.conf(*owners, host=None, **options)
        )

    def test_call_is_signed_with_the_key_for_its_topic(self):
        for owners, topic, signer in (
            (('host',), COMPUTES, 'host'),
            (('operator',), COMPUTES, 'operator'),
            (('operator',), OPERATORS, 'operator'),
            (('host', 'operator'), COMPUTES, 'host'),
            (('host', 'operator'), OPERATORS, 'operator'),
        ):
            made = credentials.Credentials(self.conf(*owners))
            signed = self.sign(made, topic)
            call = signatures.read_call(signed.text)
            self.assertEqual(self.names[signer], call.key)
            self.assertEqual([self.names['service']], call.audience)
            self.assertEqual('host1' if signer == 'host' else None, call.host)
            self.assertEqual(f'levels{topic.value}', call.topic)
            self.assertAlmostEqual(20, call.expires - call.issued)

    def test_caller_without_keys_signs_nothing(self):
        made = credentials.Credentials(wire.make_conf('host1'))
        for topic in (COMPUTES, OPERATORS):
            self.assertIsNone(self.sign(made, topic))

    def test_key_of_a_host_makes_no_operators_call_on_the_bus_of_computes(
        self,
    ):
        """Unsigned, it would be answered by whoever is on that bus."""
        computes = {'transport_url': 'fake:/nova'}
        for url in (None, 'fake:/nova', 'fake://other/nova'):
            options = {**computes, 'operator_transport_url': url}
            for made in (
                credentials.Credentials(self.conf('host', **options)),
                self.command('host', **options),
            ):
                error = self.assertRaises(
                    exception.NotAllowed, self.sign, made, OPERATORS
                )
                self.assertIn('operator_key_file', str(error))
        options = {**computes, 'operator_transport_url': 'fake:/operators'}
        made = credentials.Credentials(self.conf('host', **options))
        self.assertIsNone(self.sign(made, OPERATORS))

    def test_command_asks_with_the_key_of_the_operator_in_nobodys_name(self):
        made = self.command('host', 'operator')
        for host, signer in (('host1', 'host'), (None, 'operator')):
            signed = self.sign(made, host=host)
            self.assertEqual(self.names[signer], signed.call.key)
            self.assertEqual(host, signed.call.host)
        signed = self.sign(self.command('host'), host=None)
        self.assertEqual(self.names['host'], signed.call.key)

    def test_key_that_a_program_does_not_need_may_be_unreadable(self):
        (self.directory / 'host').chmod(0o666)
        made = self.command('host', 'operator')
        for topic in (COMPUTES, OPERATORS):
            self.sign(made, topic, None)
        error = self.assertRaises(
            exception.StoreUnreachable, self.sign, made, host='host1'
        )
        self.assertIn(str(self.directory / 'host'), str(error))
        (self.directory / 'host').chmod(0o600)
        (self.directory / 'operator').unlink()
        compute = credentials.Credentials(self.conf('host', 'operator'))
        self.sign(compute)

    def test_key_and_public_key_of_the_service_need_each_other(self):
        for conf in (
            self.conf(),
            self.conf('host', service_public_key_file=None),
            self.conf('operator', service_public_key_file=None),
        ):
            error = self.assertRaises(
                exception.InvalidOption, credentials.Credentials, conf
            )
            self.assertIn('host_key_file', str(error))

    def test_key_that_cannot_be_used_is_refused_at_the_start(self):
        for owner in ('host', 'service.pub'):
            path = self.directory / owner
            before = path.stat().st_mode
            path.chmod(0o666)
            self.refuse_to_start()
            path.chmod(before)

    def refuse_to_start(self):
        error = self.assertRaises(
            exception.InvalidOption, credentials.Credentials, self.conf('host')
        )
        self.assertIn('chmod', str(error))

    def test_key_that_is_gone_later_is_an_error_of_the_store(self):
        """Operations treat it as they do every failure of the service."""
        made = credentials.Credentials(self.conf('host'))
        (self.directory / 'host').unlink()
        error = self.assertRaises(exception.StoreUnreachable, self.sign, made)
        self.assertIn(str(self.directory / 'host'), str(error))

    def test_key_that_was_replaced_signs_the_next_call(self):
        made = credentials.Credentials(self.conf('host'))
        self.sign(made)
        new = key_files.make(self.directory / 'new')
        (self.directory / 'new').replace(self.directory / 'host')
        self.assertEqual(new, self.sign(made).call.key)


class Clock:
    """A clock that only waiting moves."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class SignedClientTest(CredentialsTestCase):
    """What a client with a key does with answers."""

    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.useFixture(
            fixtures.MonkeyPatch(f'{caller.__name__}.time', self.clock)
        )
        self.useFixture(fixtures.FakeLogger())

    def ask(self, *answers, **options):
        """Make a call that gets these answers, and the last again and again.

        An answer that can be called gives what the service signs; an error
        is what oslo.messaging raises.
        """
        queue = list(answers)
        key = key_files.read_private(str(self.directory / 'service'))

        def reply(request):
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(answer, Exception):
                if isinstance(answer, oslo_messaging.MessagingTimeout):
                    self.clock.now += request['context']['timeout']
                raise answer
            if callable(answer):
                call = signatures.read_call(request['message']['args']['call'])
                return {'signed': signatures.write_answer(key, call, answer())}
            return answer

        self.bus = self.useFixture(wire.Bus(reply))
        asking = client.RpcAllocator(self.conf('host', **options))
        return asking.space()

    def nonces(self):
        return [
            signatures.read_call(each['message']['args']['call']).nonce
            for each in self.bus.requests
            if each['message']['method'] == 'signed'
        ]

    @staticmethod
    def right():
        return envelope.write_result(
            calls.SPACE.result.write(golden.INSTANCE_SPACE)
        )

    @staticmethod
    def repeated():
        return envelope.write_refusal(exception.RepeatedCall('twice'))

    def test_signed_answer_is_believed(self):
        self.assertEqual(golden.INSTANCE_SPACE, self.ask(self.right))

    JUNK = (
        {'error': {'name': 'NotAllowed', 'text': 'no'}},
        {'error': {'name': 'StoreUnreachable', 'text': 'no'}},
        None,
        7,
        {'signed': None},
        {'signed': 'x'},
        # What the other side can make oslo.messaging raise.
        oslo_messaging.RemoteError('UnsupportedVersion', 'text'),
        oslo_messaging.RemoteError('MessageDeliveryFailure'),
        ValueError('x'),
        OSError('x'),
        ConnectionRefusedError(),
        StopIteration(),
        KeyError('result'),
    )
    """What is no answer of the service, whatever it says."""

    def test_unsigned_answer_is_not_believed(self):
        for answer in (self.right(), *self.JUNK):
            self.clock.now = 0.0
            error = self.assertRaises(
                exception.StoreUnreachable, self.ask, answer
            )
            self.assertIs(exception.ForgedAnswer, type(error))
            self.assertIn('service_public_key_file', str(error))
            # It is asked until the time of the call is over, but not faster
            # than the bus can carry.
            self.assertTrue(80 < self.clock.now <= 90, self.clock.now)
            self.assertTrue(50 < len(self.nonces()) < 500)

    def test_one_answer_of_the_service_among_many_others_is_enough(self):
        self.assertEqual(
            golden.INSTANCE_SPACE, self.ask(*self.JUNK * 3, self.right)
        )
        self.assertEqual(3 * len(self.JUNK) + 1, len(set(self.nonces())))
        self.assertLess(self.clock.now, 1060)

    def test_call_of_one_try_is_made_again_after_a_forged_answer(self):
        """So are those of operators, which wait for long."""
        self.assertEqual(
            golden.INSTANCE_SPACE,
            self.ask(*self.JUNK, self.right, call_retries=0),
        )

    def test_silence_is_borne_as_often_as_the_option_has_it(self):
        self.assertRaises(
            exception.StoreUnreachable,
            self.ask,
            oslo_messaging.MessagingTimeout(),
            call_retries=2,
            call_timeout=20,
        )
        self.assertEqual(3, len(self.nonces()))
        self.assertTrue(1059 < self.clock.now <= 1060, self.clock.now)

    def test_forged_answers_before_silence_take_no_time_more(self):
        self.assertRaises(
            exception.ForgedAnswer,
            self.ask,
            *self.JUNK,
            oslo_messaging.MessagingTimeout(),
        )
        self.assertTrue(1080 < self.clock.now <= 1090.1, self.clock.now)

    def test_refusal_that_somebody_got_by_waiting_is_not_believed(self):
        """A call that is held back until it is void, and then sent."""

        def late():
            return envelope.write_refusal(exception.NotAllowed('void'))

        over = fixtures.MonkeyPatch(
            f'{credentials.__name__}.SignedCall.is_over', True
        )
        with over:
            self.assertEqual(golden.INSTANCE_SPACE, self.ask(late, self.right))
        # The clock of this host is wrong if that is said too early.
        self.assertRaises(exception.NotAllowed, self.ask, late)
        self.assertEqual(1, len(self.nonces()))

    def test_bus_that_is_away_is_said_at_once(self):
        self.assertRaises(
            exception.StoreUnreachable,
            self.ask,
            oslo_messaging.MessageDeliveryFailure('x'),
        )
        self.assertEqual(1, len(self.nonces()))

    def test_call_is_made_again_after_a_forged_answer_and_told(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.assertEqual(
            golden.INSTANCE_SPACE, self.ask(self.right(), self.right)
        )
        self.assertIn('not signed', log.output)
        self.assertEqual(2, len(set(self.nonces())))

    def test_call_that_the_bus_doubled_is_made_again(self):
        self.assertEqual(
            golden.INSTANCE_SPACE, self.ask(self.repeated, self.right)
        )
        self.assertEqual(2, len(set(self.nonces())))
        self.assertRaises(exception.StoreUnreachable, self.ask, self.repeated)

    def test_signed_refusal_is_raised(self):
        self.assertRaises(
            exception.NotAllowed,
            self.ask,
            lambda: envelope.write_refusal(exception.NotAllowed('no')),
        )
