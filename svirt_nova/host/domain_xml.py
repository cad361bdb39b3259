# SPDX-License-Identifier: Apache-2.0
"""Labels in libvirt's XML: of a host's capabilities and of its domains.

Nothing here does I/O. What libvirt does with each element is in its
``virSecuritySELinux*`` functions (``src/security/security_selinux.c``).
"""

from __future__ import annotations

import dataclasses
import enum

from lxml import etree

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

_MODEL = 'selinux'
_MODELS = (_MODEL, 'dac')
# LibvirtConfigGuestMetaNovaInstance of Nova.
_NOVA = '{http://openstack.org/xmlns/libvirt/nova/1.1}'


class DiskLabel(enum.Enum):
    """Which label libvirt gives the file or device behind a disk."""

    OWN = 'own'
    """The instance's level."""

    CONTENT = 'content'
    """``virt_content_t:s0``: every guest may read it."""

    SHARED = 'shared'
    """``svirt_image_t:s0``: every guest may write it."""

    PROJECT = 'project'
    """The level that the instances of the project share."""


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """A disk with a local source, as the domain XML describes it.

    :param format: of its file; libvirt takes a disk for raw whose driver has
        no type
    :param serial: of a volume, the UUID that it had in cinder when the
        domain was made (``LibvirtConfigGuestDisk.serial``)
    """

    target: str
    path: str
    is_file: bool
    label: DiskLabel
    serial: str | None = None
    format: str = disk_chains.RAW


