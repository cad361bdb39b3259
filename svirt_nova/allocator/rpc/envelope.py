# SPDX-License-Identifier: Apache-2.0
"""What the service answers: the result of a call, or a refusal.

This module does no I/O. An answer is a map with the one key ``result`` or
``error``. A refusal names one of our errors. oslo.messaging could carry
errors too, but it would tell the other side the traceback, and would raise
any class that the other side names.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.allocator.rpc import records

Value = TypeVar('Value')

Answer = dict[str, Any]

_ERRORS: Mapping[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        exception.InvalidLevel,
        exception.InvalidSpace,
        exception.NotInSpace,
        exception.UnknownInstance,
        exception.SpaceFull,
        exception.LevelTaken,
        exception.ClaimOutdated,
        exception.StoreUnreachable,
        exception.StoreUnusable,
        exception.StoreTooNew,
        exception.StoreDistrusted,
        exception.OtherCloud,
        exception.NotAllowed,
        exception.LimitReached,
        exception.AnswerTooLarge,
        exception.RepeatedCall,
        # An argument has no sense.
        ValueError,
    )
}
"""The errors that travel, by the names that they have in a refusal."""


NAMES = tuple(_ERRORS)
"""What a refusal can be called."""


def name_of(error: Exception) -> str | None:
    """What a refusal with an error is called; None if it does not travel."""
    name = type(error).__name__
    return name if _ERRORS.get(name) is type(error) else None


def write_result(message: Any) -> Answer:
    """Answer with a result.

    :param message: the result as its codec wrote it
    """
    return {'result': message}


def write_refusal(error: Exception) -> Answer:
    """Answer with a refusal.

    An error that does not travel is a fault of the service. Its text is
    not told, because it may hold what a caller must not know.
    """
    name = name_of(error)
    if name is not None:
        text = printing.printable(error)
    else:
        name = exception.StoreUnusable.__name__
        text = 'the allocator service failed; its log says why'
    return {'error': {'name': name, 'text': text}}


def is_refusal(answer: Any, kind: type[Exception]) -> bool:
    """Whether an answer refuses a call with an error of a kind."""
    error = answer.get('error') if isinstance(answer, dict) else None
    return isinstance(error, dict) and error.get('name') == kind.__name__


def read(answer: Any, read_result: Callable[[Any], Value]) -> Value:
    """Give the result that an answer has, or raise its refusal.

    :param read_result: the reader of the call's result
    :raises StoreUnusable: the answer is none, or has no such result
    :raises ValueError: the service refused an argument
    :raises AllocatorError: the service refused the call otherwise
    """
    if not isinstance(answer, dict) or answer.keys() not in (
        {'result'},
        {'error'},
    ):
        raise exception.StoreUnusable(
            'the allocator service sent an answer without sense'
        )
    if 'error' in answer:
        raise _read_error(answer['error'])
    try:
        return read_result(answer['result'])
    except (TypeError, ValueError) as error:
        raise exception.StoreUnusable(
            f'the allocator service sent an answer without sense: {error}'
        ) from error


def _read_error(message: Any) -> Exception:
    try:
        record = records.Record(message)
        name, text = record.take('name', str), record.take('text', str)
    except TypeError as error:
        return exception.StoreUnusable(
            f'the allocator service sent a refusal without sense: {error}'
        )
    return _ERRORS.get(name, exception.StoreUnusable)(printing.printable(text))
