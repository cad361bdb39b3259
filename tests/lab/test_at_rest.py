# SPDX-License-Identifier: Apache-2.0
"""What a stopped guest leaves, and what is libvirt's, refused to a QEMU.

Before each attempt the owners and modes are taken out of the way, so that
SELinux alone decides; and each attempt is repeated with the label that
Debian's policy has for the file, with which it succeeds. The tests share two
instances, and go by their names' order.
"""

from __future__ import annotations

import json
import time
from typing import Any

from tests.lab import isolation
from tests.lab import survey
from tests.lab.case import LabTestCase

TYPE = 'svirt_nova_state_t'
STATE = '/var/lib/libvirt'
RUNNING = f'{STATE}/qemu'
SOCKET = '/run/libvirt/libvirt-sock-ro'
#: As the guide has it.
RELABEL = (
    f'cd {STATE}; find swtpm qemu/checkpoint qemu/dump qemu/nvram qemu/save '
    "qemu/snapshot -context '*:s0' -exec restorecon -F {} +"
)
FIRMWARE = '/usr/share/OVMF/OVMF'
NVRAM = f'{RUNNING}/nvram/uefi_VARS.fd'
#: Nova 34 starts no instance with UEFI on libvirt 8.6 to 9.1, which refuse
#: its XML: "loader attribute 'secure' cannot be specified when firmware
#: autoselection is enabled".
UEFI = f"""\
<domain type='qemu'>
  <name>uefi</name>
  <memory unit='MiB'>64</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>{FIRMWARE}_CODE_4M.fd</loader>
    <nvram template='{FIRMWARE}_VARS_4M.fd'>{NVRAM}</nvram>
  </os>
  <features><acpi/></features>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
</domain>
"""


