# SPDX-License-Identifier: Apache-2.0
"""A second server beside the service, which callers with keys go on past."""

import itertools

import fixtures

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import codec
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.virt import own_claims
from tests.functional.allocator import attacked
from tests.functional.allocator import fixture
from tests.functional.allocator import keyed


class SecondServerTest(attacked.AttackedTestCase):
    """It answers junk, and does with calls what it likes.

    The service and the second server get calls by turns.
    """

    def setUp(self):
        super().setUp()
        self.taken = []
        self.reply = lambda text: None
        if not hasattr(type(self), 'second'):
            # One for all tests of the class: it ends with them.
            type(self).second = True
            self.intruder.serve(lambda message: self.answer(message))
        type(self).current = self

    def answer(self, message):
        if message['method'] == 'ping':
            return {'result': None}
        text = message['args']['call']
        self.current.taken.append(text)
        return self.current.reply(text)

    def acquire_many(self, number=20):
        """Acquire levels in the victim's name; all calls are answered."""
        asking = self.asking()
        found = [
            asking.acquire(fixture.new_uuid(), 'p', self.host).level
            for _ in range(number)
        ]
        self.assertEqual(number, len(set(found)))
        self.assertLess(0, len(self.taken))
        return found

    def test_junk_does_not_stop_calls(self):
        junk = itertools.cycle(
            (
                None,
                {'signed': 'x'},
                {'error': {'name': 'NotAllowed', 'text': 'no'}},
                {'result': codec.ALLOCATION.write(self.held)},
            )
        )
        self.reply = lambda text: next(junk)
        self.acquire_many()

    def test_errors_do_not_stop_calls(self):
        errors = itertools.cycle(
            (ValueError, OSError, ConnectionError, AttributeError, KeyError)
        )

        def fail(text):
            raise next(errors)('no')

        self.reply = fail
        self.acquire_many()

    def test_call_itself_does_not_stop_calls(self):
        self.reply = lambda text: {'signed': text}
        self.acquire_many()

    def test_refusal_of_the_service_that_it_got_does_not_stop_calls(self):
        """It has calls refused: at the other topic, and by sending twice."""

        def elsewhere(text):
            return self.intruder.send_signed(
                text, self.operators, f'{self.topic}-operator'
            )

        def twice(text):
            self.intruder.send_signed(text, self.workers[0])
            return self.intruder.send_signed(text, self.workers[1])

        for self.reply in (elsewhere, twice):
            self.taken.clear()
            self.acquire_many(10)

    def hold_back(self, act):
        """Let the first call be held back, and its answer be junk.

        :param act: the call; the host makes it again at once
        """
        self.taken.clear()
        for _ in range(4):
            act()
            if self.taken:
                return self.taken[0]
        self.fail('the second server got no call')

    def test_held_back_claim_is_not_done_after_the_host_gave_back(self):
        own = own_claims.OwnClaims()
        # A compute that has just started knows a number when it has claimed.
        own.claimed(self.uuid, None, self.held.claims[self.host])
        asking = self.asking()

        def claim():
            number = own.to_claim(self.uuid)
            held = asking.acquire(
                self.uuid, 'p', self.host, None, number=number
            )
            own.claimed(self.uuid, number, held.claims.get(self.host))

        held_back = self.hold_back(claim)
        asking.unclaim(self.uuid, self.host, own.take(self.uuid))
        self.held = self.below.get(self.uuid)
        self.assertEqual(frozenset(), self.held.hosts)
        self.assert_refused(
            self.intruder.send_signed(held_back, self.workers[0])
        )
        self.assert_nothing_happened()

    def test_held_back_drops_do_not_undo_a_later_claim(self):
        asking = self.asking()
        for call in ('unclaim', 'give_back'):
            number = self.held.claims[self.host]
            held_back = self.hold_back(
                lambda c=call, n=number: getattr(asking, c)(
                    self.uuid, self.host, n
                )
            )
            self.held = asking.acquire(self.uuid, 'p', self.host)
            for server in self.workers:
                self.intruder.send_signed(held_back, server)
                self.assert_nothing_happened()

    def test_reordered_calls_leave_what_the_last_one_made(self):
        """Each is done once, and the older one changes nothing."""
        first = self.held.claims[self.host]
        drop = self.sign(number=first, **self.own)
        claim = self.sign(
            calls.ACQUIRE,
            project_id='p',
            number=first + 1,
            seen=None,
            **self.own,
        )
        self.assert_done(self.intruder.send_signed(claim, self.workers[0]))
        self.held = self.below.get(self.uuid)
        self.intruder.send_signed(drop, self.workers[1])
        self.assert_nothing_happened()


class FirstKeysTest(attacked.AttackedTestCase):
    """The service takes first keys; the intruder has many."""

    options = {'enroll_first_keys': True}

    def test_keys_that_are_refused_let_nobody_wait(self):
        writes = []
        run = stores.Store._run

        def watch(store, work, *, writes_=writes, writes):
            if writes:
                writes_.append(work)
            return run(store, work, writes=writes)

        with fixtures.MonkeyPatch(f'{stores.__name__}.Store._run', watch):
            for number in range(5):
                owner = f'{self.host}-{number}'
                self.keys.make(owner)
                self.assert_refused(
                    self.intruder.send_signed(
                        self.text_of(self.payload(), owner)
                    ),
                    'not enrolled',
                )
        self.assertEqual([], writes)
        self.assertEqual(1, len(self.enrolled.list(Role.HOST, self.host)))
        self.assert_nothing_happened()

    def test_operator_gets_no_first_key(self):
        text = self.text_of(
            self.payload(
                iss='operator2',
                topic=f'{self.topic}-operator',
                call='retire',
                args={'instance_uuid': self.uuid},
            ),
            'stranger',
        )
        self.assert_attack_fails(
            text, 'not enrolled', f'{self.topic}-operator'
        )
        self.assertIsNone(self.enrolled.find(self.keys.names['stranger']))


class OldPeerTest(attacked.AttackedTestCase):
    """Who wants a compute with a key to go back to calls without."""

    def test_compute_does_not_go_back_whatever_it_is_told(self):
        asked = []

        def answer(message):
            asked.append(message['method'])
            raise AttributeError('no such method: upgrade me')

        self.keys.make('evil')
        evil = keyed.Intruder(self, self.conf_of(host='x'))
        evil._conf.set_override(
            'topic', f'{self.topic}-evil', 'svirt_nova_allocator'
        )
        evil.serve(answer)
        asking = self.asking(call_timeout=1, call_retries=1)
        asking.conf.set_override(
            'topic', f'{self.topic}-evil', 'svirt_nova_allocator'
        )
        error = self.assertRaises(
            exception.ForgedAnswer, asking.acquire, self.uuid, 'p', self.host
        )
        self.assertIn('former release', str(error))
        self.assertEqual({'signed'}, {*asked} - {'ping'})
        self.assertLess(3, len(asked))
