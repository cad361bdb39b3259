# SPDX-License-Identifier: Apache-2.0

import base64
import dataclasses
import json

import jwt
import testtools
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.allocator.rpc import signatures

OWN = ed25519.Ed25519PrivateKey.generate()
SERVICE = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()
ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'


def name_of(key):
    return signatures.public_text(key.public_key())


CALL = signatures.Call(
    name_of(OWN),
    signatures.new_nonce(),
    'höst1',
    [name_of(SERVICE)],
    'levels',
    1000.0,
    1022.5,
    'acquire',
    '1.3',
    {'host': 'höst1', 'instance_uuid': 'u'},
)
ANSWER = {'result': {'level': 's0:c1,c2'}}


def octets(text):
    return base64.urlsafe_b64encode(text).rstrip(b'=').decode()


def sign(payload, key=OWN, header=None):
    """A signature over any payload, with any header."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    if header is None:
        header = {
            'alg': 'EdDSA',
            'kid': name_of(key),
            'typ': 'svirt-nova-call',
        }
    if not isinstance(header, str):
        header = json.dumps(header)
    signed = f'{octets(header.encode())}.{octets(text.encode())}'
    return f'{signed}.{octets(key.sign(signed.encode()))}'


def payload_of(text):
    return json.loads(
        jwt.api_jws.decode(text, options={'verify_signature': False})
    )


class SignaturesTestCase(testtools.TestCase):
    def refusal(self, call, *arguments):
        error = self.assertRaises(signatures.Invalid, call, *arguments)
        return str(error)


def times(number, point):
    """A point of edwards25519, added to itself (RFC 8032, 5.1.4)."""
    found = (0, 1)
    while number:
        if number & 1:
            found = add(found, point)
        point = add(point, point)
        number >>= 1
    return found


def add(one, other):
    (x1, y1), (x2, y2) = one, other
    both = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + both, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - both, -1, P) % P,
    )


def points():
    """Points of any order."""
    for y in range(2, 40):
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        root = pow(square, (P + 3) // 8, P)
        for x in (root, root * pow(2, (P - 1) // 4, P) % P):
            if x * x % P == square:
                yield x, y
                break


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the points that are used as public keys."""


class SmallOrderTest(SignaturesTestCase):
    """Public keys for which anybody can sign."""

    def name(self, y, sign=0):
        return octets((y | sign << 255).to_bytes(32, 'little'))

    def test_each_point_of_small_order_is_refused_in_each_encoding(self):
        found = set()
        for point in points():
            small = times(ORDER, point)
            self.assertEqual((0, 1), times(8, small))
            for number in range(8):
                found.add(times(number, small)[1])
        self.assertEqual(5, len(found))
        for y in found:
            for other in (y, y + P):
                if other < 2**255:
                    for sign in (0, 1):
                        text = self.refusal(
                            signatures.check_public_text,
                            self.name(other, sign),
                        )
                        self.assertIn('anybody', text)

    def test_other_points_are_keys(self):
        for key in (OWN, SERVICE, OTHER):
            signatures.check_public_text(name_of(key))

    def test_call_that_the_service_would_not_read_is_not_signed(self):
        long = dataclasses.replace(
            CALL, arguments={'host': signatures.MOST_TEXT * 'x'}
        )
        error = self.assertRaises(ValueError, signatures.write_call, OWN, long)
        self.assertLess(len(str(error)), 200)

    def test_signature_that_fits_every_message_is_invalid(self):
        """It is one for the public key that is the neutral point."""
        neutral = (1).to_bytes(32, 'little')
        payload = payload_of(signatures.write_call(OWN, CALL))
        header = {
            'alg': 'EdDSA',
            'kid': octets(neutral),
            'typ': 'svirt-nova-call',
        }
        signed = '.'.join(
            octets(json.dumps(each).encode()) for each in (header, payload)
        )
        forged = neutral + bytes(32)
        ed25519.Ed25519PublicKey.from_public_bytes(neutral).verify(
            forged, signed.encode()
        )
        self.assertIn(
            'anybody',
            self.refusal(signatures.read_call, f'{signed}.{octets(forged)}'),
        )


