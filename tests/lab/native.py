# SPDX-License-Identifier: Apache-2.0
"""The machine itself as a compute host, without SELinux.

It runs in namespaces of its own: what the services write into the system's
directories, mount, and make of network devices is seen by nobody else, and
is gone with the last of their processes, however that ends.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import cache
from tests.lab import configuration
from tests.lab import host_configuration
from tests.lab import processes
from tests.lab import wheels
from tests.lab.cloud import Cloud
from tests.lab.controlplane import ControlPlane
from tests.lab.processes import Daemons

#: The shell reaps what others leave: libvirtd waits for the ends of guests.
_NAMESPACES = (
    'unshare',
    '--mount',
    '--net',
    '--uts',
    '--ipc',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    'bash',
    '-c',
    '"$@"; exit $?',
    'init',
)
#: The directories whose changes stay in the run's directory.
_COVERED = ('/etc', '/usr/sbin', '/var/lib', '/var/log')
#: Debian's bindings; wheels have none that fit the machine's libraries.
_BINDINGS = (
    'libvirt.py',
    'libvirt_qemu.py',
    'libvirtmod.*.so',
    'libvirtmod_qemu.*.so',
    'selinux',
    '_selinux.*.so',
)
_DIST_PACKAGES = Path('/usr/lib/python3/dist-packages')

#: The kernel may have no NFS. To its user a directory of the machine, bound
#: to another place, is the same.
_MOUNT_NFS = '#!/bin/sh\nexec mount --bind "${1#*:}" "$2"\n'
_LIBVIRTD = 'auth_unix_ro = "none"\nauth_unix_rw = "none"\n'
_QEMU = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
"""
_SHAREABLE = cache.HERE / 'shareable.py'


def isolated(command: Sequence[str]) -> list[str]:
    """Wrap a command so that it runs in namespaces of its own."""
    return [*_NAMESPACES, *command]


