# SPDX-License-Identifier: Apache-2.0
"""Runs inside a host with its own Python: looks, and attacks.

Given to the interpreter on standard input, so it imports nothing of the
lab. Prints one JSON document; ``watch`` one a line.

    probe.py look                what each running domain and its files carry
    probe.py attack FILES        every domain's QEMU opens these files
    probe.py attack-as FILES     the same by processes in the QEMUs' contexts,
                                 which also connect to sockets
    probe.py watch STOP          looks on and on, until the file STOP is there
    probe.py shared-level LEVEL  two domains at one level, outside Nova: attack
    probe.py give UUID LEVEL     start a domain anew, at that level
    probe.py denials SECONDS     AVC denials since that time of the clock
    probe.py contexts PATH...    what files carry; null for one that is gone
"""

import errno
import glob
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
import uuid
from typing import Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu

#: What libvirt notes of running domains: their processes, their XML.
RUNNING = '/run/libvirt/qemu'


def context_of_file(path: str) -> str:
    """Give the context that the kernel shows for a file."""
    raw = os.getxattr(path, 'security.selinux')
    return raw.rstrip(b'\0').decode()


def pid_of(domain: Any) -> int:
    """Give the process of a running domain."""
    with open(f'{RUNNING}/{domain.name()}.pid') as file:
        return int(file.read())


def look_at(domain: Any) -> dict[str, Any]:
    """Describe a running domain: process, label in XML, files."""
    return describe(ElementTree.fromstring(domain.XMLDesc()), pid_of(domain))


def describe(root: ElementTree.Element, pid: int) -> dict[str, Any]:
    """Describe a domain by its XML and its process."""
    with open(f'/proc/{pid}/attr/current') as file:
        process = file.read().rstrip('\0\n')
    labels = [
        {
            'type': item.get('type'),
            'relabel': item.get('relabel'),
            'label': item.findtext('label'),
            'imagelabel': item.findtext('imagelabel'),
        }
        for item in root.findall('seclabel')
        if item.get('model') == 'selinux'
    ]
    files = []
    for disk in root.findall('devices/disk'):
        source = disk.find('source')
        path = source.get('file') if source is not None else None
        if path is None:  # an empty drive, or a block device
            continue
        files.append(
            {
                'path': path,
                'device': disk.get('device'),
                'context': context_of_file(path),
            }
        )
    return {
        'uuid': root.findtext('uuid'),
        'name': root.findtext('name'),
        'pid': pid,
        'process': process,
        'seclabels': labels,
        'files': files,
    }


def active(connection: Any) -> list[Any]:
    """Give all running domains, by their UUIDs."""
    return sorted(
        connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE),
        key=lambda each: str(each.UUIDString()),
    )


def look(connection: Any) -> list[dict[str, Any]]:
    """Describe all running domains."""
    return [look_at(domain) for domain in active(connection)]


def qmp(domain: Any, command: str, **arguments: Any) -> dict[str, Any]:
    """Send a QMP command; return its answer."""
    text = json.dumps({'execute': command, 'arguments': arguments})
    answer: dict[str, Any] = json.loads(
        libvirt_qemu.qemuMonitorCommand(domain, text, 0)
    )
    return answer


def open_file(domain: Any, path: str) -> str:
    """Let a domain's QEMU open a file: opened, denied, or another error.

    Read-only and without QEMU's own image lock, so that the kernel alone
    decides.
    """
    node = 'probe-' + uuid.uuid4().hex[:8]
    answer = qmp(
        domain,
        'blockdev-add',
        **{
            'driver': 'file',
            'node-name': node,
            'filename': path,
            'read-only': True,
            'auto-read-only': False,
            'locking': 'off',
        },
    )
    if 'error' not in answer:
        removed = qmp(domain, 'blockdev-del', **{'node-name': node})
        if 'error' in removed:
            return f'error: cannot close: {removed["error"]["desc"]}'
        return 'opened'
    text: str = answer['error']['desc']
    if text.endswith(': Permission denied'):
        return 'denied'
    return 'error: ' + text


def files_of(domains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the files of what ``look`` describes, for ``attack``."""
    return [
        {'owner': domain['uuid'], 'path': file['path']}
        for domain in domains
        for file in domain['files']
    ]


def attack(
    domains: list[Any], files: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Let each domain's QEMU open files.

    :param files: each with ``owner``, the UUID of its instance, and ``path``
    """
    return [
        {
            'attacker': domain.UUIDString(),
            **file,
            'inode': os.stat(file['path']).st_ino,
            'outcome': open_file(domain, file['path']),
        }
        for domain in domains
        for file in files
    ]


def reach(path: str, is_socket: bool, link: list[str]) -> None:
    """Open a file, connect to a socket, or leave a link in a directory."""
    if link:
        os.symlink(link[1], os.path.join(path, link[0]))
    elif is_socket:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
    else:
        os.open(path, os.O_RDONLY)


def open_as(pid: int, path: str, link: list[str]) -> str:
    """Let a process that becomes what a QEMU is open a file or a socket.

    :param link: the name of a symbolic link and where it leads, if one is to
        be made in the directory ``path`` instead

    It takes the user, the group and the context of the QEMU, and says by
    its exit status how it went: from there it may write to nobody. The
    kernel lets a process into that context only if it comes from a
    permissive one, as what systemd runs is in the lab.
    """
    with open(f'/proc/{pid}/attr/current') as file:
        context = file.read().rstrip('\0\n')
    owner = os.stat(f'/proc/{pid}')
    is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    child = os.fork()
    if not child:
        status = 255
        try:
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)
            current = os.open('/proc/self/attr/current', os.O_WRONLY)
            os.write(current, context.encode())
            try:
                reach(path, is_socket, link)
                status = 0
            except OSError as error:
                status = error.errno or status
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return 'opened'
    if status == errno.EACCES:
        return 'denied'
    return f'error: status {status}'


