# SPDX-License-Identifier: Apache-2.0
"""Calls and answers that are signed: what is signed, and what is believed.

This module does no I/O. A signed message is a JSON Web Signature (RFC 7515)
in its compact form with the algorithm EdDSA over Ed25519 (RFC 8037), which
PyJWT makes and verifies. Its payload is the very text that the other side
reads: nothing outside of it is believed.

The ``kid`` of a signature is the public key itself, in base64url: 32 octets
need no shorter name, and the name of a key cannot come to mean another key.
Who has the key is the business of the reader.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import math
import re
import secrets
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from svirt_nova import exception

SKEW = 10.0
"""Seconds by which the clocks of a caller and the service may differ."""

LONGEST_LIFE = 600.0
"""Seconds for which a call may be valid at most."""

MOST_TEXT = 2**20
"""Characters of a signed call at most; its longest list names all hosts."""

_ALGORITHM = 'EdDSA'
_CALL = 'svirt-nova-call'
_ANSWER = 'svirt-nova-answer'
_COMPACT = re.compile(r'[\w-]+\.[\w-]+\.[\w-]{86}', re.ASCII)
_KEY = re.compile(r'[\w-]{43}', re.ASCII)
_NONCE = re.compile(r'[\w-]{22}', re.ASCII)
_VERSION = re.compile(r'\d{1,4}\.\d{1,4}', re.ASCII)
_MOST_QUOTED = 100

_PRIME = 2**255 - 19
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8})
"""The y of the eight points whose order divides the cofactor (RFC 8032).

With such a point as the public key, anybody can make a signature that fits
many messages, or all of them. OpenSSL takes it for a key.
"""

# No other algorithm is known to it, "none" included.
_jws = jwt.PyJWS(algorithms=[_ALGORITHM])


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A call as its signature covers it.

    :param key: the public key whose owner has signed it
    :param nonce: makes the call unlike every other one of this key
    :param host: the name that the caller gives itself, if it has one
    :param audience: the public keys of the service that it is meant for
    :param topic: the topic that it is meant for
    :param issued: when it was signed, in seconds since 1970
    :param expires: when it is void
    :param name: of the call
    :param version: of the interface that the call needs
    :param arguments: as the table of calls writes them
    """

    key: str
    nonce: str
    host: str | None
    audience: Collection[str]
    topic: str
    issued: float
    expires: float
    name: str
    version: str
    arguments: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """A text of 43 characters that no other call has."""
        digest = hashlib.sha256(f'{self.key}.{self.nonce}'.encode()).digest()
        return _write_bytes(digest)


class Invalid(exception.NotAllowed):
    """A text is not a message with a valid signature."""


# Keys


def public_text(key: ed25519.Ed25519PublicKey) -> str:
    """The name of a public key: its 32 octets, in base64url."""
    return _write_bytes(
        key.public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
    )


def check_public_text(text: str) -> str:
    """Check the name of a public key.

    :returns: the text
    :raises Invalid: it is none, or anybody can sign for it
    """
    _read_key(text)
    return text


def _read_key(text: Any) -> ed25519.Ed25519PublicKey:
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        raise Invalid(
            f'{_quoted(text)} is no Ed25519 public key: 43 characters of '
            f'base64url'
        )
    octets = _read_bytes(text)
    # Two bits of the last character mean nothing: a key has one name only.
    if _write_bytes(octets) != text:
        raise Invalid(f'{text} is not the one name of a public key')
    # The highest bit is the sign of x. A y has one encoding that is right.
    y = int.from_bytes(octets, 'little') & (2**255 - 1)
    if y in _SMALL_ORDER or y >= _PRIME:
        raise Invalid(
            f'{text} is no public key that belongs to one private key: '
            f'anybody can sign for it'
        )
    return ed25519.Ed25519PublicKey.from_public_bytes(octets)


# Calls


def new_nonce() -> str:
    """A nonce that nobody can guess: 16 octets, in base64url."""
    return secrets.token_urlsafe(16)


def write_call(key: ed25519.Ed25519PrivateKey, call: Call) -> str:
    """Sign a call.

    :param key: the private key of :attr:`Call.key`
    :raises ValueError: the call is longer than the service reads; it would be
        refused without a signature, which its caller does not believe
    """
    text = _sign(
        key,
        call.key,
        _CALL,
        {
            'jti': call.nonce,
            'iss': call.host,
            'aud': sorted(call.audience),
            'topic': call.topic,
            'iat': call.issued,
            'exp': call.expires,
            'call': call.name,
            'version': call.version,
            'args': call.arguments,
        },
    )
    if len(text) > MOST_TEXT:
        raise ValueError(
            f'the call {call.name} has {len(text)} characters, and '
            f'{MOST_TEXT} is the most'
        )
    return text


