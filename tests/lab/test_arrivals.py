# SPDX-License-Identifier: Apache-2.0
"""A guest that would arrive unconfined by live migration does not run there.

It comes from a host on which svirt-nova is off, or its destination stops
enforcing while it is on its way. Each test ends with both hosts enforcing.
"""

from __future__ import annotations

import time
from typing import Any

from openstack import exceptions

from tests.lab import acts
from tests.lab import cloud as clouds
from tests.lab import moves
from tests.lab.case import LabTestCase
from tests.lab.host import Host
from tests.lab.progress import LabError
from tests.lab.progress import Progress

#: Seconds in which a host has checked the process that waits for a guest.
CHECKED = 10


class ArrivalsTest(LabTestCase):
    cat: Any

    @classmethod
    def make_cloud(cls) -> clouds.Cloud:
        return clouds.Cloud(Progress(), hosts=2, volumes=True)

    @classmethod
    def prepare(cls) -> None:
        with cls.cloud.progress.step('an instance'):
            # Its guest keeps a migration going that is to last.
            [cls.cat] = cls.cloud.boot(
                ['cat'], image='writer', host=cls.cloud.hosts[0]
            )
        cls.addClassCleanup(cls.cloud.delete, [cls.cat])

    def setUp(self) -> None:
        #: The hosts on which svirt-nova is off.
        self.off: list[Host] = []
        self.compute = self.cloud.api.compute

    def tell(self, what: str, text: str) -> None:
        """Show people what an operator sees."""
        self.cloud.progress.say(f'{what}: {text}')

    def runs_on(self, server: Any) -> list[str]:
        """Name the hosts on which an instance's guest runs."""
        return [
            host.name
            for host in self.cloud.hosts
            if server.id in host.run('virsh -q list --uuid')
        ]

    def reboot(self) -> None:
        """Start cat's guest anew, with what its host gives it."""
        self.compute.reboot_server(self.cat, 'HARD')
        for _ in self.cloud.poll('the end of the reboot of cat'):
            # An instance in ERROR is that until its guest runs.
            found = self.compute.get_server(self.cat.id)
            if not found.task_state:
                break
        self.assertEqual('ACTIVE', found.status)

    def migrate(self, server: Any, destination: Host) -> tuple[Any, str]:
        """Try to migrate an instance live.

        :returns: Nova's record of it when the try is over, and what became
            of the migration
        """
        try:
            self.compute.live_migrate_server(
                server, host=destination.name, block_migration='auto'
            )
        except exceptions.BadRequestException as error:
            # Nova has asked the destination before it answers.
            return self.compute.get_server(server.id), str(error)
        for _ in self.cloud.poll(f'the end of the migration of {server.name}'):
            server = self.compute.get_server(server.id)
            if not server.task_state:
                break
        latest = max(
            (
                each
                for each in self.compute.migrations()
                if each.server_id == server.id
            ),
            key=lambda each: int(each.id),
        )
        return server, str(latest.status)

    def check_stayed(self, server: Any, source: Host) -> None:
        """An instance did not move, and goes on."""
        self.assertEqual(
            ('ACTIVE', source.name), (server.status, server.compute_host)
        )
        self.assertEqual([source.name], self.runs_on(server))

    def log_of(self, host: Host, begin: int, text: str) -> str:
        """Wait for lines with a text in nova-compute's log; tell them."""
        for _ in self.cloud.poll(f'"{text}" in the log of {host.name}'):
            lines = [line for line in host.compute_log(begin) if text in line]
            if lines:
                break
        for line in lines:
            self.tell(f'log of {host.name}', line)
        return '\n'.join(lines)

    def check_levels(self) -> None:
        self.assertEqual([], acts.show_levels(self.cloud, [self.cat]).faults)

    def switch_on(self) -> None:
        """Switch svirt-nova on again where it is off."""
        while self.off:
            self.cloud.restart_compute(self.off[-1])
            self.off.pop()

    def recover(self) -> None:
        """Bring svirt-nova back, and cat behind its level."""
        if self.off:
            self.switch_on()
            self.reboot()

    def test_1_a_guest_from_a_host_without_svirt_nova_does_not_arrive(
        self,
    ) -> None:
        source = moves.home_of(self.cloud, self.cat)
        destination = moves.other(self.cloud, source)
        self.addCleanup(self.recover)
        self.off.append(source)
        self.cloud.restart_compute(source, {'mode': 'disabled'})

        # It has never had a level.
        [stray] = self.cloud.boot(['stray'], host=source)
        begin = destination.compute_log_length()
        try:
            found, status = self.migrate(stray, destination)
            self.tell('migration without a level', f'{status}, {found.status}')
            self.check_stayed(found, source)
            told = self.log_of(destination, begin, 'svirt-nova adopt')
            self.assertIn(stray.id, told)
        finally:
            self.cloud.delete([stray])

        # It has a level, and runs without it.
        self.reboot()
        [label] = [
            label['type']
            for domain in source.probe('look')
            if domain['uuid'] == self.cat.id
            for label in domain['seclabels']
        ]
        self.assertEqual('dynamic', label)
        begin = destination.compute_log_length()
        # As slow as that of a guest of a usual size: this one could run at
        # the destination before that has looked at its process.
        source.run(f'virsh -q migrate-setspeed {self.cat.id} 1')
        found, status = self.migrate(self.cat, destination)
        self.tell('migration without its level', f'{status}, {found.status}')
        self.assertNotIn(destination.name, self.runs_on(self.cat))
        told = self.log_of(destination, begin, 'does not migrate to here')
        self.assertIn('libvirt runs the domain as', told)
        self.check_stayed(found, source)

        # Its host is told of it when svirt-nova is on again.
        begin = source.compute_log_length()
        self.switch_on()
        told = self.log_of(source, begin, 'is NOT isolated')
        self.assertIn(self.cat.id, told)
        self.reboot()
        self.check_levels()

    def test_2_a_guest_does_not_run_where_the_kernel_is_permissive_by_then(
        self,
    ) -> None:
        source = moves.home_of(self.cloud, self.cat)
        destination = moves.other(self.cloud, source)
        begin = destination.compute_log_length()
        self.addCleanup(destination.enforce)

        def relent() -> None:
            time.sleep(CHECKED)
            destination.run('setenforce 0')

        with self.assertRaises(LabError) as caught:
            moves.migrate(self.cloud, [self.cat], relent)
        self.tell('fault', str(caught.exception))
        self.assertNotIn(destination.name, self.runs_on(self.cat))
        told = self.log_of(destination, begin, ' CRITICAL ')
        self.assertIn('the kernel of this host does not enforce SELinux', told)
        found = self.compute.get_server(self.cat.id)
        self.tell('instance', f'{found.status} on {found.compute_host}')

        destination.enforce()
        self.reboot()
        self.check_levels()
