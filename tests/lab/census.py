# SPDX-License-Identifier: Apache-2.0
"""Runs inside a host with its own Python: tries all as each guest's QEMU.

    census.py FOLDER...

Root lists what is in the folders, the abstract sockets, and the processes of
guests. Then, for each running guest, one process takes the user, the groups
and the context of the guest's QEMU, and tries everything. It stays in the
host's own mount namespace, where there is more than QEMU sees. Nothing is
read, written or created: files are opened and closed, directories are asked
for. Prints one JSON document: objects, tries, guests.
"""

import contextlib
import errno
import glob
import json
import mmap
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from tests.lab import questions

#: What libvirt notes of running domains.
RUNNING = '/run/libvirt/qemu'
#: Where links may lead without a try: what is there is tried anyway, or the
#: same on every host.
ELSEWHERE = ('/proc/', '/sys/', '/usr/')
#: Of each process of a guest.
OF_PROCESS = {
    'auxv': ['read'],
    'cmdline': ['read'],
    'cwd': ['list'],
    'environ': ['read'],
    'fd': ['list'],
    'maps': ['read'],
    'mem': ['read', 'write'],
    'root': ['list'],
    'task': ['list'],
}
#: How each kind of object is tried.
TRIES = {
    'file': ['read', 'write'],
    'directory': ['list', 'add'],
    # To open these may have effects, so the kernel is only asked.
    'device': ['may-read', 'may-write'],
    'fifo': ['may-read', 'may-write'],
    'socket': ['connect', 'ask'],
    'process': ['exists', 'signal'],
}
#: The outcome of what was not tried; no error has this number.
NOT_TRIED = 255
#: Seconds for all tries of one guest.
PATIENCE = 240


def kind_of(mode: int) -> str:
    """Name the kind of a file; empty for links."""
    for name, found in (
        ('file', stat.S_ISREG),
        ('directory', stat.S_ISDIR),
        ('socket', stat.S_ISSOCK),
        ('fifo', stat.S_ISFIFO),
        ('device', stat.S_ISCHR),
        ('device', stat.S_ISBLK),
    ):
        if found(mode):
            return name
    return ''


class Inventory:
    """All that is tried."""

    def __init__(self) -> None:
        self.objects: list[dict[str, Any]] = []
        self._known: set[tuple[int, int]] = set()
        self._targets: set[str] = set()

    def add(
        self, path: str, seen: os.stat_result, parent: int | None
    ) -> int | None:
        """Take a file in; give its number, if it is a new one."""
        kind = kind_of(seen.st_mode)
        identity = (seen.st_dev, seen.st_ino)
        if not kind or identity in self._known:
            return None
        self._known.add(identity)
        try:
            context = os.getxattr(path, 'security.selinux').decode()
        except OSError:
            context = ''
        self.objects.append(
            {
                'path': path,
                'kind': kind,
                'mode': stat.S_IMODE(seen.st_mode),
                'uid': seen.st_uid,
                'gid': seen.st_gid,
                'inode': seen.st_ino,
                'context': context.rstrip('\0'),
                'parent': parent,
            }
        )
        return len(self.objects) - 1

    def walk(self, folder: str, parent: int | None = None) -> None:
        """Take in a folder and all that is below it."""
        # What goes away meanwhile is left out.
        with contextlib.suppress(FileNotFoundError):
            number = self.add(folder, os.lstat(folder), parent)
            if number is None:
                return
            for entry in sorted(os.listdir(folder)):
                path = os.path.join(folder, entry)
                with contextlib.suppress(FileNotFoundError):
                    self._take(path, os.lstat(path), number)

    def _take(self, path: str, seen: os.stat_result, parent: int) -> None:
        if stat.S_ISDIR(seen.st_mode):
            self.walk(path, parent)
        elif stat.S_ISLNK(seen.st_mode):
            self._targets.add(os.path.realpath(path))
        else:
            self.add(path, seen, parent)

    def add_targets(self) -> None:
        """Take in what links lead to and no walk has met."""
        for target in sorted(self._targets):
            if not target.startswith(ELSEWHERE):
                with contextlib.suppress(FileNotFoundError):
                    self.add(target, os.lstat(target), None)

    def add_abstract_sockets(self) -> None:
        """Take in the sockets that have a name and no file."""
        with open('/proc/net/unix') as file:
            names = {line.split()[-1] for line in list(file)[1:]}
        for name in sorted(names):
            if name.startswith('@'):
                self.objects.append({'path': name, 'kind': 'socket'})

    def add_terminals(self, running: list[dict[str, Any]]) -> None:
        """Say whose the pseudo-terminals are, as libvirt has noted it."""
        owners = {
            path: each['uuid'] for each in running for path in each['ptys']
        }
        for each in self.objects:
            if each['path'] in owners:
                each['of'] = owners[each['path']]

    def add_process(self, pid: int, owner: str) -> None:
        """Take in a process of a guest.

        :param owner: the UUID of its instance
        """
        common = {'of': owner, 'pid': pid}
        self.objects.append(
            {'path': f'/proc/{pid}', 'kind': 'process', **common}
        )
        for name, ways in OF_PROCESS.items():
            self.objects.append(
                {
                    'path': f'/proc/{pid}/{name}',
                    'kind': 'of-process',
                    'ways': ways,
                    **common,
                }
            )

    def tries(self) -> list[tuple[int, str]]:
        """Give what is tried: numbers of objects, and how."""
        return [
            (number, way)
            for number, each in enumerate(self.objects)
            for way in each.get('ways') or TRIES[each['kind']]
        ]


