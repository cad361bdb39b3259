# SPDX-License-Identifier: Apache-2.0
"""Counts calls of the service by kind, outcome and time, and refusals."""

from __future__ import annotations

from typing import Any

from svirt_nova import exception
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import envelope
from svirt_nova.metrics import definitions
from svirt_nova.metrics import recorder

_DONE = 'done'
_REFUSED = 'refused'
_FAILED = 'failed'

# The service may answer such a call to computes and to operators.
_NAMES = (*dict.fromkeys(call.name for call in calls.CALLS), definitions.OTHER)

CALLS = definitions.Definition(
    'svirt_nova_calls_total',
    definitions.Kind.COUNTER,
    'Calls that the service has answered. The outcome is "done", "refused" '
    'where the service or the store said no, or "failed" where the store did '
    'not answer, could not be used, or the service itself was at fault. A '
    'call that was refused before its name was known is "other".',
    {'call': _NAMES, 'outcome': (_DONE, _REFUSED, _FAILED)},
)
SECONDS = definitions.Definition(
    'svirt_nova_call_duration_seconds',
    definitions.Kind.HISTOGRAM,
    'Time that the service took to do a call. What the call waited on the '
    'message bus is not part of it.',
    {'call': _NAMES},
    definitions.SECONDS,
)
REFUSALS = definitions.Definition(
    'svirt_nova_refusals_total',
    definitions.Kind.COUNTER,
    'Calls that were not done, by the name of the error that the caller got. '
    'The reason is "other" where the service was at fault: its log has the '
    'error.',
    {'reason': (*envelope.NAMES, definitions.OTHER)},
)
DEFINITIONS = (CALLS, SECONDS, REFUSALS)


def answered(call: str, problem: Exception | None, seconds: float) -> None:
    """Count a call that an endpoint has answered.

    :param problem: why it was not done; None if it was
    :param seconds: how long it took
    """
    recorder.observe(SECONDS, seconds, call)
    if problem is None:
        recorder.add(CALLS, call, _DONE)
    else:
        refused(call, problem)


def refused(call: Any, problem: Exception) -> None:
    """Count a call that was not done.

    :param call: its name, as the caller says
    """
    if isinstance(call, str) and call in _NAMES:
        recorder.add(CALLS, call, _outcome(problem))
    else:
        # Callers must not make the service seem to fail by calls that they
        # make up.
        recorder.add(CALLS, definitions.OTHER, _REFUSED)
    reason = envelope.name_of(problem)
    recorder.add(REFUSALS, reason or definitions.OTHER)


def _outcome(problem: Exception) -> str:
    if envelope.name_of(problem) is None or isinstance(
        problem, exception.StoreUnreachable | exception.StoreUnusable
    ):
        return _FAILED
    return _REFUSED
