# SPDX-License-Identifier: Apache-2.0
"""The caller's side of signed calls: its key, and whose answers it believes.

A caller with a key believes no answer that the service has not signed. There
is no way back to calls that are not signed: who could answer in place of the
service could ask for it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures
from svirt_nova.allocator.rpc import transport

Key = TypeVar('Key')

_MOST_TOLD = 300
"""Characters of an answer that is not signed which an error has at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class SignedCall:
    """A call that was signed here, and what its answer must be.

    :param text: as it is sent
    """

    text: str
    call: signatures.Call

    def read(self, answer: Any) -> dict[str, Any]:
        """Give the answer that the service has signed.

        :raises ForgedAnswer: it is none
        """
        text = None
        if isinstance(answer, dict) and answer.keys() == {
            authentication.ANSWER
        }:
            text = answer[authentication.ANSWER]
        try:
            return signatures.read_answer(text, self.call)
        except signatures.Invalid as error:
            why = str(error) if text is not None else 'it is not signed'
            raise self.forged(f'{why}{_told(answer)}') from error

    def forged(self, why: str) -> exception.ForgedAnswer:
        """What is said of an answer that is not believed.

        :param why: it is not
        """
        return exception.ForgedAnswer(
            f'an answer to the call {self.call.name} is not believed: {why}. '
            f'Either something else than the allocator service answers on '
            f'the bus; or the service is of a former release, or has no '
            f'service_key_file; or [svirt_nova_allocator] '
            f'service_public_key_file has not the public key of the service'
        )

    @property
    def is_over(self) -> bool:
        """Whether the call is void, by the clock that it was signed by."""
        return time.time() > self.call.expires


def _told(answer: Any) -> str:
    """What an unsigned refusal says, which may be a help or a lie."""
    error = answer.get('error') if isinstance(answer, dict) else None
    text = error.get('text') if isinstance(error, dict) else None
    return says(text) if isinstance(text, str) else ''


def says(text: str) -> str:
    """The end of a sentence, with what an answer says that is not signed."""
    return f', and says {text[:_MOST_TOLD]!r}'


class Credentials:
    """The keys of this caller, and those of the service.

    A compute reads its keys at once, so that it does not start with keys that
    it cannot use. A command reads a key when it needs it.

    :param conf: the configuration of a compute or of an operator's command
    :raises InvalidOption: a key of a compute cannot be used, or one is
        missing
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        options = conf.svirt_nova_allocator
        self._conf = conf
        self._host = _watch(options.host_key_file, key_files.read_private)
        self._operator = _watch(
            options.operator_key_file, key_files.read_private
        )
        self._service = _watch(
            options.service_public_key_file, key_files.read_public
        )
        # Nova's programs have a name for their host; ours have none.
        if 'host' in conf:
            for each in (self._host, self._service):
                if each is not None:
                    each.get()
        has_own = self._host is not None or self._operator is not None
        if has_own != (self._service is not None):
            raise exception.InvalidOption(
                '[svirt_nova_allocator] service_public_key_file and '
                'host_key_file, or operator_key_file, need each other: who '
                'signs its calls believes signed answers alone'
            )

    def sign(
        self,
        topic: calls.Topic,
        host: str | None,
        name: str,
        version: str,
        arguments: Mapping[str, Any],
        timeout: float,
    ) -> SignedCall | None:
        """Sign a call, if there is a key for it.

        Half of the caller's time is for the call itself: a call must not
        begin that its caller is about to give up.

        :param host: in whose name it is made
        :param timeout: seconds that the caller waits for the answer
        :returns: None without a key for the topic
        :raises StoreUnreachable: the key cannot be read
        :raises NotAllowed: the call needs the key of an operator
        :raises ValueError: the call is longer than the service reads
        """
        own = self._operator
        if topic is calls.Topic.COMPUTES and self._host is not None:
            # In nobody's name, an operator who has a key asks with it.
            own = own if host is None and own is not None else self._host
        if own is None or self._service is None:
            self._check_unsigned(topic, name)
            return None
        try:
            key, service = own.get(), self._service.get()
        except exception.InvalidOption as error:
            raise exception.StoreUnreachable(
                f'the allocator service cannot be asked: {error}'
            ) from error
        now = time.time()
        call = signatures.Call(
            signatures.public_text(key.public_key()),
            signatures.new_nonce(),
            host if own is self._host else None,
            service,
            transport.topic_name(self._conf, topic),
            now,
            now + timeout / 2,
            name,
            version,
            arguments,
        )
        return SignedCall(signatures.write_call(key, call), call)

    def _check_unsigned(self, topic: calls.Topic, name: str) -> None:
        """Check that a call may be made which there is no key to sign with.

        :raises NotAllowed: a host that believes signed answers alone would
            believe any on the bus of the computes
        """
        if (
            topic is calls.Topic.OPERATORS
            and self._host is not None
            and not transport.is_apart(self._conf)
        ):
            raise exception.NotAllowed(
                f"{name} is an operator's call, which the key of a host does "
                f'not sign: set [svirt_nova_allocator] operator_key_file; or '
                f'run the command where [svirt_database] has the database, '
                f'with [svirt] allocator = sql; or set operator_transport_url '
                f'to the virtual host of operators'
            )


def _watch(
    path: str | None, read: Callable[[str], Key]
) -> key_files.Watched[Key] | None:
    if path is None:
        return None
    return key_files.Watched(path, read)
