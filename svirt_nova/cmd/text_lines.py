# SPDX-License-Identifier: Apache-2.0
"""Reads lines of files and streams, of which none fills the memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO
from typing import TextIO

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.denials import sightings

_MOST = sightings.LONGEST_LINE + 2
"""So much of a line is read that it is seen to be too long."""


def of_file(path: str) -> Iterator[str]:
    """The lines of a file.

    :raises InvalidOption: it cannot be read
    """
    try:
        with open(path, 'rb') as file:
            yield from _lines(file)
    except OSError as error:
        raise exception.InvalidOption(
            f'{printing.quote(path)} cannot be read: {error.strerror}'
        ) from error


def of_stream(stream: TextIO) -> Iterator[str]:
    """The lines of standard input, in whatever encoding it is."""
    raw = getattr(stream, 'buffer', None)
    if raw is None:
        raw = io.BytesIO(stream.read().encode('utf-8', 'backslashreplace'))
    return _lines(raw)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines, which only a line feed ends; of long ones the beginning."""
    while found := file.readline(_MOST):
        rest = found
        while rest and not rest.endswith(b'\n') and len(rest) == _MOST:
            rest = file.readline(_MOST)
        # Bytes that are no UTF-8 are shown as escapes.
        yield found.decode('utf-8', 'backslashreplace')
