# SPDX-License-Identifier: Apache-2.0
"""What libvirt keeps of a domain, and what it makes of its XML."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

from lxml import etree

from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from tests import samples


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A domain.

    :param definition: the XML that it is started with; None for a transient
        domain
    :param live: the XML that it runs with; None for one that does not run
    :param is_paused: whether its CPUs stand still
    :param process: the context of its process, where that is not the one
        that it was started with
    :param saved: the XML of its saved memory
    :param is_new: whether it was defined and not started since
    :param is_unread: whether its CPUs have not run since it was defined, so
        that its labels must be read back before they do
    :param omitted: what its start left out, for people; empty for nothing
    """

    definition: str | None = None
    live: str | None = None
    is_paused: bool = False
    process: str = ''
    saved: str | None = None
    is_new: bool = False
    is_unread: bool = False
    omitted: str = ''

    def but(self, **changes: Any) -> Record:
        """This record with changes."""
        return dataclasses.replace(self, **changes)

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def loads(text: str) -> Record:
        return Record(**json.loads(text))


@dataclasses.dataclass(frozen=True, slots=True)
class Labels:
    """What libvirt reads in the XML of a domain.

    :param process: the context of its process; empty for none
    :param level: the level of that context
    :param files: the files that must have its level
    :param kept: those whose labels libvirt leaves alone
    """

    process: str
    level: levels.Level | None
    is_static: bool
    files: tuple[str, ...]
    kept: frozenset[str]


@functools.lru_cache(maxsize=4096)
def labels_of(xml: str) -> Labels:
    seclabel = domain_xml.read(xml)
    label = None if seclabel is None else seclabel.label
    return Labels(
        process='' if label is None else str(label),
        level=None if label is None else label.level,
        is_static=seclabel is not None and seclabel.is_static,
        files=tuple(
            disk.path
            for disk in domain_xml.disks(xml)
            if disk.is_file and disk.label is domain_xml.DiskLabel.OWN
        ),
        kept=frozenset(
            path
            for path, below in domain_xml.chains_of(xml).items()
            if below is not None
        ),
    )


@functools.lru_cache(maxsize=4096)
def as_running(xml: str) -> str:
    """The XML as libvirt shows it of a domain that runs."""
    root = etree.fromstring(xml)
    level = labels_of(xml).level
    label = root.find('seclabel[@model="selinux"]')
    if label is not None and level is not None:
        image = etree.SubElement(label, 'imagelabel')
        image.text = str(samples.IMAGE.at(level))
    return str(etree.tostring(root, encoding='unicode'))


@functools.lru_cache(maxsize=4096)
def with_disk(xml: str, disk: str) -> str:
    """The XML with one more disk, in the place of one at its target."""
    added = etree.fromstring(disk)
    target = added.find('target')
    assert target is not None
    root = etree.fromstring(without_disk(xml, str(target.get('dev'))))
    devices = root.find('devices')
    assert devices is not None
    devices.append(added)
    return str(etree.tostring(root, encoding='unicode'))


@functools.lru_cache(maxsize=4096)
def without_disk(xml: str, target: str) -> str:
    """The XML without the disk at a target, such as ``vdb``."""
    root = etree.fromstring(xml)
    for disk in root.findall('devices/disk'):
        found = disk.find('target')
        if found is not None and found.get('dev') == target:
            disk.getparent().remove(disk)
    return str(etree.tostring(root, encoding='unicode'))


@functools.lru_cache(maxsize=4096)
def files_at(xml: str, target: str) -> tuple[str, ...]:
    """The files behind the disk at a target that libvirt labels."""
    return tuple(
        disk.path
        for disk in domain_xml.disks(xml)
        if disk.target == target and disk.path not in labels_of(xml).kept
    )
