# SPDX-License-Identifier: Apache-2.0
"""Who speaks for others, and who repeats what others have said."""

import threading
import time

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures
from tests.functional.allocator import attacked
from tests.functional.allocator import keyed


class CallerTest(attacked.AttackedTestCase):
    """Calls of others than they are about."""

    def setUp(self):
        super().setUp()
        self.thief = f'{self.host}-thief'
        self.keys.make(self.thief)

    def enrol(self, owner, role=Role.HOST):
        self.enrolled.enroll(role, owner, self.keys.names[self.thief])

    def steal(self, **changes):
        return self.text_of(self.payload(**changes), self.thief)

    def test_caller_without_a_name_speaks_for_nobody(self):
        self.enrol(self.thief)
        for changes in ({'iss': None}, {'iss': self.thief}):
            self.assert_attack_fails(self.steal(**changes), 'own alone')

    def test_key_of_a_name_that_looks_alike_speaks_for_itself(self):
        self.enrol(self.host.upper())
        for name in (self.host, self.host.upper(), None, f'{self.host} '):
            self.assert_attack_fails(self.steal(iss=name))

    def test_operator_with_the_name_of_a_host_is_not_that_host(self):
        self.enrol(self.host, Role.OPERATOR)
        for name in (self.host, None):
            self.assert_attack_fails(self.steal(iss=name), 'own alone')

    def test_host_with_the_name_of_an_operator_is_no_operator(self):
        self.enrol('operator')
        topic = f'{self.topic}-operator'
        for name in ('operator', None):
            text = self.steal(
                iss=name,
                topic=topic,
                call='retire',
                args={'instance_uuid': self.uuid},
            )
            self.assert_attack_fails(text, 'key of the host', topic)

    def test_calls_that_are_none_are_refused_with_a_signature(self):
        """Else the host takes the service for one of a former release."""
        asking = self.asking(call_retries=0)
        for name in ('signed', '_give_back', 'target', '__init__', 'retire'):
            call = calls.Call(
                name, '', (calls.Topic.COMPUTES,), (), calls.SPACE.result
            )
            error = self.assertRaises(
                exception.StoreUnusable, asking._call, call
            )
            self.assertIn('does not understand', str(error))
        self.assert_nothing_happened()

    def test_no_call_enrols_or_revokes_a_key(self):
        for name in ('enroll', 'enrolled_keys', 'host_enroll', 'revoke'):
            for owner in (self.host, 'operator'):
                text = self.text_of(
                    self.payload(
                        iss=None,
                        call=name,
                        args={
                            'role': 'host',
                            'owner': self.thief,
                            'public_key': self.keys.names[self.thief],
                        },
                    ),
                    owner,
                )
                self.assert_attack_fails(text, 'does not understand')
        self.assertIsNone(self.enrolled.find(self.keys.names[self.thief]))

    def test_host_that_is_bound_is_not_spoken_for_by_any_shape(self):
        """Nor is one that never signed: it was enrolled with --bind."""
        evil = {'role': 'host', 'owner': self.host, 'public_key': 'x'}
        for context in (
            {'host': self.host},
            {'host': 'other'},
            evil,
            {},
        ):
            answer = self.intruder.send('unclaim', context, **self.own)
            self.assert_refused(answer)
            self.assert_nothing_happened()

    def test_signed_text_beside_an_unsigned_call_is_no_signature(self):
        answer = self.intruder.send(
            'unclaim', {'host': self.host}, call=self.sign(), **self.own
        )
        self.assert_refused(answer, 'not signed')
        self.assert_nothing_happened()

    def test_host_whose_key_was_revoked_unused_is_not_spoken_for(self):
        self.enrol(self.thief)
        self.enrolled.revoke(Role.HOST, self.thief)
        for context in ({'host': self.thief}, {}):
            answer = self.intruder.send(
                'give_back',
                context,
                instance_uuid=self.uuid,
                host=self.thief,
            )
            self.assert_refused(answer, 'not signed')


class ReplayTest(attacked.AttackedTestCase):
    """Calls that the victim has signed, once more."""

    def test_call_that_two_workers_get_at_once_is_done_once(self):
        text = self.sign()
        answers = []
        together = threading.Barrier(2)

        def send(server):
            together.wait()
            answers.append(self.intruder.send_signed(text, server))

        threads = [
            threading.Thread(target=send, args=(each,))
            for each in self.workers
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(
            ['error', 'result'],
            sorted(next(iter(keyed.read(each))) for each in answers),
        )

    def test_call_is_not_done_again_after_a_restart(self):
        text = self.sign()
        self.assert_done(self.intruder.send_signed(text))
        self.held = self.below.acquire(self.uuid, 'p', self.host)
        fresh = self.start()
        self.assert_refused(
            self.intruder.send_signed(text, fresh), 'done before'
        )
        self.assert_nothing_happened()

    def test_call_in_another_message_is_the_same_call(self):
        text = self.sign()
        self.assert_done(self.intruder.send_signed(text))
        self.held = self.below.acquire(self.uuid, 'p', self.host)
        for context in (
            {},
            {'host': 'other', 'timeout': 10**6},
            {'host': self.host, 'timeout': 'x'},
        ):
            answer = self.intruder.send('signed', context, call=text)
            self.assert_refused(answer, 'done before')
            self.assert_nothing_happened()

    def test_read_is_answered_again_to_its_owner_alone_and_in_time(self):
        """Whoever listens reads what is answered: it is not secret."""
        read = self.sign(calls.CLAIMS, host=self.host, after=None, limit=5)
        for server in self.workers:
            answer = self.intruder.send_signed(read, server)
            self.assert_done(answer)
            # The victim takes it for the answer to no other call.
            other = signatures.read_call(self.sign(calls.SPACE))
            self.assertRaises(
                signatures.Invalid,
                signatures.read_answer,
                answer['signed'],
                other,
            )
        now = time.time()
        late = self.text_of(
            keyed.payload_of(read) | {'iat': now - 40, 'exp': now - 15}
        )
        self.assert_attack_fails(late, 'void')
        self.enrolled.revoke(Role.HOST, self.host)
        self.assert_attack_fails(read, 'revoked')

    def test_call_of_a_revoked_key_is_not_done_by_who_knew_the_key(self):
        text = self.sign()
        for server in self.workers:
            self.assert_done(
                self.intruder.send_signed(self.sign(calls.SPACE), server)
            )
        self.enrolled.revoke(Role.HOST, self.host)
        self.assert_attack_fails(text, 'revoked')

    def test_key_of_the_next_host_of_that_name_does_not_revive_a_call(self):
        text = self.sign()
        self.enrolled.revoke(Role.HOST, self.host)
        new = self.keys.make(f'{self.host}-new')
        self.enrolled.enroll(Role.HOST, self.host, new)
        self.assert_attack_fails(text, 'revoked')

    def test_refusal_of_a_call_that_was_sent_elsewhere_is_not_signed(self):
        text = self.sign()
        answer = self.intruder.send_signed(
            text, topic=f'{self.topic}-operator'
        )
        self.assertEqual({'error'}, answer.keys())
        answer = self.intruder.send('signed', {'timeout': 0}, call=text)
        self.assert_done(answer)

    def test_key_of_the_service_is_read_from_no_message(self):
        """An answer is believed by the keys that the call was meant for."""
        call = signatures.read_call(self.sign(calls.SPACE))
        stranger = key_files.read_private(self.keys.private('stranger'))
        text = signatures.write_answer(stranger, call, {'result': None})
        error = self.assertRaises(
            signatures.Invalid, signatures.read_answer, text, call
        )
        self.assertIn(self.keys.names['stranger'], str(error))