class AtRestTest(LabTestCase):
    #: The one that rests, and the one whose QEMU attacks.
    sleeper: Any
    thief: Any
    #: What libvirt calls the first, and its categories.
    name: str
    own: frozenset[int]

    @classmethod
    def prepare(cls) -> None:
        with cls.cloud.progress.step('two instances'):
            servers = cls.cloud.boot(['sleeper', 'thief'])
            cls.addClassCleanup(cls.cloud.delete, servers)
            cls.sleeper, cls.thief = servers
        [domain] = [
            each
            for each in cls.host.probe('look')
            if each['uuid'] == cls.sleeper.id
        ]
        cls.name = domain['name']
        cls.own = isolation.categories(isolation.level_of(domain['process']))

    def attempt(self, path: str) -> str:
        """How the other instance's QEMU fares, as a process in its context.

        With its user, but without the permissions of files: they are open.
        """
        [outcome] = self.attempts({'path': path})
        return outcome

    def attempts(self, *things: dict[str, Any]) -> list[str]:
        """How it fares with several things (see ``probe.py attack-as``)."""
        rows = self.host.probe(
            'attack-as',
            json.dumps(
                [{'owner': self.sleeper.id, **each} for each in things]
            ),
            unit=True,
        )
        return [
            str(row['outcome'])
            for row in rows
            if row['attacker'] == self.thief.id
        ]

    def start(self) -> None:
        self.cloud.api.compute.start_server(self.sleeper)
        self.cloud.wait_active(self.sleeper)

    def stop(self) -> None:
        self.cloud.api.compute.stop_server(self.sleeper)
        self.cloud.wait_status(self.sleeper, 'SHUTOFF')

    def thief_name(self) -> str:
        [domain] = [
            each
            for each in self.host.probe('look')
            if each['uuid'] == self.thief.id
        ]
        return str(domain['name'])

    def context(self, path: str) -> str:
        [found] = self.host.probe('contexts', path).values()
        self.assertIsNotNone(found, f'{path} is not there')
        return str(found)

    def check_refused(self, path: str) -> None:
        """SELinux refuses it, enforced, and the audit log says so."""
        self.host.run(f'chmod 666 {path}')
        inode = int(self.host.run(f'stat -c %i {path}'))
        begin = self.host.run('date +%s.%N').strip()
        self.assertEqual('denied', self.attempt(path))
        deadline = time.monotonic() + 30
        while True:
            # auditd may write a moment later than the kernel refused.
            told = {
                row['permissive']
                for row in self.host.probe('denials', begin)
                if row['inode'] == inode
                and isolation.type_of(row['source']) == 'svirt_t'
            }
            if told or time.monotonic() > deadline:
                break
            time.sleep(2)
        self.assertEqual({'0'}, told)

    def check_opened_as(self, path: str, kind: str) -> None:
        """With another type the same attempt succeeds."""
        self.host.run(f'chcon -t {kind} -l s0 {path}')
        self.assertEqual('opened', self.attempt(path))

    def test_1_libvirts_read_only_socket_does_not_answer_a_qemu(self) -> None:
        self.assertEqual(
            '660 libvirt', self.host.run(f"stat -c '%a %G' {SOCKET}").strip()
        )
        self.assertEqual('denied', self.attempt(SOCKET))
        self.addCleanup(self.host.run, f'chmod 660 {SOCKET}')
        self.host.run(f'chmod 666 {SOCKET}')
        self.assertEqual('opened', self.attempt(SOCKET))

    def test_2_nova_compute_and_commands_work_without_that_socket(
        self,
    ) -> None:
        # It asks libvirt through that socket, as root. Both levels are known
        # already, so that it has nothing to tell.
        self.assertEqual([], self.host.svirt_nova('adopt'))
        held = {
            row['Instance']
            for row in self.cloud.svirt_nova('label', 'list')
            if row['State'] == 'held'
        }
        self.assertLessEqual({self.sleeper.id, self.thief.id}, held)
        # Nor does nova-compute warn of what the policy module closes.
        self.assertNotIn(
            'of a stopped guest', '\n'.join(self.host.compute_log())
        )
        self.cloud.api.compute.reboot_server(self.thief, 'HARD')
        self.cloud.wait_active(self.thief)

    def test_3_saved_memory_is_closed(self) -> None:
        compute = self.cloud.api.compute
        compute.suspend_server(self.sleeper)
        self.cloud.wait_status(self.sleeper, 'SUSPENDED')
        path = f'{STATE}/qemu/save/{self.name}.save'
        level = isolation.level_of(self.context(path))
        self.assertEqual(self.own, isolation.categories(level))
        self.check_refused(path)
        # What libvirt puts on it when it could not be restored.
        given = self.context(path)
        self.host.run(f'restorecon -F {path}')
        self.assertEqual(TYPE, isolation.type_of(self.context(path)))
        self.check_refused(path)
        self.check_opened_as(path, 'svirt_runtime_t')
        self.host.run(f'chcon {given} {path}')
        compute.resume_server(self.sleeper)
        self.cloud.wait_active(self.sleeper)

    def test_4_nvram_is_closed(self) -> None:
        self.host.run(
            f'cat >/tmp/uefi.xml <<"END"\n{UEFI}END\n'
            'virsh -q create --paused /tmp/uefi.xml'
        )
        try:
            level = isolation.level_of(self.context(NVRAM))
            self.assertEqual(2, len(isolation.categories(level)))
            self.assertEqual('denied', self.attempt(NVRAM))
        finally:
            self.host.run('virsh -q destroy uefi')
        self.addCleanup(self.host.run, f'rm {NVRAM}')
        self.assertEqual(f'system_u:object_r:{TYPE}:s0', self.context(NVRAM))
        self.check_refused(NVRAM)
        self.check_opened_as(NVRAM, 'svirt_runtime_t')
        self.host.run(f'restorecon -F {NVRAM}')
        self.assertEqual(TYPE, isolation.type_of(self.context(NVRAM)))

    def test_4_directories_that_are_qemus_own_are_closed(self) -> None:
        """Their modes let QEMU in: with another type it may."""
        for name in ('nvram', 'save', 'snapshot', ''):
            path = f'{RUNNING}/{name}'.rstrip('/')
            self.assertEqual(
                f'system_u:object_r:{TYPE}:s0', self.context(path)
            )
            self.assertEqual('denied', self.attempt(path))
        self.addCleanup(self.host.run, f'restorecon -F {RUNNING}')
        self.check_opened_as(RUNNING, 'svirt_runtime_t')

    def test_4_no_link_leads_libvirt_elsewhere(self) -> None:
        """libvirtd, as root, takes a link for the directory that it makes."""
        victim = '/srv/another-tenant'
        self.host.run(f'mkdir {victim}; echo data >{victim}/disk')
        self.addCleanup(self.host.run, f'rm -rf {victim}')
        self.stop()
        number = int(self.host.run(f'virsh -q domid {self.thief_name()}'))
        # Others may have started since the thief has: all that may come.
        links = [
            {'path': RUNNING, 'link': [f'domain-{each}-{self.name}', victim]}
            for each in range(number + 1, number + 9)
        ]
        self.assertEqual({'denied'}, set(self.attempts(*links)))
        self.addCleanup(
            self.host.run,
            f'restorecon -F {RUNNING}; '
            f'find {RUNNING} -maxdepth 1 -type l -delete',
        )
        self.host.run(f'chcon -t svirt_runtime_t {RUNNING}')
        self.assertEqual({'opened'}, set(self.attempts(*links)))
        # Where it is so, nova-compute starts no guest.
        status, rows = self.host.check()
        self.assertEqual(4, status)
        self.assertIn("use libvirt's directory of guests", json.dumps(rows))
        # libvirt by itself does. The guest ends at once, because it may not
        # read a link of another one.
        self.host.run(f'virsh -q start {self.name} || true')
        owner = self.host.run(f'stat -c %U {victim}').strip()
        left = self.host.run(f'ls {victim}').split()
        self.assertEqual(('libvirt-qemu', []), (owner, left))

    def test_5_a_stopped_instance_opens_to_nobody(self) -> None:
        found = survey.take(self.cloud, [self.sleeper, self.thief])
        self.cloud.progress.say(f'census: {found}')
        self.assertEqual([], found.faults)

    def test_5_the_console_log_is_closed(self) -> None:
        path = f'/var/lib/nova/instances/{self.sleeper.id}/console.log'
        self.check_refused(path)
        given = self.context(path)
        self.check_opened_as(path, 'virt_content_t')
        self.host.run(f'chcon {given} {path}')

    def test_6_the_state_of_a_virtual_tpm_is_closed(self) -> None:
        """A file stands in for it: Nova's need a key manager."""
        directory = f'{STATE}/swtpm/{self.sleeper.id}/tpm2'
        path = f'{directory}/tpm2-00.permall'
        self.host.run(
            f'mkdir -p {directory}; echo state >{path}; '
            f'chmod -R a+rX {STATE}/swtpm; {RELABEL}'
        )
        self.addCleanup(self.host.run, f'rm -r {STATE}/swtpm')
        self.assertEqual(f'system_u:object_r:{TYPE}:s0', self.context(path))
        self.check_refused(path)
        self.check_opened_as(path, 'virt_var_lib_t')

    def test_7_the_instance_starts_with_what_it_left(self) -> None:
        self.start()
        [domain] = [
            each
            for each in self.host.probe('look')
            if each['uuid'] == self.sleeper.id
        ]
        level = isolation.level_of(domain['process'])
        self.assertEqual(self.own, isolation.categories(level))
