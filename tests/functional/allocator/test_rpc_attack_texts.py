# SPDX-License-Identifier: Apache-2.0
"""Texts that an intruder on the bus makes of calls, keys and answers."""

import base64
import json
import time

from svirt_nova.allocator.rpc import calls
from tests.functional.allocator import attacked
from tests.functional.allocator import keyed

ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
ORDER = 2**252 + 27742317777372353535851937790883648493


class TextTest(attacked.AttackedTestCase):
    """Other texts than the victim has signed."""

    def test_text_that_is_made_by_hand_is_done(self):
        """The attacks below differ from this in one thing each."""
        self.assert_done(
            self.intruder.send_signed(self.text_of(self.payload()))
        )
        self.assertEqual(frozenset(), self.below.get(self.uuid).hosts)

    def test_header_that_says_more_is_refused(self):
        for more in (
            {'crit': ['exp']},
            {'b64': False, 'crit': ['b64']},
            {'jwk': {'kty': 'OKP', 'crv': 'Ed25519', 'x': 'A' * 43}},
            {'jku': 'http://127.0.0.1/keys'},
            {'cty': 'JWT'},
        ):
            self.assert_attack_fails(
                self.text_of(self.payload(), header=more), 'three entries'
            )

    def test_header_that_names_the_victims_key_does_not_make_it_so(self):
        text = self.text_of(
            self.payload(), 'stranger', {'kid': self.keys.names[self.host]}
        )
        self.assert_attack_fails(text, 'signature')

    def test_other_spelling_of_a_key_is_refused(self):
        name = self.keys.names[self.host]
        other = ALPHABET[ALPHABET.index(name[-1]) ^ 1]
        self.assertEqual(
            base64.urlsafe_b64decode(name + '='),
            base64.urlsafe_b64decode(name[:-1] + other + '='),
        )
        for kid in (name[:-1] + other, name + '=', name + '\n', ' ' + name):
            self.assert_attack_fails(
                self.text_of(self.payload(), header={'kid': kid})
            )

    def test_key_that_anybody_signs_for_is_refused(self):
        """The neutral point verifies one signature over every message."""
        neutral = (1).to_bytes(32, 'little')
        header = {
            'alg': 'EdDSA',
            'kid': attacked.octets(neutral),
            'typ': 'svirt-nova-call',
        }
        signed = '.'.join(
            attacked.octets(json.dumps(each).encode())
            for each in (header, self.payload())
        )
        self.assert_attack_fails(
            f'{signed}.{attacked.octets(neutral + bytes(32))}', 'anybody'
        )

    def test_other_signature_that_fits_the_same_text_is_no_other_call(self):
        text = self.sign()
        head, body, signature = text.split('.')
        octets = base64.urlsafe_b64decode(signature + '==')
        number = int.from_bytes(octets[32:], 'little') + ORDER
        self.assert_attack_fails(
            f'{head}.{body}.'
            f'{attacked.octets(octets[:32] + number.to_bytes(32, "little"))}',
            'signature',
        )
        # Four bits of the last character mean nothing.
        self.assert_done(self.intruder.send_signed(text))
        self.held = self.below.acquire(self.uuid, 'p', self.host)
        place = ALPHABET.index(text[-1])
        for more in (1, 15):
            self.assert_attack_fails(text[:-1] + ALPHABET[place + more])

    def test_text_with_more_around_it_is_refused(self):
        text = self.sign()
        for other in (
            f' {text}',
            f'{text}\n',
            f'{text}.',
            f'{text}=',
            f'{text}\0',
            f'Bearer {text}',
            text.replace('.', '=.', 1),
            text.replace('.', '\n.', 1),
        ):
            self.assert_attack_fails(other)

    def test_answer_of_the_service_is_no_call(self):
        """Its key is not enrolled, and what it signs is of another kind."""
        answer = self.intruder.send_signed(self.sign(calls.SPACE))
        self.assert_attack_fails(answer['signed'], 'kind')
        for typ in ('JWT', 'svirt-nova-answer', 'SVIRT-NOVA-CALL', '', None):
            self.assert_attack_fails(
                self.text_of(self.payload(), header={'typ': typ})
            )

    def test_argument_that_comes_twice_is_refused(self):
        payload = json.dumps(
            self.payload(
                iss='other', args={'instance_uuid': self.uuid, 'host': 'other'}
            )
        ).replace('"host": "other"', f'"host": "other", "host": "{self.host}"')
        self.assert_attack_fails(
            self.text_of(payload.encode()), 'without repetitions'
        )

    def test_payload_that_is_no_plain_json_is_refused(self):
        plain = json.dumps(self.payload()).encode()
        deep = b'[' * 10**5 + b']' * 10**5
        for payload in (
            b'',
            b'null',
            b'[]',
            b'\xff\xfe' + plain,
            plain.decode().encode('utf-16'),
            plain + plain,
            plain[:-1],
            plain.replace(b'"args": {', b'"args": {"x": %s, ' % deep),
            plain.replace(b'"args": {', b'"args": {"x": NaN, '),
            plain.replace(b'"args": {', b'"args": {"x": Infinity, '),
        ):
            self.assert_attack_fails(self.text_of(payload))

    def test_entry_that_is_missing_or_more_is_refused(self):
        for name in self.payload():
            changed = self.payload()
            del changed[name]
            self.assert_attack_fails(self.text_of(changed))
        for more in ('nbf', 'sub', 'Host', 'context'):
            self.assert_attack_fails(
                self.text_of(self.payload(**{more: self.host}))
            )

    def test_time_that_is_none_is_refused(self):
        now = time.time()
        for changes in (
            {'exp': True},
            {'exp': str(now + 10)},
            {'exp': None},
            {'exp': 10**400},
            {'exp': -1},
            {'iat': 1e308, 'exp': 1e308},
            {'iat': -(10**20), 'exp': -(10**20) + 1},
            {'iat': [now]},
            {'iat': now - 590, 'exp': now - 11},
        ):
            self.assert_attack_fails(self.text_of(self.payload(**changes)))

    def test_audience_that_is_no_list_is_refused(self):
        own = self.keys.names['service']
        for aud in (own, {own: 1}, [[own]], [None, own], f'x{own}x', None):
            self.assert_attack_fails(self.text_of(self.payload(aud=aud)))

    def test_nonce_that_could_be_guessed_is_refused(self):
        for jti in ('', '1', 'A' * 21, 'A' * 23, ' ' * 22, 7, None):
            self.assert_attack_fails(self.text_of(self.payload(jti=jti)))

    def test_version_that_is_none_is_refused(self):
        for version in ('1', '', '1.0.0', '-1.0', '1.x', 1.0, '9' * 10**4):
            self.assert_attack_fails(
                self.text_of(self.payload(version=version))
            )

    def test_number_of_a_claim_cannot_be_taken_from_a_call(self):
        """Without one, it would drop later claims, too."""
        text = self.sign(number=self.held.claims[self.host], **self.own)
        head, body, signature = text.split('.')
        payload = keyed.payload_of(text)
        del payload['args']['number']
        payload['version'] = '1.0'
        body = attacked.octets(json.dumps(payload).encode())
        self.assert_attack_fails(f'{head}.{body}.{signature}', 'signature')
