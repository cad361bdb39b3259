# SPDX-License-Identifier: Apache-2.0
"""Where lines come from: what sources have in common, and standard input."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Any
from typing import Protocol

from svirt_nova.denials import sightings

CHUNK = 1 << 18
"""The most bytes that are read at once."""

_MOST_KEPT = 2 * sightings.LONGEST_LINE


class LineSource(Protocol):
    """Gives lines, in the form that auditd writes them."""

    def read(self, seconds: float) -> list[bytes]:
        """The next lines, without their line ends.

        :param seconds: how long to wait for some
        :returns: a bounded number of them; none if none came
        :raises EOFError: no more will ever come
        """

    def position(self) -> dict[str, Any]:
        """What the state file keeps, to read on behind the last line."""

    def close(self) -> None:
        """Let go of what is open."""


class Splitter:
    """Parts bytes into lines, of which none is kept that has no end.

    :ivar kept: the beginning of the next line
    :ivar is_skipping: whether that line is longer than any that counts, and
        dropped
    """

    def __init__(self) -> None:
        self.kept = b''
        self.is_skipping = False

    def split(self, data: bytes) -> list[bytes]:
        """The lines that end in some more bytes."""
        lines = (self.kept + data).split(b'\n')
        self.kept = lines.pop()
        if self.is_skipping and lines:
            del lines[0]
            self.is_skipping = False
        if len(self.kept) > _MOST_KEPT or self.is_skipping:
            self.kept = b''
            self.is_skipping = True
        return lines

    def finish(self) -> list[bytes]:
        """The last line, which has no line end."""
        last, self.kept = self.kept, b''
        is_skipping, self.is_skipping = self.is_skipping, False
        return [last] if last and not is_skipping else []


class Stream:
    """Lines of a pipe, such as a plugin of auditd reads.

    :param descriptor: of the pipe
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._splitter = Splitter()

    def read(self, seconds: float) -> list[bytes]:
        """The next lines, as :class:`LineSource` has it."""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return []
        data = os.read(self._descriptor, CHUNK)
        if data:
            return self._splitter.split(data)
        if lines := self._splitter.finish():
            return lines
        raise EOFError

    def position(self) -> dict[str, Any]:
        """What the state file keeps."""
        return {}

    def close(self) -> None:
        """The pipe belongs to who started this program."""


def text_of(found: Mapping[str, Any], name: str) -> str | None:
    """A text of the state file.

    :returns: None if there is none
    :raises TypeError: it is no text
    """
    value = found.get(name)
    if value is not None and not isinstance(value, str):
        raise TypeError(f'{name} is no text')
    return value
