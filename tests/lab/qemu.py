# SPDX-License-Identifier: Apache-2.0
"""QEMU as a host's hardware: its command line, and its monitor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import IO

from tests.lab.image import Image
from tests.lab.progress import LabError

#: MiB of memory of a host.
MEMORY = 3072
#: The names of its network cards: user-mode network, the machines' own.
CARDS = ('control', 'own')
#: Of the first host. A saved state has them, whichever host it becomes.
MAC = '52:54:00:77:{card:02x}:01'
HOSTNAME = 'svirt-host-1'

_PROGRAM = 'qemu-system-x86_64'
_KERNEL = (
    'console=ttyS0 root=/dev/vda rw security=selinux selinux=1 enforcing=0 '
    'audit=1 net.ifnames=0 mitigations=off '
    # If these are loaded, libvirt examines its QEMU once more, with KVM.
    'module_blacklist=kvm,kvm_amd,kvm_intel '
    f'systemd.hostname={HOSTNAME}'
)
# The kernel uses all features that it finds, and some of them cost an emulated
# processor more than they save. QEMU copies piece by piece for rep movsb
# (erms) and rep movsq (rep_good, below); a fifth level of page tables is one
# more to walk; smap and pku are switched at every system call.
_EMULATED = 'max,erms=off,la57=off,smap=off,smep=off,umip=off,pku=off'
# The kernel does not trust the time-stamp counter that QEMU emulates. Without
# it the time is read from a device, by a system call.
_KERNEL_EMULATED = ' clearcpuid=rep_good clocksource=tsc tsc=reliable'


@dataclass(frozen=True)
class Backends:
    """The parts of a machine that its guest cannot see: files and ports."""

    name: str
    overlay: Path
    console: Path
    monitor: Path
    ssh_port: int
    network: int


def platform() -> str:
    """Name the QEMU and the processor that a saved state belongs to.

    The processor matters because the guest's clock counts its ticks.
    """
    version = subprocess.run(
        [_PROGRAM, '--version'], capture_output=True, text=True, check=True
    ).stdout
    models = {
        line
        for line in Path('/proc/cpuinfo').read_text().splitlines()
        if line.startswith('model name')
    }
    return version + '\n'.join(sorted(models))


def hardware(accelerator: str) -> list[str]:
    """Give the part of the command line that a saved state depends on."""
    kvm = accelerator == 'kvm'
    devices = ['virtio-rng-pci', 'virtio-blk-pci,drive=disk']
    devices += [
        f'virtio-net-pci,netdev={name},mac={MAC.format(card=number)}'
        for number, name in enumerate(CARDS)
    ]
    return [
        '-machine',
        'pc',
        '-accel',
        accelerator,
        '-cpu',
        'host' if kvm else _EMULATED,
        '-smp',
        '2',
        '-m',
        str(MEMORY),
        '-nodefaults',
        '-display',
        'none',
        '-serial',
        'chardev:console',
        *(word for device in devices for word in ('-device', device)),
        '-append',
        _KERNEL if kvm else _KERNEL + _KERNEL_EMULATED,
    ]


def command(
    accelerator: str, image: Image, backends: Backends, state: str = ''
) -> list[str | os.PathLike[str]]:
    """Give the whole command line.

    :param state: the name of a snapshot in the overlay to start from
    """
    return [
        _PROGRAM,
        '-name',
        backends.name,
        '-chardev',
        f'file,id=console,append=on,path={backends.console}',
        '-qmp',
        f'unix:{backends.monitor},server=on,wait=off',
        '-drive',
        f'id=disk,file={backends.overlay},if=none,cache=unsafe,discard=unmap',
        '-netdev',
        f'user,id={CARDS[0]},ipv6=off,'
        f'hostfwd=tcp:127.0.0.1:{backends.ssh_port}-:22',
        '-netdev',
        f'socket,id={CARDS[1]},mcast=230.0.0.1:{backends.network},'
        'localaddr=127.0.0.1',
        *hardware(accelerator),
        '-kernel',
        image.kernel,
        '-initrd',
        image.initrd,
        *(['-loadvm', state] if state else []),
    ]


class Monitor:
    """The monitor of a running QEMU."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def execute(
        self,
        *commands: tuple[str, Mapping[str, object]],
        timeout: float = 30,
    ) -> list[object]:
        """Run commands of QMP and return their answers.

        :param commands: names with arguments
        :param timeout: seconds for each answer
        :raises LabError: one of them failed, or QEMU ended
        :raises OSError: there was no answer in time
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self._path))
            lines = connection.makefile('rw')
            _read(lines)
            answers = []
            for name, arguments in (('qmp_capabilities', {}), *commands):
                request = {'execute': name, 'arguments': arguments}
                print(json.dumps(request), file=lines, flush=True)
                answer = _read(lines)
                while 'event' in answer:
                    answer = _read(lines)
                if 'error' in answer:
                    raise LabError(f'QEMU: {name}: {answer["error"]}')
                answers.append(answer['return'])
            return answers[1:]

    def human(self, line: str, timeout: float = 30) -> None:
        """Run a command of the human monitor that prints nothing.

        :param timeout: seconds
        :raises LabError: it printed something, which is how it tells errors
        """
        [said] = self.execute(
            ('human-monitor-command', {'command-line': line}), timeout=timeout
        )
        if said:
            raise LabError(f'QEMU: {line}: {str(said).strip()}')


def _read(lines: IO[str]) -> dict[str, Any]:
    line = lines.readline()
    if not line:
        raise LabError('QEMU ended without an answer')
    answer: dict[str, Any] = json.loads(line)
    return answer
