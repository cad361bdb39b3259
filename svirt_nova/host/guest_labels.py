# SPDX-License-Identifier: Apache-2.0
"""Reads every label that a guest has: of its process, its XML, its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.host import verify
from svirt_nova.mcs import contexts


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """What libvirt says of a domain.

    :param uuid: its UUID, which is that of an instance if Nova made it
    :param name: its name
    :param xml: as it runs, or else as it is defined
    :param definition: the XML that its next start uses; empty for that of a
        transient domain
    :param process: the context of its QEMU process, as
        ``virDomainGetSecurityLabel`` has it from the kernel; None for a
        domain that does not run
    """

    uuid: str
    name: str
    xml: str
    definition: str = ''
    process: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has a QEMU process."""
        return self.process is not None


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file of a disk.

    :param path: where it is
    :param disk: how libvirt labels the disk that it belongs to
    :param is_top: whether the guest writes to this file, rather than to one
        that stands on it
    :param context: what it carries; None on storage without labels
    """

    path: str
    disk: domain_xml.DiskLabel
    is_top: bool
    context: contexts.Context | None


@dataclasses.dataclass(frozen=True, slots=True)
class GuestLabels:
    """The labels of a guest.

    :param uuid: the UUID of its domain
    :param name: the name of its domain
    :param is_running: whether it has a QEMU process
    :param is_instance: whether Nova made it
    :param virt_type: the type of the domain, such as kvm
    :param process: the context of the process; None if it does not run
    :param live: the seclabel that it runs with, or that it is defined with
    :param definition: the seclabel that its next start uses
    :param files: the files of its disks
    :param unreadable: what could not be read, and why
    """

    uuid: str
    name: str
    is_running: bool
    is_instance: bool
    virt_type: str
    process: contexts.Context | None
    live: domain_xml.Seclabel | None
    definition: domain_xml.Seclabel | None
    files: tuple[File, ...] = ()
    unreadable: tuple[str, ...] = ()


def read(
    domain: Domain, read_file: verify.ReadLabel | None = None
) -> GuestLabels:
    """Read the labels of a guest.

    :param domain: what libvirt says of it
    :param read_file: reads the context of a file; None to look at no file
    :raises SvirtError: a label of the process or of the XML makes no sense
    """
    files: list[File] = []
    unreadable: list[str] = []
    if read_file is not None:
        for path, disk, is_top in _paths(domain.xml):
            try:
                files.append(File(path, disk, is_top, read_file(path)))
            except exception.SvirtError as error:
                unreadable.append(str(error))
    return GuestLabels(
        uuid=domain.uuid,
        name=domain.name,
        is_running=domain.is_running,
        is_instance=domain_xml.owner(domain.xml) is not None,
        virt_type=domain_xml.virt_type(domain.xml),
        process=(
            None
            if domain.process is None
            else contexts.Context.parse(domain.process)
        ),
        live=domain_xml.read(domain.xml),
        definition=domain_xml.read(domain.definition or domain.xml),
        files=tuple(files),
        unreadable=tuple(unreadable),
    )


def _paths(xml: str) -> Iterator[tuple[str, domain_xml.DiskLabel, bool]]:
    """The files of a domain, how their disk is labelled, and which is on top.

    Devices are left out, because libvirt labels them in the private /dev of
    the guest.
    """
    below = domain_xml.backing_files(xml)
    for disk in domain_xml.disks(xml):
        if disk.is_file:
            yield disk.path, disk.label, True
            for path in below.get(disk.path, ()):
                yield path, disk.label, False