class CallTest(SignaturesTestCase):
    def setUp(self):
        super().setUp()
        self.text = signatures.write_call(OWN, CALL)
        self.payload = payload_of(self.text)

    def test_call_that_is_signed_is_read_as_it_was(self):
        self.assertEqual(CALL, signatures.read_call(self.text))
        nameless = dataclasses.replace(CALL, host=None)
        text = signatures.write_call(OWN, nameless)
        self.assertEqual(nameless, signatures.read_call(text))

    def test_call_that_is_made_by_hand_is_read(self):
        """The attacks below differ from this in one thing each."""
        self.assertEqual(CALL, signatures.read_call(sign(self.payload)))

    def test_any_other_character_makes_the_signature_invalid(self):
        for place, old in enumerate(self.text):
            for new in ('A', 'B', '.', '='):
                changed = self.text[:place] + new + self.text[place + 1 :]
                try:
                    found = signatures.read_call(changed)
                except signatures.Invalid:
                    continue
                # The last character of a part has bits that mean nothing.
                self.assertTrue(new == old or self._is_last(place), place)
                self.assertEqual(CALL, found)

    def _is_last(self, place):
        return self.text[place + 1 : place + 2] in ('.', '')

    def test_part_of_a_call_is_none(self):
        for length in range(len(self.text)):
            self.refusal(signatures.read_call, self.text[:length])

    @given(
        st.one_of(
            st.none(),
            st.integers(),
            st.text(),
            st.binary(),
            st.text(ALPHABET + '.'),
            st.lists(st.text()),
        )
    )
    def test_anything_else_is_none(self, junk):
        self.refusal(signatures.read_call, junk)

    def test_signature_by_another_key_than_is_named_is_invalid(self):
        for signer in (OTHER, SERVICE):
            header = {
                'alg': 'EdDSA',
                'kid': name_of(OWN),
                'typ': 'svirt-nova-call',
            }
            text = sign(self.payload, signer, header)
            self.assertIn(
                'signature', self.refusal(signatures.read_call, text)
            )

    def test_no_other_algorithm_is_believed(self):
        body = self.text.split('.')[1]
        for algorithm in ('none', 'None', 'NONE', '', 'HS256', 'ES256'):
            header = {
                'alg': algorithm,
                'kid': name_of(OWN),
                'typ': 'svirt-nova-call',
            }
            self.refusal(signatures.read_call, sign(self.payload, OWN, header))
            bare = f'{octets(json.dumps(header).encode())}.{body}.'
            self.refusal(signatures.read_call, bare)

    def test_public_key_is_no_secret_of_hs256(self):
        public = OWN.public_key()
        for secret in (
            public.public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw
            ),
            name_of(OWN).encode(),
        ):
            text = jwt.PyJWS().encode(
                json.dumps(self.payload).encode(),
                secret,
                algorithm='HS256',
                headers={'kid': name_of(OWN), 'typ': 'svirt-nova-call'},
            )
            self.refusal(signatures.read_call, text)

    def test_header_with_other_entries_is_refused(self):
        header = {'alg': 'EdDSA', 'kid': name_of(OWN)}
        kind = {'typ': 'svirt-nova-call'}
        for wrong in (
            header,
            {**header, 'typ': 'JWT'},
            {**header, 'typ': 'svirt-nova-answer'},
            {**header, **kind, 'b64': False, 'crit': ['b64']},
            {**header, **kind, 'jwk': {}},
            {**header, **kind, 'kid': None},
            {**header, **kind, 'kid': name_of(OWN)[:-1]},
            {**header, **kind, 'kid': name_of(OWN) + '='},
            [],
            'null',
            '{',
        ):
            self.refusal(signatures.read_call, sign(self.payload, OWN, wrong))

    def test_name_of_a_key_has_one_spelling(self):
        name = name_of(OWN)
        last = ALPHABET.index(name[-1])
        others = [name[:-1] + ALPHABET[last ^ bits] for bits in (1, 2, 3)]
        for each in others:
            self.assertIn(
                'one name', self.refusal(signatures.check_public_text, each)
            )
        self.assertEqual(name, signatures.check_public_text(name))

    def test_name_that_comes_twice_is_refused(self):
        text = json.dumps(self.payload)
        for twice in (
            text.replace('{', '{"iss": "host2", ', 1),
            text.replace('"args": {', '"args": {"host": "host2", '),
            text[:-1] + ', "exp": 9999999999}',
        ):
            self.refusal(signatures.read_call, sign(twice))
        header = (
            f'{{"alg": "none", "alg": "EdDSA", "kid": "{name_of(OWN)}", '
            f'"typ": "svirt-nova-call"}}'
        )
        self.refusal(signatures.read_call, sign(text, OWN, header))

    def test_entry_that_is_missing_or_more_is_refused(self):
        for name in self.payload:
            rest = {k: v for k, v in self.payload.items() if k != name}
            self.refusal(signatures.read_call, sign(rest))
        self.refusal(signatures.read_call, sign({**self.payload, 'nbf': 0}))

    def test_entry_of_another_kind_is_refused(self):
        for name, wrong in (
            ('jti', ''),
            ('jti', 'x' * 23),
            ('jti', 'é' * 22),
            ('jti', None),
            ('iss', 7),
            ('aud', name_of(SERVICE)),
            ('aud', [7]),
            ('iat', '1000'),
            ('iat', True),
            ('exp', None),
            ('exp', 10**400),
            ('call', ['acquire']),
            ('version', 1.3),
            ('args', [['host', 'x']]),
        ):
            self.refusal(
                signatures.read_call, sign({**self.payload, name: wrong})
            )

    def test_number_that_json_has_not_is_refused(self):
        for number in ('NaN', 'Infinity', '-Infinity', '1e999'):
            text = json.dumps(self.payload).replace('1022.5', number)
            self.assertNotEqual(json.dumps(self.payload), text)
            self.refusal(signatures.read_call, sign(text))

    def test_call_that_is_too_long_is_not_verified(self):
        more = {**self.payload, 'args': {'note': 'x' * signatures.MOST_TEXT}}
        self.assertIn(
            'too long', self.refusal(signatures.read_call, sign(more))
        )

    def test_deep_nesting_is_refused(self):
        text = json.dumps(self.payload)[:-1] + ', "x": ' + '[' * 10**5
        self.refusal(signatures.read_call, sign(text))

    def test_call_is_valid_in_its_time_alone(self):
        for now in (990.0, 1000.0, 1022.5, 1032.5):
            signatures.check_time(CALL, now)
        for now, word in ((989.0, 'from now'), (1033.0, 'void')):
            self.assertIn(word, self.refusal(signatures.check_time, CALL, now))

    def test_call_is_not_valid_for_longer_than_the_longest(self):
        for life in (-1, signatures.LONGEST_LIFE + 1):
            call = dataclasses.replace(CALL, expires=CALL.issued + life)
            self.refusal(signatures.check_time, call, CALL.issued)

    def test_two_calls_have_not_the_same_identity(self):
        others = [
            dataclasses.replace(CALL, nonce=signatures.new_nonce()),
            dataclasses.replace(CALL, key=name_of(OTHER)),
        ]
        same = dataclasses.replace(CALL, name='unclaim')
        self.assertEqual(CALL.identity, same.identity)
        self.assertEqual(
            3, len({CALL.identity, *(each.identity for each in others)})
        )