def read_call(text: Any) -> Call:
    """Read a call whose signature is valid.

    Whether its key is known, and whether it comes in time, is not judged.

    :raises Invalid: it is none
    """
    key, payload = _verify(text, _CALL, MOST_TEXT)
    wanted: dict[str, Any] = {
        'jti': str,
        'iss': (str, type(None)),
        'aud': list,
        'topic': str,
        'iat': (int, float),
        'exp': (int, float),
        'call': str,
        'version': str,
        'args': dict,
    }
    _check_entries(payload, wanted)
    if not _NONCE.fullmatch(payload['jti']):
        raise Invalid('the call has no nonce')
    if not _VERSION.fullmatch(payload['version']):
        raise Invalid('the call names no version of the interface')
    if not all(isinstance(each, str) for each in payload['aud']):
        raise Invalid('the call has an audience without sense')
    return Call(
        key,
        payload['jti'],
        payload['iss'],
        payload['aud'],
        payload['topic'],
        payload['iat'],
        payload['exp'],
        payload['call'],
        payload['version'],
        payload['args'],
    )


def check_time(call: Call, now: float) -> None:
    """Check that a call comes in its time.

    :param now: the service's clock, in seconds since 1970
    :raises Invalid: it is early or late, or would be valid for too long
    """
    if not 0 <= call.expires - call.issued <= LONGEST_LIFE:
        raise Invalid(
            f'the call is valid for {call.expires - call.issued:g} s, and '
            f'not for 0 to {LONGEST_LIFE:g}'
        )
    if call.issued > now + SKEW:
        raise Invalid(
            f'the call was signed {call.issued - now:.0f} s from now, by the '
            f'clock of this service: set the clocks of the caller and of the '
            f'service by NTP'
        )
    if call.expires < now - SKEW:
        raise Invalid(
            f'the call was signed {now - call.issued:.0f} s ago, by the '
            f'clock of this service, and is void: set the clocks of the '
            f'caller and of the service by NTP'
        )


# Answers


def write_answer(
    key: ed25519.Ed25519PrivateKey, call: Call, answer: Mapping[str, Any]
) -> str:
    """Sign the answer to a call.

    :param key: a private key of the service
    :param call: the call, whose signature is valid
    """
    return _sign(
        key,
        public_text(key.public_key()),
        _ANSWER,
        {'re': call.nonce, 'aud': call.key, 'answer': answer},
    )


def read_answer(
    text: Any, call: Call, most_text: int | None = None
) -> dict[str, Any]:
    """Read the answer to a call of our own.

    :param call: the call, whose audience are the keys that may answer it
    :param most_text: the most characters that are read
    :raises Invalid: it is none, it answers another call, or its key is not
        one of the call's audience
    """
    key, payload = _verify(text, _ANSWER, most_text)
    if key not in call.audience:
        raise Invalid(f'it is signed with the key {key}')
    _check_entries(payload, {'re': str, 'aud': str, 'answer': dict})
    if (payload['re'], payload['aud']) != (call.nonce, call.key):
        raise Invalid('it answers another call')
    answer: dict[str, Any] = payload['answer']
    return answer


# Signatures


def _sign(
    key: ed25519.Ed25519PrivateKey,
    name: str,
    kind: str,
    payload: Mapping[str, Any],
) -> str:
    text = json.dumps(payload, separators=(',', ':'), allow_nan=False)
    return _jws.encode(
        text.encode(),
        key,
        algorithm=_ALGORITHM,
        headers={'kid': name, 'typ': kind},
    )


def _verify(
    text: Any, kind: str, most_text: int | None
) -> tuple[str, dict[str, Any]]:
    """Give the key and the payload of a signed text.

    :param kind: of the message: a call is no answer
    """
    if not isinstance(text, str) or (
        most_text is not None and len(text) > most_text
    ):
        raise Invalid('it is no text, or too long')
    if not _COMPACT.fullmatch(text):
        raise Invalid('it is no JSON Web Signature')
    header = _read_json(_read_bytes(text.partition('.')[0]))
    if header.keys() != {'alg', 'kid', 'typ'}:
        raise Invalid('its header has not the three entries of ours')
    if (header['alg'], header['typ']) != (_ALGORITHM, kind):
        raise Invalid(f'it is not of the kind {kind}, signed by {_ALGORITHM}')
    key = _read_key(header['kid'])
    try:
        octets = _jws.decode(text, key, algorithms=[_ALGORITHM])
    except jwt.PyJWTError as error:
        raise Invalid(f'its signature is not valid: {error}') from error
    return header['kid'], _read_json(octets)


def _read_json(octets: bytes) -> dict[str, Any]:
    """Read a map, in which no name may come twice.

    JSON leaves open which of two entries of a name counts.
    """
    try:
        found = json.loads(
            octets.decode(),
            object_pairs_hook=_read_pairs,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Invalid('it is no JSON without repetitions') from error
    if not isinstance(found, dict):
        raise Invalid('it is no map')
    return found


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('a name comes twice')
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f'{name} is no number')


def _check_entries(
    payload: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    if payload.keys() != wanted.keys():
        raise Invalid('it has not the entries that it should have')
    for name, kind in wanted.items():
        value = payload[name]
        # In Python, True is an int; a number may be too large to be finite.
        if (
            not isinstance(value, kind)
            or isinstance(value, bool)
            or (isinstance(value, int | float) and not _is_finite(value))
        ):
            raise Invalid(f'its entry {name} is of another kind')


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _write_bytes(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b'=').decode()


def _read_bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise Invalid('it is no base64url') from error


def _quoted(text: Any) -> str:
    return repr(text)[:_MOST_QUOTED]