class NativeHost:
    """The machine, with the verbs of ``tests.lab.host.Host``.

    :ivar name: Nova's name for it
    """

    def __init__(self, run: Path, daemons: Daemons) -> None:
        self.name = 'native'
        self._run = run
        self._daemons = daemons
        self._log = daemons.logs / f'{self.name}-commands.log'

    def run(self, script: str, *, timeout: float = 120) -> str:
        """Run a shell script as root and return what it printed.

        :param timeout: seconds
        :raises LabError: when it fails
        """
        return processes.run(
            ['sh', '-ec', script], log=self._log, timeout=timeout
        )

    def write(self, path: str, text: str) -> None:
        """Write a file, readable by root alone."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_text(text)

    def svirt_nova(self, *words: str, timeout: float = 120) -> Any:
        """Run the operator's command with -f json and parse the answer."""
        answer = self.run(
            f'{cache.VENV}/bin/svirt-nova --config-file /etc/nova/nova.conf '
            f'{shlex.join(words)} -f json',
            timeout=timeout,
        )
        return json.loads(answer)

    def prepare(self) -> None:
        """Cover the system's directories, and start libvirt."""
        self.run(
            'ip link set lo up; hostname native; '
            # What is mounted shows another namespace's network devices.
            'umount -R /sys; mount -t sysfs sysfs /sys; '
            'mount -t tmpfs -o mode=755 tmpfs /run'
        )
        for place in (*_COVERED, str(cache.VENV)):
            self._cover(place)
        self.write('/usr/sbin/mount.nfs', _MOUNT_NFS)
        os.chmod('/usr/sbin/mount.nfs', 0o755)
        self.write('/etc/libvirt/libvirtd.conf', _LIBVIRTD)
        self.write('/etc/libvirt/qemu.conf', _QEMU)
        site = wheels.SITE
        for pattern in _BINDINGS:
            for binding in _DIST_PACKAGES.glob(pattern):
                (site / binding.name).symlink_to(binding)
        # libvirtd wants the user that Debian's QEMU guests have by default.
        self.run(
            'id libvirt-qemu || useradd --system --user-group --no-create-home'
            ' libvirt-qemu'
        )
        self._daemons.start('virtlogd', ['virtlogd'])
        self._daemons.start('libvirtd', ['libvirtd'])
        self._daemons.wait_for(
            'libvirtd', Path('/run/libvirt/libvirt-sock').exists, 60
        )

    def _cover(self, place: str) -> None:
        parts = [
            self._run / 'covers' / place.strip('/').replace('/', '-') / name
            for name in ('upper', 'work')
        ]
        for part in parts:
            part.mkdir(parents=True)
        upper, work = parts
        shutil.copystat(place, upper)
        self.run(
            f'mount -t overlay overlay -o lowerdir={place},'
            f'upperdir={upper},workdir={work} {place}'
        )

    def start_compute(
        self,
        plane: ControlPlane,
        extra: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Configure nova-compute and start it; ``extra`` is merged in."""
        sections = host_configuration.compute(
            plane.configuration,
            self.name,
            configuration.OUTSIDE,
            host_configuration.FROM_MACHINE,
        )
        for group, options in extra.items():
            sections.setdefault(group, {}).update(options)
        self.write('/etc/nova/nova.conf', configuration.ini(sections))
        Path('/var/lib/nova/instances').mkdir(parents=True, exist_ok=True)
        self._start_service('nova-compute', '/etc/nova/nova.conf')

    def stop_compute(self) -> None:
        """End nova-compute; its instances go on running."""
        self._daemons.stop('nova-compute')

    def start_volumes(self, plane: ControlPlane) -> None:
        """Let cinder keep volumes in a directory of the machine."""
        share = self._run / 'volumes'
        share.mkdir()
        self.write(
            '/etc/cinder/cinder.conf',
            configuration.ini(
                host_configuration.volumes(
                    plane.configuration,
                    configuration.OUTSIDE,
                    host_configuration.FROM_MACHINE,
                )
            ),
        )
        self.write('/etc/cinder/shareable.py', _SHAREABLE.read_text())
        self.write('/etc/cinder/shares', f'127.0.0.1:{share}\n')
        Path('/var/lib/cinder').mkdir()
        self._start_service(
            'cinder-volume', '/etc/cinder/cinder.conf', '/etc/cinder'
        )

    def _start_service(self, name: str, conf: str, path: str = '') -> None:
        self._daemons.start(
            name,
            [cache.VENV / 'bin' / name, '--config-file', conf],
            env=dict(
                os.environ,
                PATH=f'{cache.VENV}/bin:/usr/sbin:/usr/bin:/sbin:/bin',
                PYTHONPATH=path,
            ),
            cwd=self._run,
        )

    def compute_failed(self) -> str:
        """Say why nova-compute ended; its end is seen as any daemon's."""
        return ''

    def save_logs(self) -> None:
        """Copy logs of guests to the run's others."""
        guests = Path('/var/log/libvirt/qemu')
        if guests.is_dir():
            shutil.copytree(
                guests, self._daemons.logs / 'guests', dirs_exist_ok=True
            )


class NativeCloud(Cloud):
    """The control plane, and the machine as its one compute host.

    To be entered in namespaces of its own: see ``isolated``.
    """

    host_packages = 'libvirt-daemon qemu-system-x86'

    def _make_hosts(self, count: int) -> list[Any]:
        return [NativeHost(self._run, self._daemons)]

    def _svirt_options(self) -> dict[str, Mapping[str, object]]:
        return {**super()._svirt_options(), 'svirt': {'mode': 'permissive'}}

    def _start(self) -> None:
        [host] = self.hosts
        with self.progress.step(f'{host.name}: libvirt'):
            host.prepare()
        with self.progress.step('wheel of svirt-nova'):
            wheels.pack_project(self._run, self.logs / 'wheel.log')
        self.plane.start_backends()
        self.plane.start_services()
        with self.progress.step(f'{host.name}: nova-compute'):
            host.start_compute(self.plane, self._svirt_options())
            self._seed()
            self._wait_for_compute(host)
        with self.progress.step(f'{host.name}: cinder-volume'):
            host.start_volumes(self.plane)
            self._wait_for_volumes()
