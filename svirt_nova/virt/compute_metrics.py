# SPDX-License-Identifier: Apache-2.0
"""The metrics of nova-compute: what its periodic work has found.

What is found is noted where it is known, and shown until something else is
found. Nothing is looked for because of metrics.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Iterable
from collections.abc import Iterator
from typing import TYPE_CHECKING

from oslo_config import cfg

from svirt_nova.allocator.sql import try_counts
from svirt_nova.conf import scraping
from svirt_nova.lifecycle import drift
from svirt_nova.lifecycle import violations
from svirt_nova.metrics import definitions
from svirt_nova.metrics import recorder
from svirt_nova.metrics import tallies

if TYPE_CHECKING:
    from svirt_nova.metrics import exposition

PROGRAM = 'nova-compute'

_GAUGE = definitions.Kind.GAUGE
_MODES = ('enforcing', 'permissive', 'disabled')
_DONE = 'done'
_FAILED = 'failed'


def _label(kind: violations.Kind | None) -> str:
    """A kind of violation as the value of a label."""
    return definitions.OTHER if kind is None else kind.replace(' ', '_')


_KINDS = (*map(_label, drift.PROCESS_KINDS), _label(None))
_PLACES = tuple(
    each.value
    for each in drift.Place
    # How a guest runs is a violation; Nova's memory is not compared here.
    if each not in (drift.Place.PROCESS, drift.Place.NOVA)
)

MODE = definitions.Definition(
    'svirt_nova_mode',
    _GAUGE,
    'Whether [svirt] mode has this value: 1 if so, 0 if not.',
    {'mode': _MODES},
)
KEEPS_APART = definitions.Definition(
    'svirt_nova_kernel_keeps_guests_apart',
    _GAUGE,
    'Whether the kernel of this host, by its last answer, keeps guests apart: '
    '1 if so, 0 if SELinux is permissive or its policy lets guests at what is '
    'not theirs. It is asked at each reconciliation and before each start.',
)
TRAIT = definitions.Definition(
    'svirt_nova_trait_given',
    _GAUGE,
    'Whether this host has the trait CUSTOM_SVIRT_NOVA_ENFORCING, as Nova was '
    'last told: 1 if so, 0 if not.',
)
CONFINED = definitions.Definition(
    'svirt_nova_confined_guests',
    _GAUGE,
    'Guests of instances that the last reconciliation found running at the '
    'level of their instance.',
)
VIOLATIONS = definitions.Definition(
    'svirt_nova_violating_guests',
    _GAUGE,
    'Guests of instances that the last reconciliation found running otherwise '
    'than at the level of their instance, by what is wrong. "other" is an '
    'SELinux domain that is not that of guests, or a label without sense.',
    {'kind': _KINDS},
)
DRIFT = definitions.Definition(
    'svirt_nova_drifting_guests',
    _GAUGE,
    "Guests of which the last reconciliation found another level in libvirt's "
    'definition, on their files or in the store than their instance has, by '
    'the place.',
    {'place': _PLACES},
)
CLAIMS = definitions.Definition(
    'svirt_nova_host_claims',
    _GAUGE,
    'Instances that this host claimed when its claims were last compared.',
)
RECONCILIATIONS = definitions.Definition(
    'svirt_nova_reconciliations_total',
    definitions.Kind.COUNTER,
    'Comparisons of what this host claims with what it has. The outcome is '
    '"failed" where one was broken off: the log says why.',
    {'outcome': (_DONE, _FAILED)},
)
LAST_RECONCILIATION = definitions.Definition(
    'svirt_nova_last_reconciliation_timestamp_seconds',
    _GAUGE,
    'When the last comparison with this outcome ended, in seconds since 1970.',
    {'outcome': (_DONE, _FAILED)},
)
RECONCILIATION_TIME = definitions.Definition(
    'svirt_nova_last_reconciliation_duration_seconds',
    _GAUGE,
    'Time that the last comparison took, whatever its outcome.',
)
INTERVAL = definitions.Definition(
    'svirt_nova_reconcile_interval_seconds',
    _GAUGE,
    'Time between two comparisons, as [svirt] reconcile_interval has it. It '
    'is 0 if there are none after the first two.',
)
DEFINITIONS = (
    definitions.STORE_REACHABLE,
    definitions.STORE_TRUSTED,
    MODE,
    KEEPS_APART,
    TRAIT,
    CONFINED,
    VIOLATIONS,
    DRIFT,
    CLAIMS,
    RECONCILIATIONS,
    LAST_RECONCILIATION,
    RECONCILIATION_TIME,
    INTERVAL,
    # Of a host that uses the database itself.
    try_counts.TRIES,
)
"""All metrics of nova-compute."""


_shown: list[exposition.Exposition] = []
"""What this process shows: nothing, or one."""


def start(conf: cfg.ConfigOpts) -> exposition.Exposition | None:
    """Count, and show what is counted, if [svirt_metrics] says so.

    nova-compute starts its driver once more, in the same process, when it
    gets SIGHUP.

    :returns: what is shown; None if nothing is
    """
    while _shown:
        _shown.pop().close()
    if not scraping.is_wanted(conf):
        return None
    # Hosts without metrics do not wait for its import.
    import prometheus_client

    from svirt_nova.metrics import exposition

    values = tallies.Tallies(PROGRAM, DEFINITIONS)
    recorder.start(values)
    for mode in _MODES:
        recorder.set_value(MODE, mode == conf.svirt.mode, mode)
    recorder.set_value(INTERVAL, conf.svirt.reconcile_interval)
    registry = prometheus_client.CollectorRegistry()
    registry.register(values)
    _shown.append(exposition.expose(conf, registry, PROGRAM))
    return _shown[-1]


def store_answered(is_reachable: bool) -> None:
    """Note whether the allocator answered."""
    recorder.set_value(definitions.STORE_REACHABLE, is_reachable)


def store_trusted(is_trusted: bool) -> None:
    """Note whether the store is trusted."""
    recorder.set_value(definitions.STORE_TRUSTED, is_trusted)


def kernel_answered(*, keeps_apart: bool) -> None:
    """Note whether the kernel keeps guests apart."""
    recorder.set_value(KEEPS_APART, keeps_apart)


def trait_given(is_given: bool) -> None:
    """Note whether the scheduler takes this host for one that does."""
    recorder.set_value(TRAIT, is_given)


def claimed(number: int) -> None:
    """Note how many instances this host claims."""
    recorder.set_value(CLAIMS, number)


@contextlib.contextmanager
def reconciling() -> Iterator[None]:
    """Note when a reconciliation ends, how, and how long it took."""
    begun = time.monotonic()
    outcome = _FAILED
    try:
        yield
        outcome = _DONE
    finally:
        recorder.add(RECONCILIATIONS, outcome)
        recorder.set_value(LAST_RECONCILIATION, time.time(), outcome)
        recorder.set_value(RECONCILIATION_TIME, time.monotonic() - begun)


class GuestCounts:
    """Counts how the guests of this host run.

    :ivar confined: guests that run at the level of their instance
    """

    def __init__(self) -> None:
        self.confined = 0
        self._violating: collections.Counter[str] = collections.Counter()

    def violates(self, found: Iterable[drift.Finding]) -> None:
        """Count a guest that does not, once for each kind."""
        self._violating.update({_label(each.kind) for each in found})

    def show(self) -> None:
        """Show the counts in place of the former ones."""
        recorder.set_value(CONFINED, self.confined)
        for kind in _KINDS:
            recorder.set_value(VIOLATIONS, self._violating[kind], kind)


class DriftCounts:
    """Counts the guests of this host whose levels do not agree."""

    def __init__(self) -> None:
        self._drifting: collections.Counter[str] = collections.Counter()

    def drifts(self, found: Iterable[drift.Finding]) -> None:
        """Count such a guest, once for each place."""
        self._drifting.update({each.place.value for each in found})

    def show(self) -> None:
        """Show the counts in place of the former ones."""
        for place in _PLACES:
            recorder.set_value(DRIFT, self._drifting[place], place)
