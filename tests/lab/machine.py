# SPDX-License-Identifier: Apache-2.0
"""A virtual machine whose kernel enforces SELinux, and commands in it."""

from __future__ import annotations

import secrets
import shlex
import socket
import subprocess
import time
from pathlib import Path

from tests.lab import cache
from tests.lab import processes
from tests.lab import qemu
from tests.lab.image import Image
from tests.lab.processes import Daemons
from tests.lab.progress import LabError

#: The network that only the machines of a lab have.
NETWORK = '10.77.0.0/24'

_SNAPSHOT = 'prepared'
#: Two machines that were loaded from one state would draw the same random
#: numbers (random(4): RNDADDENTROPY, RNDRESEEDCRNG).
_RESEED = """\
import fcntl, sys
seed = bytes.fromhex(sys.argv[1])
sizes = b''.join(n.to_bytes(4, 'little') for n in (8 * len(seed), len(seed)))
with open('/dev/urandom', 'wb') as file:
    fcntl.ioctl(file, 0x40085203, sizes + seed)
    fcntl.ioctl(file, 0x5207)
"""


class Machine:
    """One virtual machine of the lab.

    :ivar name: its host name, also Nova's name for it
    :ivar index: 1 for the first
    :ivar address: its own in ``NETWORK``
    :ivar ssh_port: the port of 127.0.0.1 that leads to its sshd
    :ivar enforced_at: its clock when it was first seen to enforce the
        policy, in seconds
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
        self._overlay = run / f'{self.name}.qcow2'
        self._own_daemons = (self.name, f'{self.name}-ssh')
        self._log = daemons.logs / f'{self.name}-commands.log'

    # The machine

    def boot(self, accelerator: str, network: int) -> None:
        """Start it on a fresh overlay of the image.

        :param accelerator: of QEMU
        :param network: the port of the machines' own network
        """
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
                self._overlay,
            ],
            log=self._log,
            timeout=60,
        )
        self._start(accelerator, network)

    def load(self, saved: Path, accelerator: str, network: int) -> None:
        """Start it in the state in which a machine was saved.

        :param saved: what ``save`` made, with the same accelerator
        """
        processes.run(
            ['cp', '--reflink=auto', '--sparse=always', saved, self._overlay],
            log=self._log,
            timeout=300,
        )
        self._start(accelerator, network, _SNAPSHOT)

    def rely_on(self) -> None:
        """From here on, let its end be an error in every wait of the lab.

        Until then its end is an error only in a wait for the machine itself.
        """
        for name in self._own_daemons:
            self._daemons.rely_on(name)

    @property
    def given_up(self) -> bool:
        """Whether the whole lab is about to end."""
        return self._daemons.abandoned

    def _start(
        self, accelerator: str, network: int, snapshot: str = ''
    ) -> None:
        backends = qemu.Backends(
            self.name,
            self._overlay,
            self._daemons.logs / f'{self.name}-console.log',
            self._run / f'{self.name}.qmp',
            self.ssh_port,
            network,
        )
        self._monitor = qemu.Monitor(backends.monitor)
        self._daemons.start(
            self.name,
            qemu.command(accelerator, self._image, backends, snapshot),
            on_trial=True,
        )

    def save(self, path: Path) -> None:
        """End it, and leave its disk and its memory in a file.

        :raises LabError: QEMU could not save it
        :raises OSError: QEMU did not answer, or the file cannot be made
        """
        self._disconnect()
        self._monitor.execute(('stop', {}))
        self._monitor.human(f'savevm {_SNAPSHOT}', timeout=300)
        self.end()
        self._overlay.rename(path)

    def end(self) -> None:
        """End it, as if its power was cut."""
        self._disconnect()
        self._daemons.stop(self.name)

    def set_links(self, *, up: bool) -> None:
        """Pull the cables of both its networks, or put them back."""
        self._monitor.execute(
            *(('set_link', {'name': name, 'up': up}) for name in qemu.CARDS)
        )

    def settle(self) -> None:
        """Turn a machine that was loaded into this one.

        Its clock is set, its kernel gets new random numbers, and it has the
        host name and the hardware address that belong to its index.
        """
        seed = secrets.token_hex(64)
        mac = qemu.MAC.format(card=1)[:-2] + f'{self.index:02x}'
        self.run(
            f'date -s @{time.time():.2f} >/dev/null; '
            f'hostname {self.name}; echo {self.name} >/etc/hostname; '
            f'/usr/bin/python3 -I -S -c {shlex.quote(_RESEED)} {seed}; '
            f'ip link set eth1 address {mac}'
        )

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
            self.name,
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
            on_trial=True,
        )
        self._daemons.wait_for(
            f'ssh to {self.name}',
            self._socket.exists,
            120,
            *self._own_daemons,
        )

    def _disconnect(self) -> None:
        self._daemons.stop(f'{self.name}-ssh')
        self._socket.unlink(missing_ok=True)

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
        self.run('setenforce 1')
        self.see_enforcing()

    def see_enforcing(self) -> None:
        """See that the kernel enforces the policy.

        :raises LabError: it does not
        """
        *answer, self.enforced_at = self.run(
            'getenforce; cat /sys/fs/selinux/enforce; echo; date +%s.%N'
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