def context_of_process(pid: int) -> str:
    """Give the context of a process."""
    with open(f'/proc/{pid}/attr/current') as file:
        return file.read().rstrip('\0\n')


def sources(disk: ElementTree.Element) -> Iterator[str]:
    """Give the files of a disk, from the top of its chain to the end."""
    link: ElementTree.Element | None = disk
    while link is not None:
        source = link.find('source')
        path = source.get('file') if source is not None else None
        if path is not None:
            yield path
        link = link.find('backingStore')


def files_of(domain: ElementTree.Element) -> list[dict[str, Any]]:
    """Give the files that a domain must have, and which of them to write."""
    found = []
    for disk in domain.findall('devices/disk'):
        is_fixed = (
            disk.find('readonly') is not None or disk.get('device') == 'cdrom'
        )
        for depth, path in enumerate(sources(disk)):
            found.append(
                {'path': path, 'writable': not depth and not is_fixed}
            )
    nvram = domain.find('os/nvram')
    if nvram is not None:
        for path in [*sources(nvram), (nvram.text or '').strip()]:
            if path:
                found.append({'path': path, 'writable': True})
    return found


def ptys_of(domain: ElementTree.Element) -> list[str]:
    """Give the pseudo-terminals of a domain."""
    found = {
        source.get('path', '')
        for device in domain.findall('devices/*')
        for source in device.findall('source')
        if device.get('type') == 'pty'
    }
    return sorted(found)


def ids_of(pid: int) -> dict[str, Any]:
    """Give the user, the group and the other groups of a process."""
    found: dict[str, list[int]] = {}
    with open(f'/proc/{pid}/status') as file:
        for line in file:
            name, _, values = line.partition(':')
            if name in ('Uid', 'Gid', 'Groups'):
                found[name] = [int(each) for each in values.split()]
    return {
        'uid': found['Uid'][1],
        'gid': found['Gid'][1],
        'groups': sorted({found['Gid'][1], *found['Groups']}),
    }


def guests() -> list[dict[str, Any]]:
    """Describe the guests that run, as libvirt has noted them."""
    found = []
    for path in sorted(glob.glob(f'{RUNNING}/*.xml')):
        status = ElementTree.parse(path).getroot()
        domain = status.find('domain')
        if domain is None:
            continue
        pid = int(status.get('pid', ''))
        found.append(
            {
                'uuid': domain.findtext('uuid'),
                'name': domain.findtext('name'),
                'pid': pid,
                'process': context_of_process(pid),
                **ids_of(pid),
                'files': files_of(domain),
                'ptys': ptys_of(domain),
            }
        )
    return found