class AnswerTest(SignaturesTestCase):
    def answer(self, **changes):
        return signatures.write_answer(
            SERVICE, dataclasses.replace(CALL, **changes), ANSWER
        )

    def read(self, text):
        return signatures.read_answer(text, CALL)

    def test_answer_of_the_service_is_read(self):
        self.assertEqual(ANSWER, self.read(self.answer()))

    def test_answer_of_another_key_is_refused(self):
        for key in (OWN, OTHER):
            text = signatures.write_answer(key, CALL, ANSWER)
            self.assertIn(name_of(key), self.refusal(self.read, text))

    def test_answer_to_another_call_is_refused(self):
        for changes in (
            {'nonce': signatures.new_nonce()},
            {'key': name_of(OTHER)},
        ):
            self.assertIn(
                'another call', self.refusal(self.read, self.answer(**changes))
            )

    def test_call_is_no_answer_and_answer_is_no_call(self):
        call = signatures.write_call(
            SERVICE, dataclasses.replace(CALL, key=name_of(SERVICE))
        )
        self.refusal(self.read, call)
        self.refusal(signatures.read_call, self.answer())

    def test_answer_without_a_signature_is_refused(self):
        for junk in (ANSWER, None, '', json.dumps(ANSWER), [ANSWER]):
            self.refusal(self.read, junk)
