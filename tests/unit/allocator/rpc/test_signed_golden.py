# SPDX-License-Identifier: Apache-2.0
"""Signed messages are those of the releases in the field.

In a rolling upgrade the two sides are of different releases: a text that is
here must be read for ever, and what is signed must be written as it is here.
"""

import json

import jwt
import testtools
from cryptography.hazmat.primitives.asymmetric import ed25519

from svirt_nova.allocator.rpc import signatures

HOST = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SERVICE = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
CALL = signatures.Call(
    signatures.public_text(HOST.public_key()),
    'A' * 22,
    'host1',
    [signatures.public_text(SERVICE.public_key())],
    'levels',
    1000.25,
    1022.75,
    'get',
    '1.0',
    {'instance_uuid': 'u, \u00b5'},
)
ANSWER = {'result': None}

CALL_TEXT = (
    'eyJhbGciOiJFZERTQSIsImtpZCI6IkE2RUh2X1BPRUw0ZGNOMFk1MHZBbVdmazFqQ2Jw'
    'UTFmSGR5R1pCSlZNYmciLCJ0eXAiOiJzdmlydC1ub3ZhLWNhbGwifQ.eyJqdGkiOiJBQ'
    'UFBQUFBQUFBQUFBQUFBQUFBQUFBIiwiaXNzIjoiaG9zdDEiLCJhdWQiOlsiS2F5NjRVR'
    'zh5dkN5TGhxVTAwMEx4elllVW0wTF9oTElsNVM4a3lLV2JkYyJdLCJ0b3BpYyI6Imxld'
    'mVscyIsImlhdCI6MTAwMC4yNSwiZXhwIjoxMDIyLjc1LCJjYWxsIjoiZ2V0IiwidmVyc'
    '2lvbiI6IjEuMCIsImFyZ3MiOnsiaW5zdGFuY2VfdXVpZCI6InUsIFx1MDBiNSJ9fQ.Cj'
    'g5M5SQ1QqrNWkJ6iYw3Ohlg9_pNaezFwUUKIPPOaIL1IMnIGY0AigxJh52nn_ccXnWFD'
    '_88LK_RV_nUkM7CA'
)
ANSWER_TEXT = (
    'eyJhbGciOiJFZERTQSIsImtpZCI6IktheTY0VUc4eXZDeUxocVUwMDBMeHpZZVVtMExf'
    'aExJbDVTOGt5S1diZGMiLCJ0eXAiOiJzdmlydC1ub3ZhLWFuc3dlciJ9.eyJyZSI6IkF'
    'BQUFBQUFBQUFBQUFBQUFBQUFBQUEiLCJhdWQiOiJBNkVIdl9QT0VMNGRjTjBZNTB2QW1'
    'XZmsxakNicFExZkhkeUdaQkpWTWJnIiwiYW5zd2VyIjp7InJlc3VsdCI6bnVsbH19.mv'
    '9noIF1cQaBC57871qmzwjoCHWaAeOTE91yKaq7KD9rNAN561WbrCWEzdAznX6Irbh79C'
    'c5s2WUOh6vpw-HCA'
)


class SignedGoldenTest(testtools.TestCase):
    def said(self, text):
        """What the header and the payload of a text say."""
        options = {'verify_signature': False}
        return (
            jwt.get_unverified_header(text),
            json.loads(jwt.api_jws.decode(text, options=options)),
        )

    def test_what_releases_in_the_field_sign_is_read(self):
        self.assertEqual(CALL, signatures.read_call(CALL_TEXT))
        self.assertEqual(ANSWER, signatures.read_answer(ANSWER_TEXT, CALL))

    def test_what_is_signed_says_what_releases_in_the_field_say(self):
        for written, text in (
            (signatures.write_call(HOST, CALL), CALL_TEXT),
            (signatures.write_answer(SERVICE, CALL, ANSWER), ANSWER_TEXT),
        ):
            self.assertEqual(self.said(text), self.said(written))
