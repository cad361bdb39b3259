# SPDX-License-Identifier: Apache-2.0
"""Reads what the header of a disk says of other files.

A guest may have written the header of its own disk. Nothing that it names is
opened, looked up or believed: it is text, to be compared with what is known
of the disk. Nothing here does I/O.
"""

from __future__ import annotations

import dataclasses
import re
import struct

from svirt_nova import exception
from svirt_nova.host import disk_chains

# docs/interop/qcow2.txt of QEMU: magic, version, offset and length of the
# backing file's name; from version 3 on, the length of the header.
_QCOW2 = struct.Struct('>4sIQI')
_MAGIC = b'QFI\xfb'
_SIZE = struct.Struct('>Q')
_SIZE_AT = 24
_HEADER_LENGTH = struct.Struct('>I')
_HEADER_LENGTH_AT = 100
_LENGTH_OF_VERSION_2 = 72
_LONGEST_NAME = 1023
_EXTENSION = struct.Struct('>II')
_END = 0
_BACKING_FORMAT = 0xE2792ACA
_DATA_FILE_NAME = 0x44415441

# Incompatible features. A disk with a feature that is not named here, such
# as an external data file, is refused.
_FEATURES = struct.Struct('>Q')
_FEATURES_AT = 72
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (
    1 << bit for bit in range(5)
)
_HARMLESS = _DIRTY | _CORRUPT | _COMPRESSION | _EXTENDED_L2

# How files begin whose header can name other files, as the probes in block/ of
# QEMU know them. Any tool that probes formats would follow such a raw disk.
_FOLLOWED = {
    'qcow2': _MAGIC,
    'qed': b'QED\0',
    'vmdk': b'KDMV',
    'vmdk of version 3': b'COWD',
}
# The text of a vmdk file, which names others, needs no magic: QEMU knows it by
# this line, and skips comments and blank lines before (vmdk_probe).
_VMDK_TEXT = re.compile(
    rb'# Disk DescriptorFile|(?:#[^\n]*\n|[ \t\r]*\n)*version=[0-9]'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a header says of the file below.

    :param backing_file: its name, as the header has it; None for no file
    :param backing_format: its format; None if the header does not say
    """

    backing_file: str | None = None
    backing_format: str | None = None


def format_of(data: bytes) -> str:
    """The format of a file that no guest could have written.

    :param data: the first bytes of the file
    :returns: qcow2 or raw
    """
    is_qcow2 = data.startswith(_MAGIC)
    return disk_chains.QCOW2 if is_qcow2 else disk_chains.RAW


def read(path: str, data: bytes, image_format: str) -> Header:
    """Read the header of a file whose format is known.

    :param path: the file, for the error
    :param data: the first :data:`disk_chains.HEADER_SIZE` bytes of the file,
        or all of a shorter one
    :param image_format: what is known to be its format
    :raises ForgedDisk: the file is not of the format, or its header has what
        no program of Nova, cinder or libvirt writes
    """
    if image_format == disk_chains.RAW:
        _check_raw(path, data)
        return Header()
    if image_format != disk_chains.QCOW2:
        raise exception.ForgedDisk(
            f'{path}: a disk of the format {image_format} cannot be checked'
        )
    return _read_qcow2(path, data)


def size_of(data: bytes) -> int:
    """What a guest sees of a qcow2 disk, in bytes.

    :param data: the first bytes of the file, which :func:`read` has checked
    """
    (size,) = _SIZE.unpack_from(data, _SIZE_AT)
    return int(size)


def _check_raw(path: str, data: bytes) -> None:
    found = [
        name
        for name, beginning in _FOLLOWED.items()
        if data.startswith(beginning)
    ]
    if _VMDK_TEXT.match(data):
        found.append('vmdk')
    if found:
        raise exception.ForgedDisk(
            f'{path} begins like a file of the format {found[0]}, and is '
            f'known as a raw disk'
        )


def _read_qcow2(path: str, data: bytes) -> Header:
    if len(data) < _HEADER_LENGTH_AT + _HEADER_LENGTH.size:
        raise exception.ForgedDisk(
            f'{path} is too short for a qcow2 file, as which it is known'
        )
    magic, version, offset, length = _QCOW2.unpack_from(data)
    if magic != _MAGIC or version not in (2, 3):
        raise exception.ForgedDisk(
            f'{path} does not begin like a qcow2 file of version 2 or 3, as '
            f'which it is known'
        )
    header_length = _LENGTH_OF_VERSION_2
    if version == 3:
        _check_features(path, data)
        (header_length,) = _HEADER_LENGTH.unpack_from(data, _HEADER_LENGTH_AT)
    backing_file = None
    if offset:
        if not 0 < length <= _LONGEST_NAME or offset + length > len(data):
            raise exception.ForgedDisk(
                f'the header of {path} has the name of its backing file where '
                f'no program puts it'
            )
        backing_file = _text(data[offset : offset + length])
    return Header(backing_file, _backing_format(path, data, header_length))


def _check_features(path: str, data: bytes) -> None:
    (features,) = _FEATURES.unpack_from(data, _FEATURES_AT)
    if features & _DATA_FILE:
        raise exception.ForgedDisk(
            f'the header of {path} names an external data file'
        )
    if features & ~_HARMLESS:
        raise exception.ForgedDisk(
            f'the header of {path} has unknown features: {features:#x}'
        )


def _backing_format(path: str, data: bytes, position: int) -> str | None:
    """Look through the extensions of a header for the backing format."""
    found = None
    while position + _EXTENSION.size <= len(data):
        kind, length = _EXTENSION.unpack_from(data, position)
        position += _EXTENSION.size
        if kind == _END:
            return found
        if position + length > len(data):
            break
        if kind == _DATA_FILE_NAME:
            raise exception.ForgedDisk(
                f'the header of {path} names an external data file'
            )
        if kind == _BACKING_FORMAT:
            found = _text(data[position : position + length])
        position += (length + 7) & ~7
    raise exception.ForgedDisk(
        f'the extensions of the header of {path} have no end'
    )


def _text(data: bytes) -> str:
    return data.decode('utf-8', errors='backslashreplace')
