# SPDX-License-Identifier: Apache-2.0
"""A virtual machine whose kernel enforces SELinux, and commands in it."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from pathlib import Path

from tests.lab import cache
from tests.lab import processes
from tests.lab.image import Image
from tests.lab.processes import Daemons
from tests.lab.progress import LabError

#: The network that only the machines of a lab have.
NETWORK = '10.77.0.0/24'


class Machine:
    """One virtual machine of the lab.

    :ivar name: its host name, also Nova's name for it
    :ivar index: 1 for the first
    :ivar address: its own in ``NETWORK``
    :ivar ssh_port: the port of 127.0.0.1 that leads to its sshd
    :ivar enforced_at: its clock when it began to enforce, in seconds
    """

    enforced_at: str

    def __init__(
        self, index: int, image: Image, run: Path, daemons: Daemons
    ) -> None:
        self.index = index
        self.name = f'svirt-host-{index}'
        self.address = address_of(index)
        [self.ssh_port] = processes.free_ports(1)
        self._image = image
        self._run = run
        self._daemons = daemons
        self._socket = run / f'{self.name}.ssh'
        self._monitor = run / f'{self.name}.qmp'
        self._log = daemons.logs / f'{self.name}-commands.log'

    # The machine

    def boot(self, accelerator: str, network: int, memory: int) -> None:
        """Start it on a fresh overlay of the image.

        :param accelerator: of QEMU
        :param network: the port of the machines' own network
        :param memory: MiB
        """
        overlay = self._run / f'{self.name}.qcow2'
        processes.run(
            [
                'qemu-img',
                'create',
                '-q',
                '-f',
                'qcow2',
                '-F',
                'raw',
                '-b',
                self._image.disk,
                overlay,
            ],
            log=self._log,
            timeout=60,
        )
        console = self._daemons.logs / f'{self.name}-console.log'
        card = f'virtio-net-pci,mac=52:54:00:77:%02x:{self.index:02x}'
        self._daemons.start(
            self.name,
            [
                'qemu-system-x86_64',
                '-name',
                self.name,
                '-accel',
                accelerator,
                '-cpu',
                'host' if accelerator == 'kvm' else 'max',
                '-smp',
                '2',
                '-m',
                str(memory),
                '-nodefaults',
                '-display',
                'none',
                '-serial',
                f'file:{console}',
                '-qmp',
                f'unix:{self._monitor},server=on,wait=off',
                '-device',
                'virtio-rng-pci',
                '-drive',
                f'file={overlay},if=virtio,cache=unsafe,discard=unmap',
                '-netdev',
                'user,id=control,ipv6=off,hostfwd='
                f'tcp:127.0.0.1:{self.ssh_port}-:22',
                '-device',
                f'{card % 0},netdev=control',
                '-netdev',
                f'socket,id=own,mcast=230.0.0.1:{network},localaddr=127.0.0.1',
                '-device',
                f'{card % 1},netdev=own',
                '-kernel',
                self._image.kernel,
                '-initrd',
                self._image.initrd,
                '-append',
                'console=ttyS0 root=/dev/vda rw security=selinux '
                'selinux=1 enforcing=0 audit=1 net.ifnames=0 mitigations=off '
                f'systemd.hostname={self.name}',
            ],
        )

    def set_links(self, *, up: bool) -> None:
        """Pull the cables of both its networks, or put them back."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self._monitor))
            lines = connection.makefile('rw')
            lines.readline()
            for command, arguments in (
                ('qmp_capabilities', {}),
                ('set_link', {'name': 'control', 'up': up}),
                ('set_link', {'name': 'own', 'up': up}),
            ):
                json.dump({'execute': command, 'arguments': arguments}, lines)
                lines.flush()
                answer = json.loads(lines.readline())
                while 'event' in answer:
                    answer = json.loads(lines.readline())
                if 'error' in answer:
                    raise LabError(f'{self.name}: {command}: {answer}')

    def join(self, count: int) -> None:
        """Take its address in the machines' own network.

        :param count: how many machines there are
        """
        names = ''.join(
            f'{address_of(index)} svirt-host-{index}\n'
            for index in range(1, count + 1)
        )
        self.run(
            f'ip address add {self.address}/24 dev eth1; ip link set eth1 up; '
            'cat >> /etc/hosts',
            stdin=names,
        )

    def wait_until_up(self, timeout: float = 300) -> None:
        """Wait for its sshd, and open the connection that all commands use.

        :param timeout: seconds
        """
        self._daemons.wait_for(
            f'{self.name} (its console is in {self._daemons.logs})',
            self._greets,
            timeout,
        )
        self._daemons.start(
            f'{self.name}-ssh',
            [
                'ssh',
                '-N',
                '-M',
                *self._ssh_options(),
                '-i',
                self._image.ssh_key,
                '-p',
                str(self.ssh_port),
                '-o',
                'ServerAliveInterval=30',
                '-o',
                'ServerAliveCountMax=20',
                'root@127.0.0.1',
            ],
        )
        self._daemons.wait_for(f'ssh to {self.name}', self._socket.exists, 120)

    def ssh_command(self) -> str:
        """Give the command with which people get a shell in the host."""
        return shlex.join(
            [
                'ssh',
                '-i',
                str(self._image.ssh_key),
                '-p',
                str(self.ssh_port),
                '-o',
                'StrictHostKeyChecking=no',
                '-o',
                'UserKnownHostsFile=/dev/null',
                'root@127.0.0.1',
            ]
        )

    def _ssh_options(self) -> list[str]:
        return [
            '-F',
            '/dev/null',
            '-S',
            str(self._socket),
            '-o',
            'BatchMode=yes',
            '-o',
            'StrictHostKeyChecking=no',
            '-o',
            'UserKnownHostsFile=/dev/null',
            '-o',
            'LogLevel=ERROR',
            '-o',
            'ConnectTimeout=60',
        ]

    def _greets(self) -> bool:
        # slirp accepts before the guest listens: only a greeting counts.
        try:
            with socket.create_connection(
                ('127.0.0.1', self.ssh_port), 5
            ) as connection:
                connection.settimeout(5)
                return connection.recv(4) == b'SSH-'
        except OSError:
            return False

    # Commands in it

    def run(
        self, script: str, *, timeout: float = 120, stdin: str | None = None
    ) -> str:
        """Run a shell script as root and return what it printed.

        :param timeout: seconds
        :raises LabError: when it fails
        """
        return processes.run(
            [
                'ssh',
                *self._ssh_options(),
                'root@127.0.0.1',
                f'set -e; {script}',
            ],
            log=self._log,
            timeout=timeout,
            stdin=stdin,
        )

    def write(self, path: str, text: str) -> None:
        """Write a file, readable by root alone."""
        self.run(f'umask 077; cat > {shlex.quote(path)}', stdin=text)

    def enforce(self) -> None:
        """Make the kernel enforce the policy, and see that it does."""
        *answer, self.enforced_at = self.run(
            'setenforce 1; getenforce; cat /sys/fs/selinux/enforce; echo; '
            'date +%s.%N'
        ).split()
        if answer != ['Enforcing', '1']:
            raise LabError(
                f'{self.name} does not enforce SELinux: {" ".join(answer)}'
            )

    def install(self, archive: Path) -> None:
        """Unpack the project's own files over the image's environment."""
        with archive.open('rb') as data:
            done = subprocess.run(
                [
                    'ssh',
                    *self._ssh_options(),
                    'root@127.0.0.1',
                    'tar -x --no-same-owner -C / -f - && restorecon -R '
                    f'{cache.VENV}/bin',
                ],
                stdin=data,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
        if done.returncode:
            raise LabError(
                f'{self.name}: cannot unpack {archive.name}: '
                f'{done.stderr.strip()}'
            )


def address_of(index: int) -> str:
    """Give the address of a machine in ``NETWORK``."""
    return f'10.77.0.{index}'
