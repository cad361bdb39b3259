# SPDX-License-Identifier: Apache-2.0
"""What the alarm counts, for Prometheus."""

from __future__ import annotations

import prometheus_client

from svirt_nova.alarm import attempts
from svirt_nova.denials import verdicts
from svirt_nova.metrics import definitions


def _counter(
    name: str, text: str, **labels: tuple[str, ...]
) -> definitions.Definition:
    return definitions.Definition(
        f'svirt_nova_{name}_total', definitions.Kind.COUNTER, text, labels
    )


_LINES = _counter('alarm_lines', 'Lines of the audit log that were read.')
_DENIALS = _counter(
    'denials',
    'Denials that the audit log of this host had, by what they mean; see '
    '"svirt-nova avc".',
    verdict=tuple(verdicts.Verdict),
)
_ALARMS = _counter(
    'alarms',
    'Alarms: denials that were told. Many of one guest are one alarm.',
    verdict=attempts.ALARMING,
)
_UNNAMED = _counter('alarms_unnamed', 'Alarms that name no instance.')
_NOTIFICATIONS = _counter(
    'alarm_notifications', 'Notifications that were sent.'
)
_DROPPED = _counter(
    'alarm_notifications_dropped',
    'Notifications that were not sent: too many waited for the bus.',
)
_LOST = _counter(
    'alarm_lost_records', 'Audit records that the kernel says it has lost.'
)
_SUSPENSIONS = _counter(
    'alarm_suspensions',
    'Guests that were to be suspended, by what came of it.',
    outcome=('suspended', 'refused', 'failed', 'timeout'),
)

DEFINITIONS = (
    _LINES,
    _DENIALS,
    _ALARMS,
    _UNNAMED,
    _NOTIFICATIONS,
    _DROPPED,
    _LOST,
    _SUSPENSIONS,
)
"""All metrics of the alarm."""


class Counters:
    """The counters of the alarm.

    :param registry: where they are registered
    """

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        def counter(
            defined: definitions.Definition,
        ) -> prometheus_client.Counter:
            made = prometheus_client.Counter(
                defined.name,
                defined.help,
                defined.label_names,
                registry=registry,
            )
            # A rate is known only of what was there before its first event.
            if defined.labels:
                for values in defined.series():
                    made.labels(*values)
            return made

        self.lines = counter(_LINES)
        self.denials = counter(_DENIALS)
        self.alarms = counter(_ALARMS)
        self.unnamed = counter(_UNNAMED)
        self.notifications = counter(_NOTIFICATIONS)
        self.dropped_notifications = counter(_DROPPED)
        self.lost_records = counter(_LOST)
        self.suspensions = counter(_SUSPENSIONS)
