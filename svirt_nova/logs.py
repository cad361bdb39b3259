# SPDX-License-Identifier: Apache-2.0
"""Loggers whose records have one line each, of bounded length.

In nova-compute, Nova configures how records are written. What they have of
texts from outside is therefore made printable where they are made.
"""

from __future__ import annotations

import logging
from typing import Any

from oslo_log import log

from svirt_nova import printing

_MOST_CAUSES = 10
"""Errors of a chain that are shown."""


class _Shown:
    """An argument of a record, which is made printable when it is shown."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return printing.printable(self._value)

    def __repr__(self) -> str:
        return printing.printable(repr(self._value))


class Failure(Exception):
    """An error as the log shows it: with its class, and a bounded text."""


def get_logger(name: str) -> Any:
    """The logger of a module, as :func:`oslo_log.log.getLogger` gives it.

    :param name: the module's
    """
    made = log.getLogger(name)
    # The same filter is added only once.
    made.logger.addFilter(_show)
    return made


def _show(record: logging.LogRecord) -> bool:
    """Make what a record has of texts from outside printable."""
    if isinstance(record.args, tuple):
        record.args = tuple(map(_shown, record.args))
    elif record.args:
        record.args = {
            name: _shown(value) for name, value in record.args.items()
        }
    if record.exc_info and record.exc_info[1] is not None:
        error = _failure(record.exc_info[1], _MOST_CAUSES)
        record.exc_info = (Failure, error, error.__traceback__)
    return True


def _shown(value: object) -> object:
    if isinstance(value, int | float | _Shown):
        return value
    if isinstance(value, str) and value == printing.printable(value):
        return value
    return _Shown(value)


def _failure(error: BaseException, causes: int) -> Failure:
    """A copy of an error, and of those that led to it.

    :param causes: the most of those
    """
    if isinstance(error, Failure):
        return error
    made = Failure(printing.printable(f'{type(error).__qualname__}: {error}'))
    made.__traceback__ = error.__traceback__
    made.__suppress_context__ = error.__suppress_context__
    if causes:
        if error.__cause__ is not None:
            made.__cause__ = _failure(error.__cause__, causes - 1)
        elif error.__context__ is not None:
            made.__context__ = _failure(error.__context__, causes - 1)
        # Setting the cause suppresses the context.
        made.__suppress_context__ = error.__suppress_context__
    return made
