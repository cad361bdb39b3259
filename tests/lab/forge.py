# SPDX-License-Identifier: Apache-2.0
"""Runs inside a host with its own Python: forges the headers of disks.

    forge.py write JSON          as the QEMUs of guests, into their own disks
    forge.py restore             put all headers back, as root
    forge.py look PATH...        what files are and carry; null for none
    forge.py sample STOP PATH    the same of one file, until STOP is there
    forge.py listen PORT FILE    note each connection with a byte in FILE

JSON is a list of objects with ``uuid``, the instance, ``path``, and what the
header is to name: ``backing``, ``backing_format``, ``data_file``. The process
that writes has the user, the groups and the context of the instance's QEMU.
Prints one JSON document, but for ``listen``.
"""

import hashlib
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.lab import census

#: Where root keeps what it has to put back.
KEPT = '/run/svirt-nova-forge/kept'
#: The default cluster of qcow2, the first of which has nothing but the header.
CLUSTER = 1 << 16
#: How much of a file is compared.
COMPARED = 1 << 20
WRITTEN = 'written'
#: Seconds between two samples.
INTERVAL = 0.05

# docs/interop/qcow2.txt of QEMU.
_MAGIC = b'QFI\xfb'
_FIXED = struct.Struct('>4sIQIIQIIQQIIQQQQII')
_BACKING_AT = 8
_BACKING = struct.Struct('>QI')
_FEATURES_AT = 72
_FEATURES = struct.Struct('>Q')
_DATA_FILE = 1 << 2
_LENGTH_AT = 100
_LENGTH = struct.Struct('>I')
_EXTENSION = struct.Struct('>II')
_BACKING_FORMAT = 0xE2792ACA
_DATA_FILE_NAME = 0x44415441


def blank() -> bytes:
    """Give the header of a disk of 1 MiB that names no other file."""
    fixed = _FIXED.pack(
        _MAGIC,
        3,
        *(0, 0),  # no backing file
        16,
        1 << 20,
        0,  # not encrypted
        *(1, 3 * CLUSTER),
        *(CLUSTER, 1),
        *(0, 0),  # no snapshots
        *(0, 0, 0),  # no features
        4,
        _FIXED.size + 8,
    )
    return fixed.ljust(CLUSTER, b'\0')


