# SPDX-License-Identifier: Apache-2.0
"""Snapshots of running guests: of a disk for the image service, of a volume.

Both bring a file that QEMU writes, and that libvirt must leave alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import Protocol

from lxml import etree
from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host
from nova.virt.libvirt import utils as libvirt_utils
from oslo_utils import fileutils

from svirt_nova import logs
from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml

LOG = logs.get_logger(__name__)

_INTERVAL = 0.5
"""Seconds between two looks at a job of libvirt, as Nova waits."""


class Quiescing(Protocol):
    """What :func:`copy_disk` needs of ``LibvirtDriver``."""

    def _can_quiesce(self, instance: Any, image_meta: Any) -> None: ...

    def quiesce(self, context: Any, instance: Any, image_meta: Any) -> None:
        """Freeze the file systems of the guest."""

    def unquiesce(self, context: Any, instance: Any, image_meta: Any) -> None:
        """Let them go on."""


def copy_disk(
    driver: Quiescing,
    request: Any,
    instance: Any,
    guest: Any,
    disk_path: str,
    out_path: str,
    *,
    source_format: str,
    image_format: str,
    image_meta: Any,
    label: Callable[[str], disk_chains.Chain | None],
) -> None:
    """Copy a disk of a running guest, as the guest sees it.

    Nova lets QEMU write an overlay on what the header of the disk names
    (``LibvirtDriver._live_snapshot``), and converts the two: whoever has taken
    QEMU over could name any file in either header. This copy is raw. It has no
    header, and what is in it comes from the files that the guest was started
    with.

    :param driver: the ``LibvirtDriver``
    :param guest: the ``nova.virt.libvirt.guest.Guest``
    :param out_path: where the image goes, in the format ``image_format``
    :param label: gives a file to the instance, and says what it is made of;
        None leaves it to libvirt
    """
    device = guest.get_block_device(disk_path)
    _end_job(device)
    _check_quiescing(driver, instance, image_meta)
    copy = f'{out_path}.copy'
    size = libvirt_utils.get_disk_size(disk_path, format=source_format)
    libvirt_utils.create_image(copy, disk_chains.RAW, size)
    try:
        xml = _disk_of(copy, label(copy))
        try:
            # A job of a transient kind needs no transient domain.
            device.copy(xml, reuse_ext=True, transient=True)
            while not device.is_job_complete():
                time.sleep(_INTERVAL)
        finally:
            with _quiesced(driver, request, instance, image_meta):
                device.abort_job()
        libvirt_utils.extract_snapshot(
            copy, disk_chains.RAW, out_path, image_format
        )
    finally:
        fileutils.delete_if_exists(copy)


def _end_job(device: Any) -> None:
    """End a job that an earlier attempt has left, as Nova does."""
    try:
        device.abort_job()
    except libvirt_host.libvirt.libvirtError as error:
        LOG.debug('There was no job to abort: %s', error)


def _disk_of(path: str, chain: disk_chains.Chain | None) -> str:
    disk = etree.Element('disk', type='file', device='disk')
    etree.SubElement(disk, 'driver', name='qemu', type=disk_chains.RAW)
    etree.SubElement(disk, 'source', file=path)
    if chain is not None:
        domain_xml.set_chain(disk, chain)
    return etree.tostring(disk, encoding='unicode')


def _check_quiescing(
    driver: Quiescing, instance: Any, image_meta: Any
) -> None:
    """Refuse a snapshot whose image asks for what cannot be done."""
    try:
        driver._can_quiesce(instance, image_meta)
    except nova_exception.NovaException as error:
        if image_meta.properties.get('os_require_quiesce', False):
            raise
        LOG.info(
            'The file systems of the guest are not frozen for its snapshot: '
            '%s',
            error,
            instance=instance,
        )


@contextlib.contextmanager
def _quiesced(
    driver: Quiescing, request: Any, instance: Any, image_meta: Any
) -> Iterator[None]:
    """Freeze the guest's file systems for a moment, if it can do that."""
    try:
        driver.quiesce(request, instance, image_meta)
    except nova_exception.NovaException as error:
        LOG.info('The guest is not quiesced: %s', error, instance=instance)
        yield
        return
    try:
        yield
    finally:
        driver.unquiesce(request, instance, image_meta)


class SnapshottedGuest:
    """A guest whose volumes' next files are its own before it gets them.

    libvirt would label and own such a file itself, and would take that back
    when the domain ends: a disk of a snapshot does not inherit the
    ``relabel='no'`` of the disk (``virStorageSourceInitChainElement``).

    :param guest: the ``nova.virt.libvirt.guest.Guest``
    :param label: gives the next file of a volume to the instance; its
        arguments are the present file, and the next; its answer None leaves
        the file to libvirt
    """

    def __init__(
        self,
        guest: Any,
        label: Callable[[str, str], disk_chains.Chain | None],
    ) -> None:
        self._guest = guest
        self._label = label

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def snapshot(self, conf: Any, **options: Any) -> None:
        """Take a snapshot as ``Guest.snapshot``.

        :param conf: the ``LibvirtConfigGuestSnapshot``
        """
        kept = set()
        for disk in conf.disks:
            if disk.source_type == 'file':
                chain = self._label(disk.name, disk.source_path)
                if chain is not None and chain[0].level is not None:
                    kept.add(disk.source_path)
        self._guest.snapshot(_KeptSnapshot(conf, kept), **options)


class _KeptSnapshot:
    """The XML of a snapshot, with files that libvirt leaves alone."""

    def __init__(self, conf: Any, kept: set[str]) -> None:
        self._conf = conf
        self._kept = kept

    def to_xml(self) -> str:
        root = etree.fromstring(self._conf.to_xml())
        for source in root.findall('disks/disk/source'):
            if source.get('file') in self._kept:
                domain_xml.keep_labels(source)
        return etree.tostring(root, encoding='unicode')
