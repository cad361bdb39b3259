# SPDX-License-Identifier: Apache-2.0
"""What a call of the allocator service is: its name, arguments and versions.

:mod:`svirt_nova.allocator.rpc.calls` has the calls.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Generic
from typing import TypeVar

from oslo_utils import versionutils

from svirt_nova.allocator.rpc import codec

Result = TypeVar('Result')

FIRST_VERSION = '1.0'
"""The version of the interface that every service answers."""


class Topic(enum.Enum):
    """Where a call is answered.

    The name of a topic on the bus is the option ``[svirt_nova_allocator]
    topic`` and this value. Operators' calls have a topic of their own, which
    can be on a bus that no compute reaches.
    """

    COMPUTES = ''
    OPERATORS = '-operator'


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call.

    :param name: its name in the message
    :param kind: the codec of its values
    :param since: the version of the interface that brought it, if that is
        not the call's. Clients of a version before do not send it; the
        service reads None then.
    :param is_sparse: whether it is not sent when it is None, so that a
        service of a version before understands the call
    """

    name: str
    kind: codec.Codec[Any]
    since: str | None = None
    is_sparse: bool = False


HOST = Argument('host', codec.TEXT)
"""The host whose claims a call is about."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[Result]):
    """A call of the service.

    :param name: its name in the message
    :param summary: what it does, in a sentence
    :param topics: where it is answered; the client prefers the first
    :param arguments: its arguments, in the order of the parameters of the
        allocator's method
    :param result: the codec of its result
    :param since: the version of the interface that brought it
    :param timeout: seconds that the client waits for the answer, once;
        None for the options ``call_timeout`` and ``call_retries``
    :param only_reads: whether it changes nothing in the store, so that it
        can be done any number of times
    """

    name: str
    summary: str
    topics: tuple[Topic, ...]
    arguments: tuple[Argument, ...]
    result: codec.Codec[Result]
    since: str = FIRST_VERSION
    timeout: float | None = None
    only_reads: bool = False

    @property
    def version(self) -> str:
        """The version of the interface that has all of the call."""
        return self.version_of({each.name: True for each in self.arguments})

    def version_of(self, message: Mapping[str, Any]) -> str:
        """The version that a message needs: of what is in it."""
        return newest(
            self.since,
            *(
                each.since
                for each in self.arguments
                if each.since and each.name in message
            ),
        )

    def thin_out(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message without the sparse arguments that are None."""
        sparse = {each.name for each in self.arguments if each.is_sparse}
        return {
            name: value
            for name, value in message.items()
            if value is not None or name not in sparse
        }

    @property
    def has_host(self) -> bool:
        """Whether only one host, or an operator, may make the call."""
        return HOST in self.arguments

    def write_arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write all arguments, as the client does.

        :raises TypeError: the values are not those of the arguments
        """
        self._check_names(values, self.arguments)
        return {
            each.name: each.kind.write(values[each.name])
            for each in self.arguments
        }

    def read_arguments(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Read the arguments, as the service does.

        :raises TypeError: an argument is missing, is unknown, or is not of
            its kind
        :raises ValueError: an argument has no sense
        """
        self._check_names(
            message,
            [each for each in self.arguments if each.since is None],
        )
        return {
            each.name: each.kind.read(message[each.name])
            if each.name in message
            else None
            for each in self.arguments
        }

    def _check_names(
        self, given: Mapping[str, Any], required: Iterable[Argument]
    ) -> None:
        for each in required:
            if each.name not in given:
                raise TypeError(f'{self.name} needs the argument {each.name}')
        unknown = given.keys() - {each.name for each in self.arguments}
        if unknown:
            raise TypeError(f'{self.name} has no argument {min(unknown)!r}')


def newest(*versions: str) -> str:
    """The newest of some versions of the interface."""
    return max(versions, key=versionutils.convert_version_to_tuple)
