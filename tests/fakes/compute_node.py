# SPDX-License-Identifier: Apache-2.0
"""A compute node below ``svirt-nova host check``: all is well, or not."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import fixtures
import libvirt
import nova.conf
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from tests import samples
from tests.fakes import kernel as fake_kernel

CONF = nova.conf.CONF
NAME = 'compute1'
WEB = '11111111-1111-4111-8111-111111111111'
OTHER = '22222222-2222-4222-8222-222222222222'
STRANGE = levels.Level.parse('s0:c5,c6')

LOCAL = 'xfs /dev/vda1 rw,seclabel'
NFS = 'nfs4 server:/export rw,vers=4.2,lookupcache=none'

_PROCESS = contexts.Context.parse(samples.PROCESS_TEXT)
_IMAGE = contexts.Context.parse(samples.IMAGE_TEXT)
_SHELL = (
    '<domain type="kvm"><name>{name}</name><uuid>{uuid}</uuid>{owner}{label}'
    '<devices><disk type="file"><driver name="qemu" type="qcow2"/>'
    '<source file="{disk}">{kept}</source>'
    '<backingStore type="file"><format type="raw"/>'
    '<source file="{base}">{kept}</source><backingStore/></backingStore>'
    '<target dev="vda"/></disk></devices></domain>'
)
_KEPT = (
    '<seclabel model="selinux" relabel="no"/>'
    '<seclabel model="dac" relabel="no"/>'
)


def seclabel(level: object, kind: str = 'static') -> str:
    """What libvirt shows of the label of a guest that runs."""
    return (
        f'<seclabel type="{kind}" model="selinux" relabel="yes">'
        f'<label>{samples.PROCESS_TEXT}:{str(level).removeprefix("s0:")}'
        f'</label><imagelabel>{samples.IMAGE_TEXT}:'
        f'{str(level).removeprefix("s0:")}</imagelabel></seclabel>'
    )


@dataclasses.dataclass
class Domain:
    """A ``virDomain`` that is only asked.

    :ivar process: the context of its process; empty if it does not run
    """

    name_: str
    uuid: str
    xml: str
    definition: str
    process: str

    def name(self) -> str:
        return self.name_

    def UUIDString(self) -> str:  # noqa: N802
        return self.uuid

    def isActive(self) -> bool:  # noqa: N802
        return bool(self.process)

    def isPersistent(self) -> bool:  # noqa: N802
        return bool(self.definition)

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        return (
            self.definition
            if flags & libvirt.VIR_DOMAIN_XML_INACTIVE
            else self.xml
        )

    def securityLabel(self) -> list[Any]:  # noqa: N802
        return [self.process, True]


class ComputeNode(fixtures.Fixture):
    """A host with one guest at its level; a test may break anything.

    :ivar kernel: its kernel
    :ivar capabilities: what libvirt says of the host; None if it is down
    :ivar domains: what libvirt has
    :ivar files: the labels of files; a missing one cannot be read
    :ivar options: the configuration, by section
    :ivar mounts: what is mounted where: type, source and options
    :ivar remembered: what Nova remembers; None if it does not answer
    :ivar others: the other hosts of the cloud
    :ivar helper: what the privileged helper answers, or raises
    """

    def _setUp(self) -> None:
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.instances = self.directory / 'instances'
        self.instances.mkdir()
        self.kernel = self.useFixture(fake_kernel.Kernel())
        self.socket = self.directory / 'sock-ro'
        self.socket.touch(mode=0o660)
        self.store = self.directory / 'store.sqlite'
        self.options: dict[str, dict[str, Any]] = {
            'DEFAULT': {
                'host': NAME,
                'compute_driver': 'svirt_nova.SvirtLibvirtDriver',
                'instances_path': self.instances,
                'transport_url': 'rabbit://127.0.0.1/',
            },
            'libvirt': {'nfs_mount_point_base': self.directory / 'mnt'},
            'svirt': {},
            'svirt_database': {'connection': f'sqlite:///{self.store}'},
        }
        self.capabilities: str | None = samples.CAPABILITIES
        self.mounts: dict[object, str] = {'/': LOCAL}
        self.files: dict[str, contexts.Context | None] = {}
        self.domains: list[Domain] = []
        self.others: list[str] = []
        self.helper: Any = ('missing', 'there is no such file')
        self._patch_all()
        self.level = self.start(WEB, 'web')
        self.remembered: Any = {WEB: types.InstanceLevels(self.level, None)}

    # What a test may do

    def allocator(self) -> base.Allocator:
        """The store of the host."""
        conf = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(conf)
        conf(['--config-file', str(self.config())])
        return base.load(conf)

    def start(self, uuid: str, name: str) -> levels.Level:
        """Start the guest of an instance; its level."""
        level = self.allocator().acquire(uuid, 'p', NAME).level
        self.domains.append(self.domain(uuid, name, seclabel(level), level))
        return level

    def domain(
        self,
        uuid: str,
        name: str,
        label: str,
        level: levels.Level,
        owner: str = samples.OWNER,
    ) -> Domain:
        """A domain that runs, and its files.

        :param label: its seclabel
        :param level: that of its process and its disk
        :param owner: what Nova writes into its XML
        """
        disk, image = self.disk(uuid), str(self.instances / '_base/image')
        xml = _SHELL.format(
            uuid=uuid,
            name=name,
            owner=owner,
            label=label,
            disk=disk,
            base=image,
            kept=_KEPT,
        )
        self.files[disk] = _IMAGE.at(level)
        self.files[image] = samples.CONTENT
        return Domain(name, uuid, xml, xml, str(_PROCESS.at(level)))

    def disk(self, uuid: str = WEB) -> str:
        """Where an instance has its disk."""
        return str(self.instances / uuid / 'disk')

    def relabel(self, label: str, process: object = '') -> None:
        """Have the guest run otherwise than it was started."""
        [domain] = self.domains
        domain.xml = re.sub(
            '<seclabel type.*?</seclabel>', label, domain.xml, flags=re.S
        )
        if process:
            domain.process = str(process)

    def config(self) -> pathlib.Path:
        """The configuration file of nova-compute."""
        path = self.directory / 'nova.conf'
        path.write_text(
            ''.join(
                f'[{section}]\n'
                + ''.join(
                    f'{name} = {given}\n' for name, given in each.items()
                )
                for section, each in self.options.items()
            )
        )
        return path

    def mount_table(self) -> str:
        """What ``/proc/self/mountinfo`` says."""
        lines = []
        for point, what in self.mounts.items():
            kind, source, options = what.split(' ', 2)
            lines.append(f'1 1 0:1 / {point} rw - {kind} {source} {options}\n')
        return ''.join(lines)

    def hide_selinuxfs(self) -> None:
        """Look from a container into which nothing is mounted."""
        self.kernel_says(0)
        file_systems = self.directory / 'filesystems'
        file_systems.write_text('nodev\tselinuxfs\n')
        self._patch('svirt_nova.host.kernel.FILE_SYSTEMS', str(file_systems))
        self._patch('svirt_nova.host.kernel.SELINUXFS', '/nonexistent')

    def hide_configuration(self) -> None:
        """Look from a container that has selinuxfs, and nothing else."""
        self.hide_selinuxfs()
        (self.directory / 'enforce').touch()
        self._patch('svirt_nova.host.kernel.SELINUXFS', str(self.directory))
        self._patch('svirt_nova.host.kernel.CONFIG', '/nonexistent')

    def kernel_says(self, enabled: int) -> None:
        """What ``selinuxenabled`` says."""
        self._patch('selinux.is_selinux_enabled', lambda: enabled)

    def replace(self, name: str, new: Any) -> None:
        """Replace something by its dotted name."""
        self._patch(name, new)

    # What is below the command

    def _patch(self, name: str, new: Any) -> None:
        self.useFixture(fixtures.MonkeyPatch(name, new))

    def _patch_all(self) -> None:
        table, enforce = self.directory / 'mounts', self.directory / 'on'
        enforce.touch()
        self._table = table
        for name, new in (
            ('libvirt.openReadOnly', self._open),
            ('svirt_nova.host.libvirtd.SOCKETS', (str(self.socket),)),
            ('svirt_nova.host.mounts.MOUNTS', str(table)),
            ('svirt_nova.host.mounts.SELINUX', str(enforce)),
            ('svirt_nova.host.file_labels.read', self._read),
            ('svirt_nova.host.privsep.restore', self._restore),
            ('svirt_nova.host.image_contexts.writable', lambda: _IMAGE),
            (
                'svirt_nova.host.image_contexts.readable',
                lambda: samples.CONTENT,
            ),
            ('svirt_nova.host.kernel.differing_types', lambda path: None),
            ('svirt_nova.virt.conductor.connect', self._connect),
            (
                'svirt_nova.virt.conductor.remembered_levels',
                lambda name: self.remembered,
            ),
            (
                'svirt_nova.virt.store_scope.other_hosts',
                lambda name: self.others,
            ),
        ):
            self._patch(name, new)
        self.addCleanup(CONF.reset)

    def arrange(self) -> None:
        """Write down what the command reads from files."""
        self._table.write_text(self.mount_table())

    def _open(self, uri: str) -> ComputeNode:
        if self.capabilities is None:
            raise libvirt.libvirtError('no socket')
        return self

    def getCapabilities(self) -> str | None:  # noqa: N802
        return self.capabilities

    def listAllDomains(self) -> list[Domain]:  # noqa: N802
        return self.domains

    def close(self) -> None:
        pass

    def _read(self, path: str) -> contexts.Context | None:
        if path not in self.files:
            raise exception.LabelError(
                f'the label of {path} cannot be read: No such file'
            )
        return self.files[path]

    def _restore(self, *args: Any) -> Any:
        if isinstance(self.helper, Exception):
            raise self.helper
        return self.helper

    def _connect(self) -> None:
        if self.remembered is None:
            raise exception.ComputeApiError('it does not answer')
