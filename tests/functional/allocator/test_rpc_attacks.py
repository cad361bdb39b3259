# SPDX-License-Identifier: Apache-2.0
"""What an intruder on the bus tries with signed calls, and stolen keys."""

import dataclasses
import time
from unittest import mock

import fixtures
import jwt
from cryptography.hazmat.primitives import serialization

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures
from svirt_nova.mcs import levels
from tests.functional.allocator import fixture
from tests.functional.allocator import keyed

EVIL = levels.Level.parse('s0:c211,c905')
SIGNATURES = signatures.__name__


class SignedTest(keyed.AttackTestCase):
    """Attacks with what was signed before, or with keys of others."""

    def setUp(self):
        super().setUp()
        self.workers = [self.worker(), self.worker()]
        self.held = self.victim()
        self.unclaim = {
            'call': calls.UNCLAIM,
            'instance_uuid': self.uuid,
            'host': 'a',
        }

    def claims(self):
        return self.below.get(self.uuid).hosts

    def assert_attack_fails(self, text, word=''):
        for server in self.workers:
            self.assert_refused(self.intruder.send_signed(text, server), word)
            self.assertEqual(self.held, self.below.get(self.uuid))
            self.assertEqual({'a'}, self.claims())

    def test_signed_call_is_done(self):
        """The attacks below differ from this in one thing each."""
        text = self.sign(**self.unclaim)
        self.assert_done(self.intruder.send_signed(text))
        self.assertEqual(frozenset(), self.claims())

    def test_call_is_not_done_again_by_its_worker_nor_by_another(self):
        text = self.sign(**self.unclaim)
        self.intruder.send_signed(text, self.workers[0])
        self.below.acquire(self.uuid, 'p', 'a')
        self.held = self.below.get(self.uuid)
        self.assert_attack_fails(text, 'done before')

    def test_calls_without_numbers_are_done_once_in_any_order(self):
        """Their order is kept by numbers, which a compute has sent."""
        first = self.sign(**self.unclaim)
        second = self.sign(
            calls.ACQUIRE,
            instance_uuid=self.uuid,
            project_id='p',
            host='a',
            seen=None,
        )
        self.assert_done(self.intruder.send_signed(second))
        self.assert_done(self.intruder.send_signed(first))
        for text in (first, second, first):
            self.assert_refused(self.intruder.send_signed(text), 'before')
        self.assertEqual(frozenset(), self.claims())

    def test_nonce_that_is_used_again_is_refused(self):
        nonce, now = signatures.new_nonce(), time.time()
        self.useFixture(
            fixtures.MonkeyPatch(f'{SIGNATURES}.new_nonce', lambda: nonce)
        )
        # A call is known by its key, its nonce and the second of its end.
        clock = mock.Mock(time=lambda: now)
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.allocator.rpc.credentials.time', clock
            )
        )
        claim = self.sign(
            calls.ACQUIRE, instance_uuid=self.uuid, project_id='p', host='a'
        )
        self.assert_done(self.intruder.send_signed(claim, self.workers[0]))
        self.held = self.below.get(self.uuid)
        self.assert_attack_fails(self.sign(**self.unclaim), 'done before')

    def test_part_of_a_call_is_refused(self):
        text = self.sign(**self.unclaim)
        head, body, signature = text.split('.')
        for cut in (
            '',
            head,
            f'{head}.{body}',
            f'{head}.{body}.',
            f'{head}..{signature}',
            text[:-1],
            f'{head}.{body[:-4]}.{signature}',
            None,
            7,
            [text],
            {'call': text},
        ):
            self.assert_attack_fails(cut)

    def test_signature_of_one_call_is_none_of_another(self):
        head, _, signature = self.sign(calls.SPACE).split('.')
        body = self.sign(**self.unclaim).split('.')[1]
        self.assert_attack_fails(f'{head}.{body}.{signature}', 'signature')

    def test_call_about_another_host_is_refused(self):
        for owner, host in (('b', 'b'), ('operator', None)):
            stolen = self.resign(self.sign(**self.unclaim), owner, iss=host)
            self.assert_attack_fails(stolen)

    def resign(self, text, owner, **changes):
        """Sign what a text says, changed, with the key of an owner."""
        key = key_files.read_private(self.keys.private(owner))
        call = signatures.read_call(text)
        names = {'iss': 'host', 'exp': 'expires', 'iat': 'issued'}
        changes = {names.get(k, k): v for k, v in changes.items()}
        return signatures.write_call(
            key,
            dataclasses.replace(call, key=self.keys.names[owner], **changes),
        )

    def test_name_of_another_host_is_refused(self):
        text = self.resign(self.sign(**self.unclaim), 'b', iss='a')
        self.assert_attack_fails(text, 'key of the host b')

    def test_key_that_is_not_enrolled_is_refused(self):
        self.keys.make('stranger')
        text = self.resign(self.sign(**self.unclaim), 'stranger')
        self.assert_attack_fails(text, 'not enrolled')

    def test_key_of_the_service_is_no_key_of_a_host(self):
        text = self.resign(self.sign(**self.unclaim), 'service')
        self.assert_attack_fails(text, 'not enrolled')

    def test_revoked_key_is_refused_at_once_by_all_workers(self):
        for server in self.workers:
            self.assert_done(
                self.intruder.send_signed(self.sign(calls.SPACE), server)
            )
        before = self.sign(**self.unclaim)
        self.enrolled.revoke(Role.HOST, 'a')
        for text in (before, self.sign(**self.unclaim)):
            self.assert_attack_fails(text, 'revoked')

    def test_call_out_of_its_time_is_refused(self):
        now = time.time()
        text = self.sign(**self.unclaim)
        for issued, expires, word in (
            (now - 60, now - 30, 'void'),
            (now - 10**9, now - 10**9, 'void'),
            (now + 3600, now + 3610, 'NTP'),
            (now, now + 10**6, 'valid for'),
            (now, now - 1, 'valid for'),
        ):
            self.assert_attack_fails(
                self.resign(text, 'a', iat=issued, exp=expires), word
            )

    def test_host_whose_clock_is_off_is_told_so(self):
        real = time.time
        asking = self.signing('a')
        for hours in (-1, 1):
            with fixtures.MonkeyPatch(
                'svirt_nova.allocator.rpc.credentials.time.time',
                lambda h=hours: real() + h * 3600,
            ):
                call = self.sign(**self.unclaim)
            self.assert_attack_fails(call, 'NTP')
        asking.space()

    def test_call_for_another_service_or_topic_is_refused(self):
        text = self.sign(**self.unclaim)
        for changes, word in (
            ({'audience': [self.keys.names['b']]}, 'another key'),
            ({'audience': []}, 'another key'),
            ({'topic': 'levels'}, 'another topic'),
            ({'topic': f'{self.topic}-operator'}, 'another topic'),
        ):
            self.assert_attack_fails(self.resign(text, 'a', **changes), word)

    def test_operators_call_is_not_done_on_the_topic_of_computes(self):
        for owner in ('a', 'operator'):
            text = self.resign(
                self.sign(calls.SPACE),
                owner,
                iss=None,
                name='retire',
                arguments={'instance_uuid': self.uuid},
            )
            self.assert_attack_fails(text, 'does not understand')

    def test_algorithms_that_need_no_private_key_are_refused(self):
        text = self.sign(**self.unclaim)
        payload = jwt.api_jws.decode(text, options={'verify_signature': False})
        public = key_files.read_private(self.keys.private('a')).public_key()
        raw = public.public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        headers = {'kid': self.keys.names['a'], 'typ': 'svirt-nova-call'}
        for algorithm, secret in (('none', None), ('HS256', raw)):
            forged = jwt.PyJWS().encode(
                payload, secret, algorithm=algorithm, headers=headers
            )
            self.assert_attack_fails(forged)

    def test_entry_that_comes_twice_is_refused(self):
        key = key_files.read_private(self.keys.private('b'))
        payload = jwt.api_jws.decode(
            self.resign(self.sign(**self.unclaim), 'b', iss='b'),
            options={'verify_signature': False},
        )
        twice = payload.replace(b'"iss":"b"', b'"iss":"b","iss":"a"')
        self.assertNotEqual(payload, twice)
        text = jwt.PyJWS(algorithms=['EdDSA']).encode(
            twice,
            key,
            algorithm='EdDSA',
            headers={'kid': self.keys.names['b'], 'typ': 'svirt-nova-call'},
        )
        self.assert_attack_fails(text, 'repetitions')

    def test_call_of_a_megabyte_is_refused_unread(self):
        big = {'note': 'x' * (signatures.MOST_TEXT + 1)}
        text = self.sign(**self.unclaim)
        # A client of ours would not even send it.
        with mock.patch.object(signatures, 'MOST_TEXT', 2**24):
            text = self.resign(text, 'a', arguments=big)
        self.assert_attack_fails(text, 'too long')

    def test_host_with_any_name_has_a_voice_of_its_own_alone(self):
        name = 'hôst-\N{SNOWMAN}'
        self.keys.make('snow')
        self.enrolled.enroll(Role.HOST, name, self.keys.names['snow'])
        asking = self.signing(name, 'snow')
        got = asking.acquire(fixture.new_uuid(), 'p', name)
        self.assertEqual({name}, got.hosts)
        for host in ('a', 'hôst', 'host-\N{SNOWMAN}'):
            # In the name of another host, or as if it were that host.
            for call in (asking.acquire, asking.adopt):
                more = (
                    ('p', host, EVIL) if call == asking.adopt else ('p', host)
                )
                self.assertRaises(exception.NotAllowed, call, self.uuid, *more)
            self.assertRaises(
                exception.NotAllowed, asking.give_back, self.uuid, host
            )
        self.assertEqual({'a'}, self.claims())

    def test_refusal_has_no_line_of_the_callers_choice(self):
        log = self.useFixture(fixtures.FakeLogger())
        evil = 'a\n2026 INFO give_back: ' + 'x' * 10**5
        text = self.resign(self.sign(**self.unclaim), 'a', iss=evil)
        self.assert_attack_fails(text)
        for line in log.output.splitlines():
            self.assertFalse(line.startswith('2026'), line[:80])
            self.assertLess(len(line), 1000)
