# SPDX-License-Identifier: Apache-2.0
"""Asks for long lists in parts, each in an answer that the bus can carry."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TypeVar

from svirt_nova import exception
from svirt_nova.allocator.rpc import sizes

Entry = TypeVar('Entry')
Mark = TypeVar('Mark')


def ask_for(
    ask: Callable[[Mark | None, int | None], Sequence[Entry]],
    after: Mark | None,
    size: int | None,
    mark: Callable[[Entry], Mark],
) -> Iterator[Sequence[Entry]]:
    """The parts of a list, each in an answer of its own.

    Where an answer would be too large for the bus, smaller parts are asked
    for. A service of a former release sends it, or does not answer.

    :param ask: asks for the part after a mark, of a size; without a size, for
        all that is left
    :param after: the mark to begin after
    :param size: that of the first part
    :param mark: what to go on after, of an entry
    """
    while True:
        try:
            part = ask(after, size)
        except exception.AnswerTooLarge:
            if size == 1:
                raise
            size = sizes.PAGE if size is None else size // 2
            continue
        yield part
        if size is None or len(part) < size:
            return
        last = mark(part[-1])
        if last == after:
            raise exception.StoreUnusable(
                'the allocator service sends the same part of a list again '
                'and again'
            )
        after = last
