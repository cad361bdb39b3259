# SPDX-License-Identifier: Apache-2.0
"""What a host shows of guests that are as they should be."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax import saxutils

from svirt_nova.mcs import levels
from svirt_nova.tempest import answers
from tests import samples

LEVEL = samples.LEVEL
UUID = samples.INSTANCE_UUID
INSTANCES = '/var/lib/nova/instances'

_DISK = """
<disk type='file' device='{device}'>
  <source file={path}/><target dev='{target}'/>{more}
</disk>"""

_DOMAIN = """<domain type='kvm'>
<name>{name}</name><uuid>{uuid}</uuid>
<seclabel type='dynamic' model='dac'><label>+1:+1</label></seclabel>
<seclabel type='{kind}' model='selinux' relabel='yes'>
  <label>{process}</label><imagelabel>{image}</imagelabel>
</seclabel>
<devices>{disks}
<disk type='block'><source dev='/dev/vg/x'/><target dev='vdy'/></disk>
<disk type='network'>
  <source protocol='rbd' name='x'/><target dev='vdz'/>
</disk>
</devices>
</domain>
"""


def process(level: levels.Level | str = LEVEL) -> str:
    """The context of a QEMU process."""
    return f'system_u:system_r:svirt_t:{level}'


def image(level: levels.Level | str = LEVEL) -> str:
    """The context of a file."""
    return f'system_u:object_r:svirt_image_t:{level}'


def name(number: int) -> str:
    """Nova's name of a domain."""
    return f'instance-{number:08x}'


def disk(
    path: str, target: str = 'vda', device: str = 'disk', more: str = ''
) -> str:
    """The XML of a disk that is a file."""
    return _DISK.format(
        path=saxutils.quoteattr(path), target=target, device=device, more=more
    )


def domain(
    disks: str,
    level: levels.Level | str = LEVEL,
    kind: str = 'static',
    uuid: str = UUID,
    number: int = 7,
) -> str:
    """The XML of a running domain."""
    return _DOMAIN.format(
        name=name(number),
        uuid=uuid,
        kind=kind,
        process=process(level),
        image=image(level),
        disks=disks,
    )


def running_domain(
    uuid: str = UUID,
    host: str = 'one',
    number: int = 7,
    level: levels.Level | str = LEVEL,
    volumes: Iterable[str] = (),
    disk_level: levels.Level | str | None = None,
    is_enforcing: bool = True,
) -> answers.RunningDomain:
    """A guest with a disk, a config drive and the files of volumes."""
    paths = {
        f'{INSTANCES}/{uuid}/disk': 'disk',
        f'{INSTANCES}/{uuid}/disk.config': 'cdrom',
    }
    paths |= {
        f'/var/lib/nova/mnt/0a/volume-{volume}': 'disk' for volume in volumes
    }
    files = {path: image(level) for path in paths}
    if disk_level is not None:
        files[f'{INSTANCES}/{uuid}/disk'] = image(disk_level)
    disks = [disk(path, device=device) for path, device in paths.items()]
    return answers.RunningDomain(
        instance_uuid=uuid,
        host=host,
        name=name(number),
        xml=domain(''.join(disks), level=level, uuid=uuid, number=number),
        process=process(level),
        is_enforcing=is_enforcing,
        files=files,
    )
