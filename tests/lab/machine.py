# SPDX-License-Identifier: Apache-2.0
"""A compute host: a virtual machine whose kernel enforces SELinux."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.lab import cache
from tests.lab import controlplane
from tests.lab import processes
from tests.lab.image import Image
from tests.lab.processes import Daemons
from tests.lab.progress import LabError

MEMORY_MIB = 4096
INSTANCES = '/var/lib/nova/instances'
#: What a host exports by NFS, for cinder to keep volumes in.
VOLUMES = '/srv/volumes'
_PROBE = cache.HERE / 'probe.py'
_SHAREABLE = cache.HERE / 'shareable.py'


class Host:
    """One host of the cloud.

    :ivar name: its host name, also Nova's name for it
    :ivar index: 1 for the first
    :ivar ssh_port: the port of 127.0.0.1 that leads to its sshd
    :ivar enforced_at: its clock when it began to enforce, in seconds
    """

    enforced_at: str

    def __init__(
        self, index: int, image: Image, run: Path, daemons: Daemons
    ) -> None:
        self.index = index
        self.name = f'svirt-host-{index}'
        [self.ssh_port] = processes.free_ports(1)
        self._image = image
        self._run = run
        self._daemons = daemons
        self._socket = run / f'{self.name}.ssh'
        self._log = daemons.logs / f'{self.name}-commands.log'

    # The machine

    def boot(self, accelerator: str) -> None:
        """Start the virtual machine on a fresh overlay of the image."""
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
                str(MEMORY_MIB),
                '-nodefaults',
                '-display',
                'none',
                '-serial',
                f'file:{console}',
                '-device',
                'virtio-rng-pci',
                '-drive',
                f'file={overlay},if=virtio,cache=unsafe,discard=unmap',
                '-nic',
                'user,model=virtio-net-pci,ipv6=off,hostfwd='
                f'tcp:127.0.0.1:{self.ssh_port}-:22',
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

    def probe(self, *words: str, timeout: float = 180) -> Any:
        """Run ``probe.py`` in the host and return its JSON answer."""
        answer = self.run(
            f'/usr/bin/python3 - {shlex.join(words)}',
            stdin=_PROBE.read_text(),
            timeout=timeout,
        )
        return json.loads(answer)

    def svirt_nova(self, *words: str, timeout: float = 300) -> Any:
        """Run the operator's command with -f json and parse the answer."""
        command = f'{cache.VENV}/bin/svirt-nova'
        answer = self.run(
            f'{command} --config-file /etc/nova/nova.conf '
            f'{shlex.join(words)} -f json',
            timeout=timeout,
        )
        return json.loads(answer)

    # What it runs

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

    def start_compute(
        self,
        plane: controlplane.ControlPlane,
        extra: dict[str, dict[str, object]],
    ) -> None:
        """Configure nova-compute and start it; ``extra`` is merged in."""
        sections = plane.compute_configuration(self.name)
        for group, options in extra.items():
            sections.setdefault(group, {}).update(options)
        self.write('/etc/nova/nova.conf', controlplane.ini(sections))
        self.run('systemctl start --no-block nova-compute.service')

    def serve_volumes(self, plane: controlplane.ControlPlane) -> None:
        """Export a directory to itself, and let cinder keep volumes there.

        NFS 4.2, which carries SELinux labels from client to server.
        """
        self.write(
            '/etc/cinder/cinder.conf',
            controlplane.ini(plane.volume_configuration()),
        )
        self.write('/etc/cinder/shareable.py', _SHAREABLE.read_text())
        unit = '/etc/systemd/system/cinder-volume.service.d'
        self.run(f'mkdir -p {unit}')
        self.write(
            f'{unit}/path.conf',
            '[Service]\nEnvironment=PYTHONPATH=/etc/cinder\n',
        )
        self.write('/etc/cinder/shares', f'127.0.0.1:{VOLUMES} -o vers=4.2\n')
        # By systemd, because the policy lets no shell start these.
        prepare = (
            'modprobe nfsd; mount -t nfsd nfsd /proc/fs/nfsd; '
            'for name in lease grace; do '
            'echo 10 > /proc/fs/nfsd/nfsv4${name}time; done; exportfs -ra'
        )
        self.run(
            f'systemd-run -q --wait sh -c {shlex.quote(prepare)}; '
            'systemd-run -q rpc.mountd -F -N 2 -N 3; '
            'systemd-run -q --wait rpc.nfsd -N 3 -V 4.2 4; '
            'systemctl daemon-reload; '
            'systemctl start --no-block cinder-volume.service'
        )

    def compute_failed(self) -> str:
        """Say why nova-compute ended; empty while it runs."""
        state = self.run('systemctl is-active nova-compute || true').strip()
        if state != 'failed':
            return ''
        return self.run(
            'tail -n 15 /var/log/nova/nova-compute.log; '
            'journalctl -u nova-compute -n 15 --no-pager'
        )

    def save_logs(self) -> None:
        """Copy logs that tell of a failure out of the host."""
        for name in (
            '/var/log/nova/nova-compute.log',
            '/var/log/cinder-volume.log',
            '/var/log/audit/audit.log',
        ):
            text = self.run(f'tail -c 3000000 {name} || true', timeout=60)
            (
                self._daemons.logs / f'{self.name}-{os.path.basename(name)}'
            ).write_text(text)
        text = self.run('journalctl -b --no-pager | tail -n 3000', timeout=120)
        (self._daemons.logs / f'{self.name}-journal.log').write_text(text)
