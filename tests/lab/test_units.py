# SPDX-License-Identifier: Apache-2.0
"""The units, as systemd runs them on an enforcing host.

Run by ``python3 -m tests.lab.run_tests --soak``, which builds what it needs.
The alarm's unit is in :mod:`tests.lab.test_alarm`.
"""

from __future__ import annotations

from tests.lab import configuration
from tests.lab import units


class UnitsTest(units.UnitsCase):
    def test_allocator_becomes_ready_and_is_stopped_in_time(self) -> None:
        self.host.write(
            '/etc/svirt-nova/svirt-nova-allocator.conf',
            configuration.ini(
                {
                    'DEFAULT': {
                        'transport_url': self.address(configuration.INSIDE),
                        'use_stderr': True,
                    },
                    'svirt_database': {
                        'connection': 'sqlite:////var/lib/svirt-nova/levels'
                    },
                    'svirt_nova_allocator': {'topic': 'unit', 'workers': 1},
                }
            ),
        )
        command = (
            'svirt-nova --config-file '
            '/etc/svirt-nova/svirt-nova-allocator.conf'
        )
        self.host.run(
            'chgrp svirt-nova /etc/svirt-nova/*; '
            'chmod 640 /etc/svirt-nova/*; '
            f'runuser -u svirt-nova -- {command} db sync',
            timeout=units.PATIENCE,
        )
        self.start(units.ALLOCATOR)
        self.addCleanup(self.host.run, f'systemctl stop {units.ALLOCATOR}')
        self.assertEqual('active', self.show(units.ALLOCATOR, 'ActiveState'))
        self.host.run(
            f'runuser -u svirt-nova -- {command} service check',
            timeout=units.PATIENCE,
        )
        self.stop_in_time(units.ALLOCATOR, 45)

    def test_check_and_timers_run(self) -> None:
        # Elsewhere it is the user nova's; here nova-compute is root. And the
        # lab forks privileged helpers from a process that has another /tmp.
        self.host.write(
            f'{units.UNITS}/svirt-nova-check.service.d/lab.conf',
            f'[Service]\nTimeoutStartSec={units.PATIENCE}\nUser=root\n'
            'PrivateTmp=no\nReadWritePaths=/tmp\n',
        )
        self.host.run('systemctl daemon-reload')
        self.start(units.CHECK)
        self.assertEqual('success', self.show(units.CHECK, 'Result'))
        for name in ('check', 'reap'):
            timer = f'svirt-nova-{name}.timer'
            self.host.run(f'systemctl start {timer}')
            self.addCleanup(self.host.run, f'systemctl stop {timer}')
            self.assertEqual('waiting', self.show(timer, 'SubState'))
