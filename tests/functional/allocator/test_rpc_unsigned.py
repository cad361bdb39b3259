# SPDX-License-Identifier: Apache-2.0
"""What an intruder on the bus of the allocator service tries without a key.

The intruder has the credentials of the bus. Each attack on callers without
keys succeeds here, so that it is known to be one; on callers with keys, it
does not.
"""

import dataclasses

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import codec
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures
from svirt_nova.mcs import levels
from tests.functional.allocator import fixture
from tests.functional.allocator import keyed
from tests.functional.allocator import servers

EVIL = levels.Level.parse('s0:c211,c905')


class UnsignedTest(keyed.AttackTestCase):
    """Attacks that need no key, on callers without and with keys."""

    callers = 'any'

    def attack(self, call, **arguments):
        """Make an unsigned call in the name of host a."""
        return self.intruder.send(
            call.name,
            {'host': 'a', 'timeout': 30},
            version=call.version,
            instance_uuid=self.uuid,
            host='a',
            **arguments,
        )

    def give_back(self):
        return self.attack(calls.GIVE_BACK)

    def test_level_of_a_running_instance_is_freed_in_its_hosts_name(self):
        self.victim()
        self.worker()
        self.assert_done(self.give_back())
        self.assertIs(types.State.COOLING, self.below.get(self.uuid).state)

    def test_unsigned_call_is_done_where_no_call_was_signed(self):
        self.set_callers('enrolled')
        self.victim()
        self.worker()
        self.assert_done(self.give_back())

    def set_callers(self, mode):
        self.conf.set_override('callers', mode, 'svirt_nova_allocator')

    def assert_nothing_is_done(self):
        before = self.victim()
        for attack in (
            self.give_back,
            lambda: self.attack(calls.UNCLAIM),
            lambda: self.attack(calls.ACQUIRE, project_id='q', seen=None),
            lambda: self.attack(
                calls.ADOPT, project_id='q', level=str(before.level)
            ),
        ):
            self.assert_refused(attack(), 'not signed')
            self.assertEqual(before, self.below.get(self.uuid))
        for call, arguments in (
            (calls.CLAIMS, {'host': 'a', 'after': None, 'limit': 5}),
            (calls.GET, {'instance_uuid': self.uuid}),
            (calls.SPACE, {}),
        ):
            self.assert_refused(
                self.intruder.send(
                    call.name, {'host': 'a'}, version=call.version, **arguments
                )
            )

    def test_host_that_has_signed_is_not_spoken_for_unsigned(self):
        self.set_callers('enrolled')
        self.worker()
        self.signing('a').space()
        self.assert_nothing_is_done()
        # Its key is stolen and revoked: it is not spoken for either.
        self.enrolled.revoke(Role.HOST, 'a')
        self.assert_nothing_is_done()

    def test_no_host_is_spoken_for_unsigned(self):
        self.set_callers('signed')
        self.worker()
        self.assert_nothing_is_done()

    def test_name_that_only_looks_like_a_hosts_is_no_way_round(self):
        self.set_callers('enrolled')
        self.victim()
        self.worker()
        self.signing('a').space()
        for name in ('A', 'a ', '\N{CYRILLIC SMALL LETTER A}', 'a\0', ' a'):
            answer = self.intruder.send(
                'give_back',
                {'host': name},
                instance_uuid=self.uuid,
                host=name,
            )
            self.assertIn(keyed.read(answer).keys(), ({'error'}, {'result'}))
            self.assertEqual({'a'}, self.below.get(self.uuid).hosts)
            self.assert_refused(
                self.intruder.send(
                    'give_back',
                    {'host': name},
                    instance_uuid=self.uuid,
                    host='a',
                )
            )

    def test_ping_is_answered_to_everybody(self):
        self.set_callers('signed')
        self.worker()
        self.assert_done(self.intruder.send('ping', {}))