def processes_of(running: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """Give all processes at the level of a guest, with its UUID."""
    levels = {
        each['process'].split(':', 3)[3]: each['uuid'] for each in running
    }
    for name in sorted(filter(str.isdigit, os.listdir('/proc')), key=int):
        try:
            level = context_of_process(int(name)).split(':', 3)[3]
        except (OSError, IndexError):
            continue
        if level in levels:
            yield int(name), levels[level]


# How things are tried


def opened(path: str, flags: int) -> None:
    """Open a file and close it; no flag creates or truncates."""
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))


def allowed(path: str, mode: int) -> None:
    """Ask the kernel whether it would let us; the same hooks decide."""
    if not os.access(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


WAYS: dict[str, Callable[[str], None]] = {
    'read': lambda path: opened(path, os.O_RDONLY),
    'write': lambda path: opened(path, os.O_WRONLY),
    'list': lambda path: opened(path, os.O_RDONLY | os.O_DIRECTORY),
    'add': lambda path: allowed(path, os.W_OK | os.X_OK),
    'may-read': lambda path: allowed(path, os.R_OK),
    'may-write': lambda path: allowed(path, os.W_OK),
    'connect': questions.connect,
    'ask': questions.ask,
    'exists': lambda path: os.kill(int(path.rpartition('/')[2]), 0),
    # Does nothing to a process that was not stopped.
    'signal': lambda path: os.kill(
        int(path.rpartition('/')[2]), signal.SIGCONT
    ),
}


def outcome(path: str, way: str) -> int:
    """Try one thing: 0, or the number of the error."""
    try:
        WAYS[way](path)
    except OSError as error:
        return (
            errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
        ) or NOT_TRIED
    return 0


def become(guest: dict[str, Any]) -> None:
    """Take the user, the groups and the context of a guest's QEMU.

    The kernel lets a process into that context only if it comes from a
    permissive one, as what systemd runs is in the lab.
    """
    os.setgroups(guest['groups'])
    os.setgid(guest['gid'])
    os.setuid(guest['uid'])
    current = os.open('/proc/self/attr/current', os.O_WRONLY)
    os.write(current, guest['process'].encode())
    os.close(current)


def try_all_as(
    guest: dict[str, Any], tries: list[tuple[str, str]]
) -> list[int]:
    """Try everything as a guest's QEMU would.

    From its context the child may write to nobody, so it leaves what comes
    of it in memory that it shares with its parent.
    """
    results = mmap.mmap(-1, max(1, len(tries)))
    results.write(bytes([NOT_TRIED]) * len(tries))
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE)
            become(guest)
            for number, (path, way) in enumerate(tries):
                results[number] = outcome(path, way)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return list(results[: len(tries)])


def main() -> None:
    """Do what the command line says."""
    inventory = Inventory()
    running = guests()
    for folder in sys.argv[1:]:
        inventory.walk(folder)
    inventory.add_targets()
    inventory.add_abstract_sockets()
    inventory.add_terminals(running)
    for pid, owner in processes_of(running):
        inventory.add_process(pid, owner)
    tries = inventory.tries()
    named = [(inventory.objects[n]['path'], way) for n, way in tries]
    since = time.time()
    for guest in running:
        begin = time.monotonic()
        guest['outcomes'] = try_all_as(guest, named)
        guest['seconds'] = round(time.monotonic() - begin, 1)
    answer = {
        'since': since,
        'objects': inventory.objects,
        'tries': tries,
        'guests': running,
        # Who may ask gets an answer, or the question is wrong.
        'root_asked': outcome('/run/libvirt/libvirt-sock', 'ask'),
    }
    json.dump(answer, sys.stdout)


if __name__ == '__main__':
    main()
