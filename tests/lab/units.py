# SPDX-License-Identifier: Apache-2.0
"""Runs the units of ``etc/systemd`` on a host of the lab."""

from __future__ import annotations

import shlex
import time
from typing import Any

from tests.lab import cache
from tests.lab.case import LabTestCase

ALARM = 'svirt-nova-alarm.service'
ALLOCATOR = 'svirt-nova-allocator.service'
CHECK = 'svirt-nova-check.service'

UNITS = '/etc/systemd/system'
PATIENCE = 600
"""Seconds in which an emulated processor imports a service."""

_ROOT = cache.HERE.parents[1]


class UnitsCase(LabTestCase):
    """Has the units on the first host, and two instances."""

    servers: list[Any]

    @classmethod
    def prepare(cls) -> None:
        with cls.cloud.progress.step('two instances'):
            cls.servers = cls.cloud.boot(['delta', 'epsilon'])
            cls.addClassCleanup(cls.cloud.delete, cls.servers)
        host = cls.host
        host.run('mkdir -p /etc/sysusers.d /etc/tmpfiles.d')
        # A package of Nova makes the user.
        host.write('/etc/sysusers.d/nova.conf', 'u nova - nova\n')
        for name in ('etc/sysusers.d', 'etc/tmpfiles.d'):
            source = _ROOT / name / 'svirt-nova.conf'
            host.write(f'/{name}/svirt-nova.conf', source.read_text())
        for source in sorted((_ROOT / 'etc/systemd').iterdir()):
            host.write(f'{UNITS}/{source.name}', source.read_text())
        for name in (ALARM, ALLOCATOR, CHECK):
            # Only the time is the lab's own.
            host.run(f'mkdir -p {UNITS}/{name}.d')
            host.write(
                f'{UNITS}/{name}.d/lab.conf',
                f'[Service]\nTimeoutStartSec={PATIENCE}\n',
            )
        host.run(
            f'chmod 644 {UNITS}/svirt-nova-*; '
            f'ln -sf {cache.VENV}/bin/svirt-nova* /usr/local/bin/; '
            'systemd-sysusers; systemd-tmpfiles --create svirt-nova.conf; '
            'systemctl daemon-reload'
        )

    def address(self, address: str) -> Any:
        sections = self.cloud.plane.configuration.nova_sections(
            address, 'internal'
        )
        return sections['DEFAULT']['transport_url']

    def show(self, unit: str, name: str) -> str:
        return self.host.run(
            f'systemctl show -P {name} {shlex.quote(unit)}'
        ).strip()

    def start(self, unit: str) -> None:
        begin = time.monotonic()
        try:
            self.host.run(f'systemctl start {unit}', timeout=PATIENCE + 60)
        except Exception:
            print(self.host.run(f'journalctl -u {unit} -n 50 --no-pager'))
            raise
        self.cloud.progress.say(
            f'{unit}: ready after {time.monotonic() - begin:.0f} s, '
            f'{self.show(unit, "StatusText")}'
        )

    def stop_in_time(self, unit: str, seconds: float) -> None:
        begin = time.monotonic()
        self.host.run(f'systemctl stop {unit}', timeout=180)
        took = time.monotonic() - begin
        self.cloud.progress.say(f'{unit}: stopped in {took:.1f} s')
        self.assertEqual('success', self.show(unit, 'Result'))
        self.assertLess(took, seconds)
