# SPDX-License-Identifier: Apache-2.0
"""Runs inside a host with its own Python: looks, and attacks.

Given to the interpreter on standard input, so it imports nothing of the
lab. Prints one JSON document.

    probe.py look                what each running domain and its files carry
    probe.py attack              every domain's QEMU opens every domain's files
    probe.py shared-level LEVEL  two domains at one level, outside Nova: attack
    probe.py denials SECONDS     AVC denials since that time of the clock
    probe.py contexts PATH...    what files carry; null for one that is gone
"""

import glob
import json
import os
import re
import subprocess
import sys
import uuid
from typing import Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu

PIDS = '/run/libvirt/qemu'


def context_of_file(path: str) -> str:
    """Give the context that the kernel shows for a file."""
    raw = os.getxattr(path, 'security.selinux')
    return raw.rstrip(b'\0').decode()


def look_at(domain: Any) -> dict[str, Any]:
    """Describe a running domain: process, label in XML, files."""
    with open(f'{PIDS}/{domain.name()}.pid') as file:
        pid = int(file.read())
    with open(f'/proc/{pid}/attr/current') as file:
        process = file.read().rstrip('\0\n')
    root = ElementTree.fromstring(domain.XMLDesc())
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
        'uuid': domain.UUIDString(),
        'name': domain.name(),
        'pid': pid,
        'process': process,
        'seclabels': labels,
        'files': files,
    }


def look(connection: Any) -> list[dict[str, Any]]:
    """Describe all running domains."""
    return [
        look_at(domain)
        for domain in sorted(
            connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE),
            key=lambda each: each.UUIDString(),
        )
    ]


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


def attack(
    connection: Any, domains: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Let each domain's QEMU open each domain's files."""
    result = []
    for attacker in domains:
        handle = connection.lookupByUUIDString(attacker['uuid'])
        for owner in domains:
            for file in owner['files']:
                result.append(
                    {
                        'attacker': attacker['uuid'],
                        'owner': owner['uuid'],
                        'path': file['path'],
                        'inode': os.stat(file['path']).st_ino,
                        'outcome': open_file(handle, file['path']),
                    }
                )
    return result


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
        return {'domains': seen, 'attack': attack(connection, seen)}
    finally:
        for domain in domains:
            if domain.isActive():
                domain.destroy()
            domain.undefine()
        for disk in disks:
            os.unlink(disk)


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
    else:
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        connection = libvirt.open('qemu:///system')
        if command == 'look':
            answer = look(connection)
        elif command == 'attack':
            answer = attack(connection, look(connection))
        elif command == 'shared-level':
            answer = shared_level(connection, words[0])
        else:
            raise SystemExit(f'unknown command {command}')
    json.dump(answer, sys.stdout)


if __name__ == '__main__':
    main()
