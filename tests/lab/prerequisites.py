# SPDX-License-Identifier: Apache-2.0
"""What the machine must have before a lab can be built on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

from tests.lab import cache
from tests.lab import processes
from tests.lab.progress import LabError
from tests.lab.progress import Progress

#: Debian packages used on the machine itself, outside the hosts.
PACKAGES = (
    'debootstrap',
    'e2fsprogs',
    'mariadb-server',
    'nasm',
    'openssh-client',
    'python3-venv',
    'qemu-system-x86',
    'qemu-utils',
    'rabbitmq-server',
    'secilc',
)
DISK_GIB = 12
#: With one host, and with each more.
MEMORY_GIB = 7
MEMORY_GIB_MORE = 3

_POLICY = Path('/usr/sbin/policy-rc.d')
# Names the lab as author, so that a policy of the machine's own is never
# taken away, and a killed run's is.
_POLICY_TEXT = '#!/bin/sh\n# svirt-nova lab: start nothing\nexit 101\n'


def check(hosts: int) -> None:
    """Check user, system, disk and memory.

    :param hosts: how many will be booted
    :raises LabError: one line for all that is missing
    """
    missing = []
    if os.geteuid():
        missing.append(
            'root (it builds a file system with owners, and installs packages)'
        )
    try:
        release = Path('/etc/os-release').read_text()
    except OSError:
        release = ''
    if (
        'VERSION_CODENAME=bookworm' not in release
        or 'ID=debian' not in release.splitlines()
    ):
        missing.append('Debian 12')
    if os.uname().machine != 'x86_64':
        missing.append('an x86_64 processor')
    place = cache.root()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    if free < DISK_GIB:
        missing.append(
            f'{DISK_GIB} GiB of disk at {place} (there are {free:.1f})'
        )
    wanted = MEMORY_GIB + MEMORY_GIB_MORE * max(0, hosts - 1)
    for line in Path('/proc/meminfo').read_text().splitlines():
        if line.startswith('MemAvailable:'):
            available = int(line.split()[1]) / 2**20
            if available < wanted:
                missing.append(
                    f'{wanted} GiB of free memory (there are {available:.1f})'
                )
    if missing:
        raise LabError('the lab needs ' + '; '.join(missing))


def install(progress: Progress, log: Path, more: Sequence[str] = ()) -> None:
    """Install the Debian packages that the machine lacks.

    :param more: names beside those that every lab needs
    """
    lacking = [name for name in (*PACKAGES, *more) if not _installed(name)]
    if not lacking:
        return
    with progress.step(f'apt-get install {" ".join(lacking)}'), _no_services():
        env = dict(os.environ, DEBIAN_FRONTEND='noninteractive', LC_ALL='C')
        apt = ['apt-get', '-q', '-y', '-o', 'DPkg::Lock::Timeout=300']
        processes.run([*apt, 'update'], log=log, timeout=400, env=env)
        processes.run(
            [*apt, 'install', '--no-install-recommends', *lacking],
            log=log,
            timeout=900,
            env=env,
        )


def _installed(name: str) -> bool:
    answer = subprocess.run(
        ['dpkg-query', '-W', '-f', '${db:Status-Status}', name],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout == 'installed'


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting services while they are installed."""
    with contextlib.suppress(FileNotFoundError):
        if _POLICY.read_text() == _POLICY_TEXT:
            _POLICY.unlink()
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_POLICY_TEXT)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
