# SPDX-License-Identifier: Apache-2.0
"""The guest's image, and what the guest has written on its disk."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import cache
from tests.lab import processes

_SOURCE = cache.HERE / 'guest.asm'
_SIZE = 1 << 20
SECTOR = 512
#: As in guest.asm.
FIRST_SECTOR = 64
SLOTS = 512
#: Where an image has what tells it from others.
_MARK_AT = _SIZE // 2
#: ECMA-119: the volume descriptors begin at sector 16 of a disc.
_DISC_SECTOR = 2048
_DESCRIPTORS_AT = 16 * _DISC_SECTOR


def build(image: Path, *, writes: bool, log: Path, mark: bytes = b'') -> None:
    """Make a qcow2 image of the guest.

    :param writes: whether the guest goes on writing its disk
    :param mark: what is on the disk besides
    """
    raw = image.with_suffix('.raw')
    processes.run(
        [
            'nasm',
            '-f',
            'bin',
            *(['-D', 'WRITES'] if writes else []),
            '-o',
            raw,
            _SOURCE,
        ],
        log=log,
        timeout=60,
    )
    with raw.open('r+b') as file:
        file.truncate(_SIZE)
        file.seek(_MARK_AT)
        file.write(mark)
    processes.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, image],
        log=log,
        timeout=60,
    )


def disc() -> bytes:
    """Make an ISO image, empty and not bootable."""
    # The primary volume descriptor, with the size of the volume in both
    # orders of bytes, and the end of the descriptors.
    primary = bytearray(b'\1CD001\1'.ljust(_DISC_SECTOR, b'\0'))
    count = _SIZE // _DISC_SECTOR
    struct.pack_into('<I', primary, 80, count)
    struct.pack_into('>I', primary, 84, count)
    end = b'\xffCD001\1'.ljust(_DISC_SECTOR, b'\0')
    return (bytes(_DESCRIPTORS_AT) + primary + end).ljust(_SIZE, b'\0')


def content(image: Path) -> bytes:
    """What a guest of an image sees.

    :param image: in whichever format
    """
    raw = image.with_suffix('.content')
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'raw', image, raw],
        check=True,
        timeout=60,
    )
    return raw.read_bytes()


def first_sector(image: Path) -> bytes:
    """What a guest of an image starts from.

    :param image: in whichever format
    """
    return content(image)[:SECTOR]


@dataclass(frozen=True)
class Writes:
    """What a guest's disk tells of its writes.

    :ivar last: the number of the last write; -1 where there is none
    :ivar faults: what is lost, torn or out of order
    """

    last: int
    faults: Sequence[str]


def read_writes(sectors: bytes) -> Writes:
    """Judge the sectors that the guest writes in turn.

    The guest waits for each write before the next: the numbers on the disk
    must be the last ``SLOTS`` ones, each in its place.

    :param sectors: ``SLOTS`` sectors from ``FIRST_SECTOR``
    """
    found: list[int | None] = []
    faults = []
    for slot in range(SLOTS):
        words = set(
            struct.unpack_from(f'<{SECTOR // 4}I', sectors, slot * SECTOR)
        )
        if len(words) != 1:
            faults.append(f'sector {slot} is torn: it has {len(words)} values')
            found.append(None)
        else:
            found.append(words.pop())
    # The guest begins with 0, which an empty sector has as well.
    last = max((each for each in found if each is not None), default=0) or -1
    for slot, number in enumerate(found):
        # The last write whose turn this sector was.
        wanted = last - (last - slot) % SLOTS
        if number is not None and number != max(wanted, 0):
            faults.append(f'sector {slot} has write {number}, not {wanted}')
    return Writes(last, faults)


def count_reads(answer: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Count reads of disks that have a backing file.

    :param answer: of QEMU to ``query-blockstats``
    :returns: reads that succeeded, and that failed
    """
    stats = [each['stats'] for each in answer if 'backing' in each]
    return (
        sum(each['rd_operations'] for each in stats),
        sum(each['failed_rd_operations'] for each in stats),
    )