def extensions(header: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the extensions of a header: kind and content."""
    (position,) = _LENGTH.unpack_from(header, _LENGTH_AT)
    while True:
        kind, length = _EXTENSION.unpack_from(header, position)
        if not kind:
            return
        position += _EXTENSION.size
        yield kind, header[position : position + length]
        position += (length + 7) & ~7


def forged(
    original: bytes,
    backing: str = '',
    backing_format: str = '',
    data_file: str = '',
) -> bytes:
    """Let a header name other files; all else in it stays.

    :param original: the first cluster of a disk; that of a raw one is
        replaced by :func:`blank`
    :param backing: the backing file; by default the one that it names
    :param data_file: an external data file; by default it gets none
    """
    if not original.startswith(_MAGIC):
        original = blank()
    found = dict(extensions(original))
    offset, length = _BACKING.unpack_from(original, _BACKING_AT)
    name = backing.encode() or original[offset : offset + length]
    if backing_format:
        found[_BACKING_FORMAT] = backing_format.encode()
    (features,) = _FEATURES.unpack_from(original, _FEATURES_AT)
    if data_file:
        found[_DATA_FILE_NAME] = data_file.encode()
        features |= _DATA_FILE
    (fixed,) = _LENGTH.unpack_from(original, _LENGTH_AT)
    header = bytearray(original[:fixed])
    for kind, content in found.items():
        header += _EXTENSION.pack(kind, len(content))
        header += content + bytes(-len(content) % 8)
    header += _EXTENSION.pack(0, 0)
    _FEATURES.pack_into(header, _FEATURES_AT, features)
    _BACKING.pack_into(
        header, _BACKING_AT, len(header) if name else 0, len(name)
    )
    return bytes(header + name).ljust(CLUSTER, b'\0')


def first_cluster(path: str) -> bytes:
    """Read what a header may be in."""
    with open(path, 'rb') as file:
        return file.read(CLUSTER)


def keep(path: str) -> bytes:
    """Keep the header that a disk had before the first forgery; give it."""
    os.makedirs(KEPT, mode=0o700, exist_ok=True)
    kept = os.path.join(KEPT, hashlib.sha256(path.encode()).hexdigest())
    if not os.path.exists(kept):
        with open(kept, 'wb') as file:
            file.write(path.encode() + b'\0' + first_cluster(path))
    with open(kept, 'rb') as file:
        return file.read().partition(b'\0')[2]


def restore() -> list[str]:
    """Put all headers back; those of disks that are gone are forgotten."""
    restored = []
    for name in sorted(os.listdir(KEPT) if os.path.isdir(KEPT) else []):
        kept = os.path.join(KEPT, name)
        with open(kept, 'rb') as file:
            path, _, header = file.read().partition(b'\0')
        if os.path.exists(path):
            with open(path, 'r+b') as disk:
                disk.write(header)
            restored.append(path.decode())
        os.unlink(kept)
    return restored


def write_as(guest: dict[str, Any], path: str, data: bytes) -> str:
    """Write the beginning of a file as a guest's QEMU would."""
    child = os.fork()
    if not child:
        status = census.NOT_TRIED
        try:
            census.become(guest)
            try:
                with open(path, 'r+b', buffering=0) as file:
                    file.write(data)
                status = 0
            except OSError as error:
                status = error.errno or status
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        return f'error: status {status}'
    return WRITTEN if first_cluster(path) == data else 'error: not written'


def write(forgeries: list[dict[str, str]]) -> list[str]:
    """Forge headers; say of each whether its QEMU could write it."""
    running = {each['uuid']: each for each in census.guests()}
    return [
        write_as(running[uuid], path, forged(keep(path), **names))
        for uuid, path, names in (
            (
                each['uuid'],
                each['path'],
                {
                    name: value
                    for name, value in each.items()
                    if name not in ('uuid', 'path')
                },
            )
            for each in forgeries
        )
    ]


def look_at(path: str) -> dict[str, Any] | None:
    """Say what a file is, whose, and what it carries; None for none."""
    try:
        seen = os.stat(path)
        context = os.getxattr(path, 'security.selinux').decode()
        with open(path, 'rb') as file:
            digest = hashlib.sha256(file.read(COMPARED)).hexdigest()
    except FileNotFoundError:
        return None
    return {
        'context': context.rstrip('\0'),
        'uid': seen.st_uid,
        'gid': seen.st_gid,
        'mode': seen.st_mode,
        'inode': seen.st_ino,
        'size': seen.st_size,
        'digest': digest,
    }


def sample(stop: str, path: str) -> dict[str, Any]:
    """Look at the label and the owner of a file, again and again.

    :returns: how many times, the longest time in between in seconds, and
        all that was seen
    """
    seen: set[tuple[str, int, int]] = set()
    count, longest, before = 0, 0.0, time.monotonic()
    while not os.path.exists(stop):
        found = os.stat(path)
        context = os.getxattr(path, 'security.selinux').decode()
        seen.add((context.rstrip('\0'), found.st_uid, found.st_gid))
        count += 1
        now = time.monotonic()
        longest, before = max(longest, now - before), now
        time.sleep(INTERVAL)
    return {'count': count, 'longest': longest, 'seen': sorted(seen)}


def listen(port: int, path: str) -> None:
    """Note each connection to a port."""
    with socket.create_server(('127.0.0.1', port)) as server:
        while True:
            connection, _ = server.accept()
            with open(path, 'ab') as file:
                file.write(b'.')
            connection.close()


def main() -> None:
    """Do what the command line says."""
    command, *words = sys.argv[1:]
    answer: Any
    if command == 'write':
        answer = write(json.loads(words[0]))
    elif command == 'restore':
        answer = restore()
    elif command == 'look':
        answer = {path: look_at(path) for path in words}
    elif command == 'sample':
        answer = sample(*words)
    elif command == 'listen':
        listen(int(words[0]), words[1])
        return
    else:
        raise SystemExit(f'unknown command {command}')
    json.dump(answer, sys.stdout)


if __name__ == '__main__':
    main()
