# SPDX-License-Identifier: Apache-2.0
"""What the alarm counts, for Prometheus."""

from __future__ import annotations

import prometheus_client

from svirt_nova.alarm import attempts
from svirt_nova.denials import verdicts


class Counters:
    """The counters of the alarm.

    :param registry: where they are registered
    """

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        def counter(
            name: str, text: str, *labels: str
        ) -> prometheus_client.Counter:
            return prometheus_client.Counter(
                f'svirt_nova_{name}', text, labels, registry=registry
            )

        self.lines = counter('alarm_lines', 'Lines that were read.')
        self.denials = counter(
            'denials',
            'Denials, by what they mean: those of an instance at what is '
            "another one's, of its own project or not, its own or the "
            "host's, and of others.",
            'verdict',
        )
        self.alarms = counter('alarms', 'Alarms, by verdict.', 'verdict')
        self.unnamed = counter(
            'alarms_unnamed', 'Alarms that name no instance.'
        )
        self.notifications = counter(
            'alarm_notifications', 'Notifications that were sent.'
        )
        self.dropped_notifications = counter(
            'alarm_notifications_dropped',
            'Notifications that were not sent: too many waited for the bus.',
        )
        self.lost_records = counter(
            'alarm_lost_records',
            'Audit records that the kernel says it has lost.',
        )
        self.suspensions = counter(
            'alarm_suspensions',
            'Guests that were to be suspended, by what came of it.',
            'outcome',
        )
        # A rate is known only of what was there before its first event.
        for verdict in verdicts.Verdict:
            self.denials.labels(verdict.value)
        for verdict in attempts.ALARMING:
            self.alarms.labels(verdict.value)