@dataclasses.dataclass(frozen=True, slots=True)
class Seclabel:
    """The selinux seclabel of a domain.

    :param is_static: whether the label was given rather than drawn by
        libvirt
    :param label: the context of the QEMU process; None as long as a
        dynamic label has not been drawn
    :param imagelabel: the context of its disks; only a started domain
        has it
    """

    is_static: bool
    label: contexts.Context | None
    imagelabel: contexts.Context | None

    def is_given(self, level: levels.Level) -> bool:
        """Whether a domain is always started at a level."""
        return (
            self.is_static
            and self.label is not None
            and self.label.level == level
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whose domain it is."""

    instance_uuid: str
    project_id: str


def parse(xml: str) -> etree._Element:
    """Read XML of libvirt's, which guests may have had a hand in.

    :raises LabelError: it cannot be read
    """
    # lxml refuses a text with an XML declaration, but not its bytes.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        return etree.fromstring(xml.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise exception.LabelError(
            f"libvirt's XML cannot be read: {error}"
        ) from error


def _disk_label(disk: etree._Element) -> DiskLabel:
    source = disk.find('source')
    assert source is not None
    given = source.find(f'seclabel[@model="{_MODEL}"]')
    is_given = given is not None and (
        given.get('relabel') == 'no' or given.find('label') is not None
    )
    if disk.find('shareable') is not None:
        return DiskLabel.PROJECT if is_given else DiskLabel.SHARED
    if is_given:
        return DiskLabel.OWN
    # libvirt marks every cdrom read-only when it parses the XML
    # (virDomainDiskDefParseXML), whether the element is there or not.
    if disk.find('readonly') is not None or disk.get('device') == 'cdrom':
        return DiskLabel.CONTENT
    return DiskLabel.OWN


def _local_disks(
    domain: etree._Element,
) -> list[tuple[etree._Element, etree._Element, Disk]]:
    found = []
    for element in domain.findall('devices/disk'):
        source = element.find('source')
        kind = element.get('type')
        if source is None or kind not in ('file', 'block'):
            continue
        path = source.get('file' if kind == 'file' else 'dev')
        if not path:
            continue
        target = element.find('target')
        driver = element.find('driver')
        disk = Disk(
            target='' if target is None else target.get('dev', ''),
            path=path,
            is_file=kind == 'file',
            label=_disk_label(element),
            serial=element.findtext('serial'),
            format=(
                disk_chains.RAW
                if driver is None
                else driver.get('type', disk_chains.RAW)
            ),
        )
        found.append((element, source, disk))
    return found


def disks(domain: str) -> list[Disk]:
    """The disks of a domain whose source is a file or a device here."""
    return [disk for _, _, disk in _local_disks(parse(domain))]


def set_disk_label(source: etree._Element, image: contexts.Context) -> None:
    """Have libvirt give one device a label of its own.

    :param source: the ``source`` element of the disk
    :param image: its context
    """
    _remove_labels(source, _MODEL)
    seclabel = etree.SubElement(
        source, 'seclabel', model=_MODEL, relabel='yes'
    )
    etree.SubElement(seclabel, 'label').text = str(image)


def _remove_labels(source: etree._Element, *models: str) -> None:
    for old in source.findall('seclabel'):
        if old.get('model') in models:
            source.remove(old)


def keep_labels(source: etree._Element) -> None:
    """Keep libvirt from labelling and from owning one file.

    Without the second of the two, libvirt gives the file to another owner at
    each start and at each end (``virSecurityDACRestoreImageLabelInt``).

    :param source: the ``source`` element of a file
    """
    _remove_labels(source, *_MODELS)
    for model in _MODELS:
        etree.SubElement(source, 'seclabel', model=model, relabel='no')


def set_chain(disk: etree._Element, chain: disk_chains.Chain) -> None:
    """Write the whole chain of a file-backed disk, to its end.

    An empty ``backingStore`` ends the chain: without it, libvirt reads the
    header of the last file and follows what it names
    (``virStorageSourceGetMetadata``).

    :param disk: the ``disk`` element; its source has the path on top
    """
    source = disk.find('source')
    assert source is not None
    for old in disk.findall('backingStore'):
        disk.remove(old)
    driver = disk.find('driver')
    if driver is None:
        driver = etree.SubElement(disk, 'driver', name='qemu')
    driver.set('type', chain[0].format)
    if chain[0].level is not None:
        keep_labels(source)
    parent = disk
    for link in chain[1:]:
        parent = etree.SubElement(parent, 'backingStore', type='file')
        etree.SubElement(parent, 'format', type=link.format)
        below = etree.SubElement(parent, 'source', file=link.path)
        if link.level is not None:
            keep_labels(below)
    etree.SubElement(parent, 'backingStore')


def confine(
    domain: str,
    process: contexts.Context,
    image: contexts.Context,
    chains: disk_chains.Chains,
    shared: contexts.Context | None = None,
) -> str:
    """Write an instance's level, and what its disks are, into its XML.

    The domain gets a static seclabel, in place of any other selinux one.
    libvirt leaves the files of disks alone: svirt-nova labels them. Devices
    are labelled by libvirt, in the private /dev of the guest: a read-only
    device gets the instance's level, because libvirt would make it readable
    by every guest; and a device that several guests share gets the level
    that their project shares.

    :param domain: the XML that Nova made
    :param process: the context for the QEMU process
    :param image: the context for devices
    :param chains: what each file-backed disk is made of, by its path
    :param shared: the context for devices that instances of the project
        share; None leaves them to libvirt, which opens them to all
    :raises LabelError: the chain of a disk is not known
    """
    root = parse(domain)
    for old in root.findall(f'seclabel[@model="{_MODEL}"]'):
        root.remove(old)
    for old in root.findall('seclabel'):
        # A label without a model is for libvirt's first security driver, and
        # would contradict ours.
        if old.get('model') is None:
            root.remove(old)
    seclabel = etree.SubElement(
        root, 'seclabel', type='static', model=_MODEL, relabel='yes'
    )
    etree.SubElement(seclabel, 'label').text = str(process)
    for _, source, disk in _local_disks(root):
        _remove_labels(source, *(_MODELS if disk.is_file else (_MODEL,)))
    for element, source, disk in _local_disks(root):
        if disk.is_file:
            if disk.path not in chains:
                raise exception.LabelError(
                    f'it is not known what the disk {disk.path} is made of'
                )
            chain = chains[disk.path]
            if chain is not None:
                set_chain(element, chain)
        elif disk.label is DiskLabel.CONTENT:
            set_disk_label(source, image)
        elif disk.label is DiskLabel.SHARED and shared is not None:
            set_disk_label(source, shared)
    return etree.tostring(root, encoding='unicode')


def chains_of(domain: str) -> dict[str, list[str] | None]:
    """The files of each disk, as a running domain has them.

    :returns: by the path on top, the paths of the files below it; None where
        the chain has no end, or libvirt labels a file of it, or follows an
        external data file
    """
    found: dict[str, list[str] | None] = {}
    for element, _, disk in _local_disks(parse(domain)):
        if disk.is_file:
            found[disk.path] = _files_below(element)
    return found


def _files_below(disk: etree._Element) -> list[str] | None:
    paths: list[str] = []
    part = disk
    while True:
        source = part.find('source')
        if source is None:
            # An empty element ends the chain.
            return paths[1:] if part is not disk and not len(part) else None
        kept = {
            each.get('model')
            for each in source.findall('seclabel')
            if each.get('relabel') == 'no'
        }
        path = source.get('file')
        below = part.find('backingStore')
        if (
            path is None
            or not kept.issuperset(_MODELS)
            or source.find('dataStore') is not None
            or below is None
        ):
            return None
        paths.append(path)
        part = below


def read(domain: str) -> Seclabel | None:
    """The selinux seclabel of a domain; None where it has none."""
    element = parse(domain).find(f'seclabel[@model="{_MODEL}"]')
    if element is None or element.get('type') == 'none':
        return None
    label, image = element.findtext('label'), element.findtext('imagelabel')
    return Seclabel(
        is_static=element.get('type') == 'static',
        label=contexts.Context.parse(label) if label else None,
        imagelabel=contexts.Context.parse(image) if image else None,
    )


def virt_type(domain: str) -> str:
    """The type of a domain, such as kvm; empty where it has none."""
    return str(parse(domain).get('type', ''))


def owner(domain: str) -> Owner | None:
    """Whose domain it is; None where Nova did not make it."""
    root = parse(domain)
    uuid = root.findtext('uuid')
    project = root.find(
        f'metadata/{_NOVA}instance/{_NOVA}owner/{_NOVA}project'
    )
    if not uuid or project is None or not project.get('uuid'):
        return None
    return Owner(uuid, project.get('uuid', ''))


def backing_files(domain: str) -> dict[str, list[str]]:
    """The files below the top of each disk, as far as libvirt says.

    :returns: their paths from top to bottom, by the path of the file on top
    """
    found = {}
    for element, _, disk in _local_disks(parse(domain)):
        if disk.is_file:
            found[disk.path] = [
                path
                for source in element.findall('.//backingStore/source')
                if (path := source.get('file'))
            ]
    return found
