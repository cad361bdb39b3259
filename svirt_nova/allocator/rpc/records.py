# SPDX-License-Identifier: Apache-2.0
"""Reads the maps that messages have, entry by entry.

This module does no I/O. An entry is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import TypeVar

Value = TypeVar('Value')


class Record:
    """Reads the entries of a map.

    :raises TypeError: the message is no map. The methods raise it when an
        entry is missing or is of another kind.
    """

    def __init__(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise TypeError('not a map')
        self._message = message

    def take(self, name: str, kind: type[Value]) -> Value:
        """An entry of a kind that JSON has."""
        value = self._message.get(name)
        if not isinstance(value, kind) or (
            # In Python, True is an int.
            kind is int and isinstance(value, bool)
        ):
            raise TypeError(f'{name} is no {kind.__name__}')
        return value

    def maybe(
        self,
        name: str,
        read: Callable[[Any], Value],
        kind: type[Any] = str,
    ) -> Value | None:
        """What is read from an entry; None if it is null or missing."""
        if self._message.get(name) is None:
            return None
        return read(self.take(name, kind))

    def texts(self, name: str) -> list[str]:
        """An entry that is a list of texts."""
        found = self.take(name, list)
        if not all(isinstance(each, str) for each in found):
            raise TypeError(f'{name} has what is no text')
        return found

    def counts(self, name: str) -> dict[str, int]:
        """An entry that is a map of numbers."""
        found = self.take(name, dict)
        if not all(
            isinstance(key, str) and isinstance(number, int)
            for key, number in found.items()
        ):
            raise TypeError(f'{name} has what is no count')
        return found
