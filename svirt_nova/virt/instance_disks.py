# SPDX-License-Identifier: Apache-2.0
"""The disks of one instance: what they are made of, and whose they are."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import nova.conf
from nova.virt.libvirt import utils as libvirt_utils

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import faults
from svirt_nova.virt import image_bases
from svirt_nova.virt import own_disks
from svirt_nova.virt import volumes

CONF = nova.conf.CONF

_OF_PROJECT = (domain_xml.DiskLabel.PROJECT, domain_xml.DiskLabel.SHARED)


class InstanceDisks:
    """The file-backed disks of one instance.

    :param instance: Nova's record of the instance
    :param held: its levels, which this host has claimed
    :param host_claims: the claims of this host
    :param rescue_image: the image that it is being rescued with
    """

    def __init__(
        self,
        instance: Any,
        held: types.InstanceLevels,
        host_claims: claims.HostClaims,
        rescue_image: str | None = None,
    ) -> None:
        self._instance = instance
        self._held = held
        self._claims = host_claims
        self._rescue_image = rescue_image
        self._path = libvirt_utils.get_instance_path(instance)
        self._directory = os.path.join(self._path, '')

    # What they are made of

    def chains_of(self, domain: str) -> disk_chains.Chains:
        """What the disks of a domain are made of, with all headers checked.

        :param domain: its XML
        :raises nova.exception.NovaException: a header is not what it should
            be, or cannot be read, and the mode is enforcing
        """
        return self._chains(
            [disk for disk in domain_xml.disks(domain) if disk.is_file]
        )

    def own_chains(self) -> disk_chains.Chains:
        """What the disks are made of that Nova has just made on this host.

        :raises nova.exception.NovaException: see :meth:`chains_of`
        """
        found = []
        for name in sorted(os.listdir(self._path)):
            if own_disks.is_disk(name):
                path = os.path.join(self._directory, name)
                data = file_labels.read_header(CONF.instances_path, path)
                found.append(
                    domain_xml.Disk(
                        target='',
                        path=path,
                        is_file=True,
                        label=domain_xml.DiskLabel.OWN,
                        format=disk_headers.format_of(data),
                    )
                )
        return self._chains(found)

    def check_headers(self, domain: str) -> None:
        """Check the headers of a domain's own disks, and no file below.

        :param domain: its XML
        :raises nova.exception.NovaException: see :meth:`chains_of`
        """
        for disk in domain_xml.disks(domain):
            if (
                disk.is_file
                and disk.path.startswith(self._directory)
                and not disk.path.endswith('.rescue')
            ):
                with faults.raised_to_nova(self._instance):
                    own_disks.check(
                        self._instance, disk.path, disk.format, None
                    )

    def _chains(self, found: list[domain_xml.Disk]) -> disk_chains.Chains:
        chains: dict[str, disk_chains.Chain | None] = {}
        for disk in found:
            chains[disk.path] = None
            with faults.raised_to_nova(self._instance):
                chains[disk.path] = self.chain_of(disk)
        return chains

    def chain_of(self, disk: domain_xml.Disk) -> disk_chains.Chain:
        """What one disk is made of, with its headers checked.

        :raises ForgedDisk: a header is not what it should be
        :raises LabelError: it cannot be read
        """
        if disk.path.startswith(self._directory):
            return self._own_chain(disk)
        if not disk.serial or disk.path.startswith(
            os.path.join(CONF.instances_path, '')
        ):
            raise exception.LabelError(
                f'the disk {disk.path} is neither in the directory of the '
                f'instance nor a volume'
            )
        return self.volume_chain(
            disk.path, disk.format, disk.label in _OF_PROJECT
        )

    def volume_chain(
        self, path: str, image_format: str, is_shared: bool
    ) -> disk_chains.Chain:
        """What the file of a volume is made of, with its headers checked.

        :param image_format: its format, as cinder says
        :param is_shared: whether instances of the project share it
        :raises ForgedDisk: a header names a file of another volume
        :raises LabelError: it cannot be read
        """
        level = self._held.project if is_shared else self._held.own
        return volumes.chain_of(path, image_format, level)

    def _own_chain(self, disk: domain_xml.Disk) -> disk_chains.Chain:
        header = own_disks.header_of(
            self._instance, disk.path, disk.format, self._rescue_image
        )
        is_raw = own_disks.is_config_drive(os.path.basename(disk.path))
        top = self._own_link(
            disk.path, disk_chains.RAW if is_raw else disk.format
        )
        if header.backing_file is None:
            return (top,)
        name, base = os.path.basename(disk.path), header.backing_file
        level = image_bases.level_of(
            self._instance,
            self._held,
            name,
            own_disks.image_of(self._instance, name, base, self._rescue_image),
            base,
        )
        return (top, self._base(disk.path, header, level))

    def _own_link(self, path: str, image_format: str) -> disk_chains.Link:
        return disk_chains.Link(
            path, image_format, CONF.instances_path, self._held.own
        )

    @staticmethod
    def _base(
        disk: str, header: disk_headers.Header, level: levels.Level
    ) -> disk_chains.Link:
        """The file of the image cache that a disk stands on.

        :param level: the level of the guests that may read it
        """
        assert header.backing_file is not None
        return disk_chains.Link(
            header.backing_file,
            own_disks.format_of_base(disk, header),
            CONF.instances_path,
            level,
            writable=False,
        )

    # Files that QEMU gets while the guest runs

    def give_copy(self, path: str) -> disk_chains.Chain:
        """Give a raw file, in a directory of its own, to the instance.

        :raises LabelError: it takes no label
        """
        link = disk_chains.Link(
            path, disk_chains.RAW, os.path.dirname(path), self._held.own
        )
        self.label_file(link, self._held.own)
        return (link,)

    def give_next(
        self, domain: str, present: str, following: str
    ) -> disk_chains.Chain:
        """Give the next file of a volume to the instance.

        :param domain: the XML of the domain that has the volume
        :param present: the file that QEMU writes now
        :param following: the file of a snapshot, which it will write
        :raises ForgedDisk: a header names a file of another volume
        :raises LabelError: there is no such volume, or the file takes no
            label
        """
        for disk in domain_xml.disks(domain):
            if disk.is_file and disk.path == present:
                chain = self.chain_of(
                    dataclasses.replace(
                        disk, path=following, format=disk_chains.QCOW2
                    )
                )
                for link in reversed(chain):
                    if link.level is not None:
                        self.label_file(link, link.level)
                return chain
        raise exception.LabelError(
            f'the guest has no disk {present} of which a snapshot could be '
            f'taken'
        )

    def check_volume(self, domain: str, volume: str) -> None:
        """Check the headers of a volume, and label all of its files.

        :param domain: the XML of the domain that has the volume
        :param volume: its UUID
        :raises nova.exception.NovaException: see :meth:`chains_of`
        """
        self.label(
            self._chains(
                [
                    disk
                    for disk in domain_xml.disks(domain)
                    if disk.is_file and disk.serial == volume
                ]
            )
        )

    # Whose they are

    def label(self, chains: disk_chains.Chains) -> None:
        """Label all files of disks, and let QEMU in.

        :raises nova.exception.NovaException: a file must not be used, and
            the mode is enforcing
        """
        for chain in chains.values():
            for link in reversed(chain or ()):
                if link.level is not None:
                    with faults.raised_to_nova(self._instance):
                        self.label_file(link, link.level)

    def label_file(self, link: disk_chains.Link, level: levels.Level) -> None:
        """Label one file of a disk.

        :raises LabelError: it takes no label, or is another guest's
        """
        if not link.writable:
            file_labels.share(link.root, link.path, level)
            return
        try:
            file_labels.label(link.root, link.path, level)
        except exception.ForeignFile as error:
            carried = file_labels.read(link.path)
            if carried is None or not self._may_replace(link, carried.level):
                raise exception.ForeignFile(
                    f'{error}. If no instance uses the file, take the level '
                    f'off with "restorecon -F {link.path}"'
                ) from error
            file_labels.label(link.root, link.path, level, [carried.level])

    def _may_replace(
        self, link: disk_chains.Link, carried: levels.Level
    ) -> bool:
        """Whether the level that a file carries keeps nobody's guest apart.

        A file in the directory of an instance is that instance's, whatever a
        start by libvirt, or a crash, has left on it. The level that a volume
        carries may be that of an instance that runs with it.
        """
        return (
            link.path.startswith(self._directory)
            or carried in self._claims.levels_given(self._instance)
            or not self._claims.is_held(carried)
        )