class MariaDbTest(keyed.AttackTestCase):
    """A store that pads names with spaces where it compares them."""

    def make_store(self):
        return servers.running('mariadb').create_database()

    callers = 'enrolled'
    set_callers = UnsignedTest.set_callers
    test_name_that_only_looks_like_a_hosts_is_no_way_round = (
        UnsignedTest.test_name_that_only_looks_like_a_hosts_is_no_way_round
    )


class SecondServerTest(keyed.AttackTestCase):
    """A second server on the topic of the service."""

    def evil_answer(self, message):
        """The intruder's own level, as an answer of the service."""
        if message['method'] == 'ping':
            return {'result': None}
        self.asked.append(message['method'])
        return {
            'result': codec.ALLOCATION.write(
                types.Allocation(EVIL, self.uuid, 'p', frozenset({'a'}))
            )
        }

    def setUp(self):
        super().setUp()
        self.asked = []

    def test_compute_without_a_key_believes_it(self):
        self.intruder.serve(self.evil_answer)
        asking = self.client('a')
        self.assertEqual(EVIL, asking.acquire(self.uuid, 'p', 'a').level)

    def forge(self, answer):
        """Have a compute with a key ask the intruder alone."""
        self.intruder.serve(answer)
        asking = self.signing('a', call_retries=0, call_timeout=3)
        error = self.assertRaises(
            exception.ForgedAnswer, asking.acquire, self.uuid, 'p', 'a'
        )
        # A compute goes on with what it knows.
        self.assertIsInstance(error, exception.StoreUnreachable)
        return str(error)

    def test_compute_with_a_key_does_not(self):
        self.assertIn('not signed', self.forge(self.evil_answer))

    def test_what_it_says_unsigned_is_told_as_such(self):
        text = self.forge(
            lambda _: {'error': {'name': 'NotAllowed', 'text': 'x\n' * 1000}}
        )
        self.assertIn("says 'x\\nx", text)
        self.assertLess(len(text), 1500)

    def test_no_key_but_the_services_signs_an_answer(self):
        stolen = key_files.read_private(self.keys.private('b'))

        def answer(message):
            call = signatures.read_call(message['args']['call'])
            result = self.evil_answer(message)
            return {'signed': signatures.write_answer(stolen, call, result)}

        self.assertIn(self.keys.names['b'], self.forge(answer))

    def test_answer_to_another_call_is_none(self):
        """The service itself has given it, to the intruder or to the host."""
        own = key_files.read_private(self.keys.private('service'))
        other = signatures.read_call(
            self.sign(calls.ACQUIRE, instance_uuid=self.uuid)
        )

        def answer(message):
            call = signatures.read_call(message['args']['call'])
            result = self.evil_answer(message)
            for changed in (
                other,
                dataclasses.replace(call, key=self.keys.names['b']),
            ):
                text = signatures.write_answer(own, changed, result)
                self.assertRaises(
                    signatures.Invalid, signatures.read_answer, text, call
                )
            return {'signed': text}

        self.assertIn('another call', self.forge(answer))

    def test_call_itself_is_no_answer(self):
        self.forge(lambda message: {'signed': message['args']['call']})

    def test_service_that_knows_no_signed_calls_is_no_way_round(self):
        """A compute with a key does not go back to calls without."""

        def answer(message):
            self.asked.append(message['method'])
            raise AttributeError('signed')

        self.intruder.serve(answer)
        asking = self.signing('a', call_retries=1, call_timeout=2)
        self.assertRaises(
            exception.ForgedAnswer, asking.acquire, self.uuid, 'p', 'a'
        )
        self.assertEqual({'signed', 'ping'}, {*self.asked, 'ping'})

    def test_beside_the_service_it_can_only_slow_calls(self):
        self.worker()
        self.intruder.serve(self.evil_answer)
        asking = self.signing('a', call_retries=0)
        given = [
            asking.acquire(fixture.new_uuid(), 'p', 'a').level
            for _ in range(40)
        ]
        self.assertNotIn(EVIL, given)
        self.assertLess(0, len(self.asked))
        self.assertEqual(40, len(set(given)))
