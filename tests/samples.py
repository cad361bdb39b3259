# SPDX-License-Identifier: Apache-2.0
"""Contexts and XML that several tests use."""

from __future__ import annotations

import struct

from svirt_nova.host import disk_chains
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

PROCESS_TEXT = 'system_u:system_r:svirt_t:s0'
IMAGE_TEXT = 'system_u:object_r:svirt_image_t:s0'
CONTENT_TEXT = 'system_u:object_r:virt_content_t:s0'
"""What Debian's policy gives guests, their images, and what they only read."""

LEVEL = levels.Level.parse('s0:c12,c900')
PROCESS = contexts.Context.parse(PROCESS_TEXT).at(LEVEL)
IMAGE = contexts.Context.parse(IMAGE_TEXT).at(LEVEL)

CONTENT = contexts.Context.parse(CONTENT_TEXT)

INSTANCE_UUID = '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b'
"""The instance of the domains below."""

CAPABILITIES = """
<capabilities>
  <host>
    <secmodel><model>none</model><doi>0</doi></secmodel>
    <secmodel>
      <model>selinux</model><doi>0</doi>
      <baselabel type='kvm'>system_u:system_r:svirt_t:s0</baselabel>
      <baselabel type='qemu'>system_u:system_r:svirt_tcg_t:s0</baselabel>
    </secmodel>
    <secmodel>
      <model>dac</model><doi>0</doi>
      <baselabel type='kvm'>+64055:+64055</baselabel>
      <baselabel type='qemu'>+64055:+64055</baselabel>
    </secmodel>
  </host>
</capabilities>
"""

DOMAIN = """<?xml version='1.0' encoding='utf-8'?>
<domain type='kvm'>
  <uuid>9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b</uuid>
  <seclabel model='dac' type='static'><label>+64055:+64055</label></seclabel>
  %s
  <devices>
    <disk type='file' device='disk'>
      <source file='/i/u/disk'/><target dev='vda'/>
    </disk>
    <disk type='file' device='cdrom'>
      <source file='/i/u/disk.config'/><target dev='sda'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/m/h/read-only'/><target dev='vdb'/><readonly/>
      <serial>volume-r</serial>
    </disk>
    <disk type='file' device='disk'>
      <source file='/m/h/shared'/><target dev='vdc'/><shareable/>
      <serial>volume-s</serial>
    </disk>
    <disk type='block' device='disk'>
      <source dev='/dev/vg/x'/><target dev='vdd'/>
    </disk>
    <disk type='network' device='disk'>
      <source protocol='rbd' name='p/x'/><target dev='vde'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sdb'/></disk>
  </devices>
</domain>
"""
"""A domain with a disk of each kind; ``%s`` stands for further elements."""

BASE = '/i/_base/0e76292794888d4f1fa75fb3aff4ca27c58f56a6'
"""Where the image cache has the image of the name ``image``."""


def chains(shared: levels.Level | None = None) -> disk_chains.Chains:
    """What the disks of :data:`DOMAIN` are made of.

    :param shared: the level of what instances of the project share
    """
    return {
        '/i/u/disk': (
            disk_chains.Link('/i/u/disk', 'qcow2', '/i', LEVEL),
            disk_chains.Link(
                BASE, 'raw', '/i', disk_chains.EVERYBODY, writable=False
            ),
        ),
        '/i/u/disk.config': (
            disk_chains.Link('/i/u/disk.config', 'raw', '/i', LEVEL),
        ),
        '/m/h/read-only': (
            disk_chains.Link('/m/h/read-only', 'raw', '/m/h', LEVEL),
        ),
        '/m/h/shared': (
            disk_chains.Link('/m/h/shared', 'raw', '/m/h', shared),
        ),
    }


def qcow2_header(
    backing_file: str = '',
    backing_format: str = 'raw',
    *,
    version: int = 3,
    features: int = 0,
    extensions: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """The header of a qcow2 file, as docs/interop/qcow2.txt of QEMU has it.

    :param features: the incompatible features
    :param extensions: further extensions: kind and content
    """
    if backing_file:
        extensions = ((0xE2792ACA, backing_format.encode()), *extensions)
    listed = b''.join(
        struct.pack('>II', kind, len(content))
        + content
        + bytes(-len(content) % 8)
        for kind, content in extensions
    )
    length = 104 if version == 3 else 72
    at = length + len(listed) + 8
    return (
        struct.pack(
            '>4sIQI',
            b'QFI\xfb',
            version,
            at if backing_file else 0,
            len(backing_file.encode()),
        )
        + bytes(52)
        + (
            struct.pack('>Q', features) + bytes(20) + struct.pack('>I', 104)
            if version == 3
            else b''
        )
        + listed
        + bytes(8)
        + backing_file.encode()
        + bytes(512)
    )


OWNER = """
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:owner>
        <nova:user uuid="u">user</nova:user>
        <nova:project uuid="p">project</nova:project>
      </nova:owner>
    </nova:instance>
  </metadata>
"""
"""What Nova writes into a domain of the project ``p``."""


def labelled_domain(
    kind: str = 'dynamic', owner: str = OWNER, level: str = ':c4,c9'
) -> str:
    """The XML of a running domain with an SELinux label.

    :param kind: the type of its seclabel
    :param level: what follows the sensitivity
    """
    return DOMAIN % (
        f"<seclabel type='{kind}' model='selinux' relabel='yes'>"
        f'<label>{PROCESS_TEXT}{level}</label>'
        f'<imagelabel>{IMAGE_TEXT}{level}</imagelabel></seclabel>{owner}'
    )
