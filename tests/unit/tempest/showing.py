# SPDX-License-Identifier: Apache-2.0
"""What a host shows of guests that are as they should be."""

from __future__ import annotations

from xml.sax import saxutils

from svirt_nova.tempest import seen

UUID = '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b'
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


def process(level: str) -> str:
    return f'system_u:system_r:svirt_t:{level}'


def image(level: str) -> str:
    return f'system_u:object_r:svirt_image_t:{level}'


def name(number: int) -> str:
    return f'instance-{number:08x}'


def disk(
    path: str, target: str = 'vda', device: str = 'disk', more: str = ''
) -> str:
    return _DISK.format(
        path=saxutils.quoteattr(path), target=target, device=device, more=more
    )


def domain(
    disks: str,
    level: str = 's0:c12,c900',
    kind: str = 'static',
    uuid: str = UUID,
    number: int = 7,
) -> str:
    return _DOMAIN.format(
        name=name(number),
        uuid=uuid,
        kind=kind,
        process=process(level),
        image=image(level),
        disks=disks,
    )


def guest(
    instance: str = UUID,
    host: str = 'one',
    number: int = 7,
    level: str = 's0:c12,c900',
    volumes: list[str] | None = None,
    disk_level: str | None = None,
) -> seen.Guest:
    """A guest with a disk, a config drive and the files of volumes."""
    paths = {
        f'{INSTANCES}/{instance}/disk': 'disk',
        f'{INSTANCES}/{instance}/disk.config': 'cdrom',
    }
    paths |= {
        f'/var/lib/nova/mnt/0a/volume-{volume}': 'disk'
        for volume in volumes or []
    }
    files = {path: image(level) for path in paths}
    if disk_level is not None:
        files[f'{INSTANCES}/{instance}/disk'] = image(disk_level)
    return seen.Guest(
        instance=instance,
        host=host,
        name=name(number),
        domain=domain(
            ''.join(
                disk(path, device=device) for path, device in paths.items()
            ),
            level=level,
            uuid=instance,
            number=number,
        ),
        process=process(level),
        enforced=True,
        files=files,
    )
