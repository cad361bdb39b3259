# SPDX-License-Identifier: Apache-2.0
"""Who calls the service: what it believes, and what it refuses.

The bus does not say who calls. A signed call says it, and is done once. A
call that is not signed is done as far as ``[svirt_nova_allocator] callers``
has it, and an operator's only where no compute can make it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import arguments
from svirt_nova.allocator import base
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures
from svirt_nova.allocator.rpc import transport

LOG = logs.get_logger(__name__)

METHOD = 'signed'
"""The name of a message on the bus that has a signed call."""

ARGUMENT = 'call'
"""The name of its one argument: the signed text."""

ANSWER = 'signed'
"""The one entry of a signed answer: the signed text."""

_MOST_NAMED = 100
"""Characters of a name from outside that an error has at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A signed call that is meant for this service.

    :param own: the key that its answer is to be signed with, which was read
        before anything is done
    """

    call: signatures.Call
    own: ed25519.Ed25519PrivateKey

    def sign(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Sign the answer to the call, as it goes over the bus."""
        return {ANSWER: signatures.write_answer(self.own, self.call, answer)}


class Authentication:
    """Tells who makes the calls of a topic.

    :param conf: the configuration of the service
    :param keys: the keys that are enrolled; None where none can be
    :param topic: where the calls come from
    :raises InvalidOption: the service's key cannot be used, or must be there
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        keys: enrolled_keys.EnrolledKeys | None,
        topic: calls.Topic,
    ) -> None:
        options = conf.svirt_nova_allocator
        self._keys = keys
        self._topic = topic
        self._topic_name = transport.topic_name(conf, topic)
        self._mode: str = options.callers
        self._takes_first_keys: bool = options.enroll_first_keys
        self._is_apart = transport.is_apart(conf)
        self._own: key_files.Watched[ed25519.Ed25519PrivateKey] | None = None
        if options.service_key_file:
            self._own = key_files.Watched(
                options.service_key_file, key_files.read_private
            )
            self._own.get()
        if self._mode == 'signed' and (keys is None or self._own is None):
            raise exception.InvalidOption(
                '[svirt_nova_allocator] callers = signed needs the driver '
                'sql, which keeps the keys of hosts, and service_key_file'
            )

    # Calls that are not signed

    def check_unsigned(self, name: Any, context: Any, message: Any) -> None:
        """Check that a call may be done that nobody has signed.

        :param name: of the call
        :param context: what the caller says of itself
        :param message: the arguments of the call, not checked yet
        :raises NotAllowed: it may not
        """
        if name == calls.PING.name:
            # It does nothing, and opens connections.
            return
        if self._topic is calls.Topic.OPERATORS:
            if not self._is_apart:
                raise exception.NotAllowed(
                    "operators' calls are not served on the virtual host of "
                    'the computes: run the command where [svirt_database] '
                    'has the database, with [svirt] allocator = sql; or set '
                    '[svirt_nova_allocator] operator_key_file to a key that '
                    'is enrolled; or give operators a virtual host of their '
                    'own, with operator_transport_url. Another name, port or '
                    'user of the bus is not enough'
                )
            return
        if self._mode == 'any':
            return
        if self._mode == 'signed':
            raise exception.NotAllowed(
                'the call is not signed: set [svirt_nova_allocator] '
                'host_key_file on the host, and enrol its key with '
                '"svirt-nova host enroll"'
            )
        for host in {*_names_of(context), *_names_of(message)}:
            if self._keys is not None and self._keys.is_bound(host):
                raise exception.NotAllowed(
                    f'the call is not signed, and host {_cut(host)} has a '
                    f'key: whoever made it does not use it. Set '
                    f'[svirt_nova_allocator] host_key_file on the host'
                )

    # Calls that are signed

    def read(self, message: Any) -> Received:
        """Read a signed call that is meant for this service.

        What this refuses is answered unsigned. It may come from anybody; and
        who signed a call must not believe a refusal that somebody got by
        sending the call elsewhere.

        :param message: its arguments
        :raises NotAllowed: it is none, or this service does none, or it is
            meant for another service or another topic
        :raises InvalidOption: the key of the service cannot be read any more
        """
        if self._own is None or self._keys is None:
            raise exception.NotAllowed(
                'this service does no signed calls: set '
                '[svirt_nova_allocator] service_key_file'
            )
        if not isinstance(message, dict) or message.keys() != {ARGUMENT}:
            raise signatures.Invalid('the message has not one signed call')
        call = signatures.read_call(message[ARGUMENT])
        own = self._own.get()
        if signatures.public_text(own.public_key()) not in call.audience:
            raise exception.NotAllowed(
                'the call is meant for a service with another key: the '
                "caller's [svirt_nova_allocator] service_public_key_file must "
                'have the public key of this one'
            )
        if call.topic != self._topic_name:
            raise exception.NotAllowed('the call is meant for another topic')
        return Received(call, own)

    def admit(self, call: signatures.Call) -> enrolled_keys.EnrolledKey:
        """Judge who makes a signed call, and when.

        :returns: the key that signed it
        :raises NotAllowed: its key is not enrolled, or is another's, or it
            does not come in its time
        """
        signatures.check_time(call, time.time())
        key = self._find(call)
        if key.revoked_at is not None:
            raise exception.NotAllowed(
                f'the key {key.public_key} of the {key.role} {key.owner} is '
                f'revoked'
            )
        if call.host is not None and call.host != key.owner:
            raise exception.NotAllowed(
                f'the call is signed with the key of the {key.role} '
                f'{key.owner}, and says that it is from {_cut(call.host)}'
            )
        if (
            self._topic is calls.Topic.OPERATORS
            and key.role is not enrolled_keys.Role.OPERATOR
        ):
            raise exception.NotAllowed(
                f"an operator's call is signed with the key of the host "
                f'{key.owner}'
            )
        return key

    def _find(self, call: signatures.Call) -> enrolled_keys.EnrolledKey:
        assert self._keys is not None
        key = self._keys.find(call.key)
        if key is not None:
            return key
        if (
            not self._takes_first_keys
            or call.host is None
            or self._topic is not calls.Topic.COMPUTES
        ):
            raise exception.NotAllowed(
                f'the key {call.key} is not enrolled: if it is that of '
                f'{_cut(call.host) if call.host else "the caller"}, enrol it '
                f'with "svirt-nova host enroll"'
            )
        key = self._keys.enroll(
            enrolled_keys.Role.HOST, call.host, call.key, is_first_call=True
        )
        LOG.warning(
            'The key %s of the first signed call of host %s is enrolled, '
            'which no operator has compared',
            key.public_key,
            key.owner,
        )
        return key

    def once(
        self, call: signatures.Call, key: enrolled_keys.EnrolledKey
    ) -> contextlib.AbstractContextManager[None]:
        """Do a call inside of this context: once, if it changes anything.

        A call that only reads is also done again within its time, for whoever
        sends it: its answer is for the owner of the key, and costs no write.

        :raises RepeatedCall: it was done already
        :raises NotAllowed: its key is revoked
        """
        assert self._keys is not None
        if call.name in calls.READS:
            self._keys.check(key)
            return contextlib.nullcontext()
        return self._keys.once(key, call.identity, call.expires)


def keys_of(
    conf: cfg.ConfigOpts, allocator: base.Allocator
) -> enrolled_keys.EnrolledKeys | None:
    """The keys that an allocator keeps; None if it keeps none.

    :raises InvalidOption: it keeps none, and must
    """
    try:
        return allocator.enrolled_keys()
    except exception.InvalidOption:
        if conf.svirt_nova_allocator.service_key_file:
            raise
        return None


def _names_of(message: Any) -> list[str]:
    """The host that a map names, if that can be the name of one."""
    host = message.get('host') if isinstance(message, dict) else None
    if not isinstance(host, str):
        return []
    try:
        arguments.check_name('host', host)
    except ValueError:
        # No such host has a key, and no allocator takes the name.
        return []
    return [host]


def _cut(name: str) -> str:
    """A name from outside, for an error."""
    return repr(name[:_MOST_NAMED])