def attack_as(
    domains: list[Any], files: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Do what ``attack`` does by processes in the QEMUs' contexts.

    libvirt passes no monitor commands on while a domain migrates.
    """
    return [
        {
            'attacker': domain.UUIDString(),
            **file,
            'inode': os.stat(file['path']).st_ino,
            'outcome': open_as(
                pid_of(domain), file['path'], file.get('link', [])
            ),
        }
        for domain in domains
        for file in files
    ]


def watch(stop: str) -> None:
    """Print what runs twice a second, until a file appears.

    Reads what libvirt notes of its domains: libvirt itself says nothing of
    a domain while it works on it. One that comes or goes at that moment is
    left out of the line.
    """
    while not os.path.exists(stop):
        begin = time.time()
        seen = []
        for path in sorted(glob.glob(f'{RUNNING}/*.xml')):
            try:
                status = ElementTree.parse(path).getroot()
                domain = status.find('domain')
                pid = int(status.get('pid', ''))
                with open(f'/proc/{pid}/comm') as file:
                    runs = file.read().startswith('qemu-system')
                if domain is not None and runs:
                    seen.append(describe(domain, pid))
            except (OSError, ValueError, ElementTree.ParseError):
                continue
        json.dump({'time': begin, 'domains': seen}, sys.stdout)
        print(flush=True)
        time.sleep(max(0.0, begin + 0.5 - time.time()))


SHARED = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>32\
</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='{disk}'/><target dev='vda' bus='virtio'/></disk></devices>
<seclabel type='static' model='selinux' relabel='yes'><label>{label}</label>
</seclabel></domain>"""


def base_context(connection: Any) -> str:
    """Give libvirt's own context for domains of type qemu."""
    root = ElementTree.fromstring(connection.getCapabilities())
    for model in root.findall('host/secmodel'):
        if model.findtext('model') == 'selinux':
            for label in model.findall('baselabel'):
                if label.get('type') == 'qemu':
                    return str(label.text)
    raise SystemExit('libvirt has no SELinux security model')


def shared_level(connection: Any, level: str) -> dict[str, Any]:
    """Run two domains at one level and let each open the other's disk."""
    label = ':'.join([*base_context(connection).split(':')[:3], level])
    domains: list[Any] = []
    disks: list[str] = []
    try:
        for number in (1, 2):
            name = f'svirt-nova-contrast-{number}'
            disk = f'/var/lib/libvirt/images/{name}.raw'
            with open(disk, 'wb') as file:
                file.truncate(1 << 20)
            disks.append(disk)
            domain = connection.defineXML(
                SHARED.format(name=name, disk=disk, label=label)
            )
            domains.append(domain)
            domain.create()
        seen = [look_at(domain) for domain in domains]
        return {'domains': seen, 'attack': attack(domains, files_of(seen))}
    finally:
        for domain in domains:
            if domain.isActive():
                domain.destroy()
            domain.undefine()
        for disk in disks:
            os.unlink(disk)


def give(connection: Any, instance: str, level: str) -> dict[str, Any]:
    """Start a domain anew at a level, as if libvirt had drawn it."""
    domain = connection.lookupByUUIDString(instance)
    root = ElementTree.fromstring(
        domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    )
    for item in root.findall('seclabel'):
        root.remove(item)
    given = ElementTree.SubElement(
        root, 'seclabel', type='static', model='selinux', relabel='yes'
    )
    context = look_at(domain)['process'].split(':')[:3]
    ElementTree.SubElement(given, 'label').text = ':'.join([*context, level])
    domain.destroy()
    domain = connection.defineXML(ElementTree.tostring(root, 'unicode'))
    domain.create()
    return look_at(domain)


AVC = re.compile(
    r'audit\((?P<time>[\d.]+):\d+\).*?avc:\s+denied\s+\{ (?P<access>[^}]*) \}'
    r'.*?scontext=(?P<source>\S+) tcontext=(?P<target>\S+) '
    r'tclass=(?P<kind>\S+)(?: permissive=(?P<permissive>\d))?'
)


def denials(since: float) -> list[dict[str, Any]]:
    """List the AVC denials that the audit log has since a time."""
    found = []
    for path in sorted(glob.glob('/var/log/audit/audit.log*')):
        with open(path, errors='replace') as file:
            for line in file:
                match = AVC.search(line)
                if match and float(match['time']) >= since:
                    inode = re.search(r' ino=(\d+)', line)
                    found.append(
                        dict(
                            match.groupdict(),
                            access=match['access'].split(),
                            inode=int(inode[1]) if inode else None,
                        )
                    )
    return found


def main() -> None:
    """Do what the command line says."""
    command, *words = sys.argv[1:]
    if command == 'denials':
        # auditd writes in batches; ask it to have written.
        subprocess.run(['sync'], check=False)
        answer: Any = denials(float(words[0]))
    elif command == 'contexts':
        answer = {
            path: context_of_file(path) if os.path.exists(path) else None
            for path in words
        }
    elif command == 'watch':
        watch(*words)
        return
    else:
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        connection = libvirt.open('qemu:///system')
        if command == 'look':
            answer = look(connection)
        elif command == 'attack':
            answer = attack(active(connection), json.loads(words[0]))
        elif command == 'give':
            answer = give(connection, *words)
        elif command == 'attack-as':
            answer = attack_as(active(connection), json.loads(words[0]))
        elif command == 'shared-level':
            answer = shared_level(connection, words[0])
        else:
            raise SystemExit(f'unknown command {command}')
    json.dump(answer, sys.stdout)


if __name__ == '__main__':
    main()
