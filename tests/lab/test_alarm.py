# SPDX-License-Identifier: Apache-2.0
"""The alarm, as systemd runs it on an enforcing host, under real attacks.

Run by ``python3 -m tests.lab.run_tests``, which builds what it needs.
"""

from __future__ import annotations

import json
import os
import queue
import re
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg

from tests.lab import acts
from tests.lab import configuration
from tests.lab import isolation
from tests.lab import units

ATTACKS = int(os.environ.get('SVIRT_NOVA_LAB_ATTACKS', '2'))
"""How often each guest attacks the other."""

_MORE_ATTACKS = 6
_FILES = ('nova.conf', 'svirt-nova-alarm.conf')
_QUIET_TIME = 1.0
_IN_TIME = 2.0
"""Seconds within which an attack must be told, under emulation too."""

_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


class _Notified:
    """Notifications of the priority ERROR."""

    def __init__(self) -> None:
        self.found: queue.Queue[dict[str, Any]] = queue.Queue()

    def error(
        self,
        _request: Any,
        publisher: str,
        event: str,
        payload: Any,
        _metadata: Any,
    ) -> None:
        self.found.put({**payload, 'event_type': event, 'by': publisher})


class AlarmTest(units.UnitsCase):
    def told(self, since: str) -> list[dict[str, str]]:
        """The alarms in the journal, with the time at which each came."""
        output = self.host.run(
            f'journalctl -u {units.ALARM} --since @{since} -o json --no-pager'
        )
        found = []
        for entry in map(json.loads, output.splitlines()):
            _, is_alarm, text = str(entry['MESSAGE']).partition(
                'what is not its own: '
            )
            if is_alarm:
                pairs = dict(_PAIR.findall(text))
                stamp = int(entry['__REALTIME_TIMESTAMP']) / 1e6
                found.append({**pairs, 'told_at': str(stamp)})
        return found

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not done() and time.monotonic() < deadline:
            time.sleep(1)

    def start_alarm(self) -> None:
        self.host.write(
            '/etc/nova/svirt-nova-alarm.conf',
            configuration.ini(
                {
                    'DEFAULT': {'use_stderr': True},
                    'svirt_alarm': {'quiet_time': _QUIET_TIME},
                    'oslo_messaging_notifications': {'driver': 'messagingv2'},
                    'svirt_metrics': {'listen': '127.0.0.1:9178'},
                }
            ),
        )
        files = ' '.join(f'--config-file /etc/nova/{n}' for n in _FILES)
        self.host.write(
            f'{units.UNITS}/{units.ALARM}.d/lab.conf',
            f'[Service]\nTimeoutStartSec={units.PATIENCE}\nExecStart=\n'
            f'ExecStart=svirt-nova-alarm {files}\n',
        )
        # Here nova-compute is root; elsewhere these are the user nova's.
        self.host.run(
            'chown nova /var/lib/nova /var/lib/nova/svirt-nova*; '
            'chown nova /etc/nova/*.conf; systemctl daemon-reload'
        )
        self.start(units.ALARM)

    def listen(self) -> _Notified:
        notified = _Notified()
        transport = oslo_messaging.get_notification_transport(
            cfg.ConfigOpts(), self.address(configuration.OUTSIDE)
        )
        listener = oslo_messaging.get_notification_listener(
            transport,
            [oslo_messaging.Target(topic='notifications')],
            [notified],
            executor='threading',
        )
        listener.start()
        self.addCleanup(transport.cleanup)
        self.addCleanup(listener.wait)
        self.addCleanup(listener.stop)
        return notified

    def attack(self) -> None:
        assault = acts.attack(self.cloud, self.servers)
        self.assertEqual([], assault.faults)
        # The next attack is told at once, and not counted with this one.
        time.sleep(2 * _QUIET_TIME)

    def check_told(self, since: str) -> None:
        denials = [
            each
            for each in self.host.probe('denials', since)
            if isolation.type_of(each['source']) == 'svirt_t'
            and isolation.type_of(each['target']).startswith('svirt_')
        ]
        # Each guest wants two files of the other.
        self.assertGreaterEqual(len(denials), 4 * ATTACKS)

        def count() -> int:
            return sum(int(each['count']) for each in self.told(since))

        self.wait(lambda: count() >= len(denials))
        self.assertEqual(len(denials), count())
        told = self.told(since)
        named = [each for each in told if 'source_instance' in each]
        self.assertNotEqual([], named)
        instances = {each.id for each in self.servers}
        for each in named:
            self.assertEqual('same-project', each['verdict'], each)
            self.assertEqual(
                instances,
                {each['source_instance'], each['target_instance']},
                each,
            )
        first = [
            each for each in told if 'further' not in each.get('note', '')
        ]
        # Each of the two guests is told of in each of its attacks.
        self.assertGreaterEqual(len(first), 2 * ATTACKS)
        late = [
            float(each['told_at'])
            - float(each['event'].strip('"').partition(':')[0])
            for each in first
        ]
        self.cloud.progress.say(
            f'{len(denials)} denials: {len(told)} alarms, {len(first)} of '
            f'them at once, {min(late):.2f} to {max(late):.2f} s after the '
            f'kernel refused; {len(named)} with names'
        )
        self.assertLess(max(late), _IN_TIME)

    def check_notified(self, notified: _Notified) -> None:
        instances = {each.id for each in self.servers}
        while True:
            note = notified.found.get(timeout=60)
            self.assertEqual(
                (
                    'svirt_nova.confinement.denied',
                    f'svirt_nova.{self.host.name}',
                ),
                (note['event_type'], note['by']),
            )
            found = {note['subject']['instance'], note['object']['instance']}
            if found == instances:
                return
            self.assertEqual({None}, found)

    def test_1_alarm_tells_each_attack_at_once(self) -> None:
        self.start_alarm()
        self.addCleanup(self.host.run, f'systemctl stop {units.ALARM}')
        notified = self.listen()
        since = self.host.run('date +%s').strip()
        for _ in range(ATTACKS):
            self.attack()
        # An emulated processor may ask the allocator for longer than an
        # alarm waits; the alarm then names nobody.
        for _ in range(_MORE_ATTACKS):
            if any('source_instance' in each for each in self.told(since)):
                break
            self.attack()
        self.check_told(since)
        self.check_notified(notified)
        metrics = self.host.run(
            "/usr/bin/python3 -c 'import urllib.request as r; "
            'print(r.urlopen("http://127.0.0.1:9178/metrics").read().decode())'
            "'"
        )
        self.assertIn(
            'svirt_nova_alarms_total{verdict="same-project"}', metrics
        )
        self.stop_in_time(units.ALARM, 15)
