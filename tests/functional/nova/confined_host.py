# SPDX-License-Identifier: Apache-2.0
"""A fake SELinux host below Nova's fake libvirt.

Fakes stand at libvirt's and the kernel's edge alone: the store is a real
SQLite file, and the driver, its rules and Nova are real.
"""

from __future__ import annotations

import collections
import concurrent.futures
import copy
import os
from collections.abc import Iterable
from typing import Any
from unittest import mock

import fixtures
import nova.conf
from lxml import etree
from nova import exception as nova_exception
from nova.image import glance
from nova.tests.fixtures import libvirt as fakelibvirt
from oslo_utils import importutils

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from svirt_nova.virt import driver as svirt_driver
from tests import samples
from tests.fakes import kernel as fake_kernel

CONF = nova.conf.CONF

_SECMODEL = (
    '<secmodel><model>selinux</model><doi>0</doi>'
    f"<baselabel type='kvm'>{samples.PROCESS_TEXT}</baselabel>"
    f"<baselabel type='qemu'>{samples.PROCESS_TEXT}</baselabel>"
    '</secmodel></host>'
)


def _own_files(xml: str) -> list[str]:
    """The files of a domain that have its level."""
    return [
        disk.path
        for disk in domain_xml.disks(xml)
        if disk.is_file and disk.label is domain_xml.DiskLabel.OWN
    ]


class Domain(fakelibvirt.Domain):
    """A domain that keeps its seclabel and labels its disks, as libvirt's.

    :ivar files: the labels of all files
    :ivar omitted: what its start left out, for people; empty for nothing
    """

    files: Files

    def __init__(
        self, connection: Any, xml: Any, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(connection, xml, *args, **kwargs)
        root = etree.fromstring(xml)
        self._undefined = False
        self.given_xml = etree.tostring(root, encoding='unicode')
        self._given: dict[str, etree._Element] = {}
        for disk in root.findall('devices/disk'):
            self._note(disk)
        self.seclabel = root.find('seclabel[@model="selinux"]')
        # What the kernel would show; a test may make it differ.
        self.process_label = (
            None if self.seclabel is None else self.seclabel.findtext('label')
        )
        self.omitted = ''
        # One that is defined is read back before its CPUs run for the first
        # time. One that arrives running was, at its source.
        self._is_unread = not self.isActive()
        self._was_read: set[str] = set()

    def _note(self, disk: etree._Element) -> None:
        """Keep of a disk what the fake forgets."""
        source = disk.find('source')
        if source is not None and source.get('file'):
            self._given[str(source.get('file'))] = disk

    def attachDevice(self, xml: str) -> Any:  # noqa: N802
        if xml.startswith('<disk'):
            self._note(etree.fromstring(xml))
        return super().attachDevice(xml)

    def _with_disks_as_given(self, xml: str) -> str:
        root = etree.fromstring(xml)
        for disk in root.findall('devices/disk'):
            source = disk.find('source')
            given = None
            if source is not None:
                given = self._given.get(str(source.get('file')))
            if source is None or given is None:
                continue
            source.extend(map(copy.deepcopy, given.findall('source/seclabel')))
            for name in ('backingStore', 'serial'):
                if disk.find(name) is None:
                    disk.extend(map(copy.deepcopy, given.findall(name)))
        return etree.tostring(root, encoding='unicode')

    def isActive(self) -> int:  # noqa: N802
        # The fake takes one that is paused for one that is off.
        return int(
            self._state
            in (fakelibvirt.VIR_DOMAIN_RUNNING, fakelibvirt.VIR_DOMAIN_PAUSED)
        )

    def managedSave(self, flags: int) -> None:  # noqa: N802
        super().managedSave(flags)
        self._state = fakelibvirt.VIR_DOMAIN_SHUTOFF  # The fake runs on.

    def createWithFlags(self, flags: int) -> None:  # noqa: N802
        level = None
        if self.seclabel is not None:
            text = self.seclabel.findtext('label')
            level = contexts.Context.parse(text).level
        if level is not None and self._is_unread:
            self._check_own_files(level)
        self._was_read.clear()
        self.files.was_read.difference_update(_own_files(self.given_xml))
        super().createWithFlags(flags)
        if level is not None:
            chains = domain_xml.chains_of(self.given_xml)
            for path in _own_files(self.given_xml):
                if chains[path] is None:
                    self.files.label_if_it_can(path, level)
        if flags & fakelibvirt.VIR_DOMAIN_START_PAUSED:
            self._state = fakelibvirt.VIR_DOMAIN_PAUSED
        else:
            self._run()

    def _check_own_files(self, level: levels.Level) -> None:
        """Note files in the instance's directory that have no label yet."""
        directory = os.path.join(CONF.instances_path, self.UUIDString(), '')
        for path in _own_files(self.given_xml):
            found = self.files.labels.get(path)
            if path.startswith(directory) and (
                found is None or found.level != level
            ):
                self.omitted = f'{path} was not labelled before it was started'

    def resume(self) -> None:
        super().resume()
        self._run()

    def _run(self) -> None:
        """Its CPUs run."""
        if self._is_unread and not (
            {'XML', 'process'}.issubset(self._was_read)
            and self.files.was_read.issuperset(_own_files(self.given_xml))
        ):
            self.omitted = 'its labels were not read back before its CPUs ran'
        self._is_unread = False

    def isPersistent(self) -> bool:  # noqa: N802
        return not self._undefined

    def undefine(self) -> None:
        """A domain that runs is left as a transient one."""
        if self.isActive():
            self._undefined = True
        else:
            super().undefine()

    def destroy(self) -> None:
        super().destroy()
        self.omitted = ''
        if self._undefined:
            super().undefine()

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        self._was_read.add('XML')
        xml = self._with_disks_as_given(super().XMLDesc(flags))
        if self.seclabel is None:
            return xml
        seclabel = etree.fromstring(etree.tostring(self.seclabel))
        process = contexts.Context.parse(seclabel.findtext('label'))
        image = contexts.Context.parse(samples.IMAGE_TEXT).at(process.level)
        etree.SubElement(seclabel, 'imagelabel').text = str(image)
        text = etree.tostring(seclabel, encoding='unicode')
        return xml.replace('</domain>', f'{text}</domain>')

    def securityLabel(self) -> list[Any]:  # noqa: N802
        self._was_read.add('process')
        return [self.process_label or samples.PROCESS_TEXT, True]


def no_domain_starts() -> Any:
    """Let every start of a domain fail, for a while."""
    return mock.patch.object(
        Domain,
        'createWithFlags',
        side_effect=nova_exception.NovaException('no start'),
    )


# Nova 33 has no such module.
_nova_spawn_on = getattr(
    importutils.try_import('nova.thread_pool_factory'), 'spawn_on', None
)


def _spawn_on(executor: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Update a host's resources in the thread that waits for it.

    Nova's tests do it while they hold the read lock of Nova's fixture
    CellDatabases. Nova 34 gives it to a thread of its own, which needs that
    lock as well, and does not get it if a writer is waiting: all of them wait
    for good (ComputeManager.update_available_resource).
    """
    if executor.value != 'update_resources':
        return _nova_spawn_on(executor, function, *args, **kwargs)
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    try:
        future.set_result(function(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - raised by the future
        future.set_exception(error)
    return future


class Files:
    """The labels that files would have, by path.

    :ivar was_read: the files whose labels somebody has read
    :ivar headers: how files begin, by path
    """

    def __init__(self) -> None:
        self.headers: dict[str, bytes] = {}
        self.labels: dict[str, contexts.Context] = {}
        self.refused: set[str] = set()
        self.was_read: set[str] = set()

    def label(
        self,
        root: str,
        path: str,
        level: Any,
        replaced: Iterable[Any] = (),
    ) -> None:
        carried = self.labels.get(path)
        if carried is not None and carried.level not in [level, *replaced]:
            raise exception.ForeignFile(f'{path} carries {carried}')
        if os.path.basename(path) in self.refused:
            raise file_labels.unlabeled(path)
        self.labels[path] = contexts.Context.parse(samples.IMAGE_TEXT).at(
            level
        )

    def label_if_it_can(self, path: str, level: Any) -> None:
        """As libvirt: it says nothing of storage that takes no label."""
        if os.path.basename(path) not in self.refused:
            self.label('', path, level)

    def share(self, root: str, path: str, level: Any) -> None:
        if os.path.basename(path) in self.refused:
            raise file_labels.unlabeled(path)
        self.labels[path] = samples.CONTENT.at(level)

    def read_header(self, root: str, path: str) -> bytes:
        """Files that Nova's fixture of image backends has not made are raw."""
        if path in self.headers:
            return self.headers[path]
        try:
            with open(path, 'rb') as file:
                return file.read(disk_chains.HEADER_SIZE)
        except FileNotFoundError:
            return bytes(512)

    def restore(self, root: str, path: str, given: Iterable[Any]) -> None:
        carried = self.labels.get(path)
        if carried is not None and carried.level in given:
            del self.labels[path]

    def read(self, path: str) -> contexts.Context | None:
        self.was_read.add(path)
        return self.labels.get(path)


class ConfinedHostFixture(fixtures.Fixture):
    """An enforcing host whose guests get levels from a store of its own.

    :param space: the level space of the store; None for the default
    """

    def __init__(self, space: spaces.LevelSpace | None = None) -> None:
        super().__init__()
        self._space = space

    def _setUp(self) -> None:
        svirt_nova.conf.register_opts(CONF)
        store = self.useFixture(fixtures.TempDir()).join('levels.sqlite')
        group = 'svirt_database'
        CONF.set_override('connection', f'sqlite:///{store}', group)
        self.addCleanup(CONF.clear_override, 'connection', group)
        if self._space is not None:
            stores.sync(CONF, self._space)
        self.files = Domain.files = Files()
        for name in ('label', 'share', 'restore', 'read', 'read_header'):
            path = f'svirt_nova.host.file_labels.{name}'
            self._patch(path, getattr(self.files, name))
        self.kernel = self.useFixture(fake_kernel.Kernel())
        seen = 'svirt_nova.virt.seen_generation.SeenGeneration'
        for name in ('_read', '_write'):
            self._patch(f'{seen}.{name}', lambda *_: 0)
        # All hosts of a test have one store.
        self._patch(
            'svirt_nova.virt.store_scope.check', lambda conf, host_name: None
        )
        self._patch(
            'svirt_nova.host.image_contexts.writable',
            lambda: contexts.Context.parse(samples.IMAGE_TEXT),
        )
        self._patch(
            'svirt_nova.host.image_contexts.readable', lambda: samples.CONTENT
        )
        self._patch('nova.tests.fixtures.libvirt.Domain', Domain)
        capabilities = fakelibvirt.Connection.getCapabilities
        self._patch(
            'nova.tests.fixtures.libvirt.Connection.getCapabilities',
            lambda connection: capabilities(connection).replace(
                '</host>', _SECMODEL, 1
            ),
        )
        # The images whose visibility was asked for, in this order.
        self.images_asked: list[str] = []
        self._patch(
            'nova.image.glance.GlanceClientWrapper.call', self._show_image
        )
        if _nova_spawn_on is not None:
            self._patch('nova.thread_pool_factory.spawn_on', _spawn_on)
        self.allocator = base.load(CONF)
        self.levels = Levels()
        kind = type(self.allocator)
        for name in ('acquire', 'adopt'):
            self._patch(
                f'{kind.__module__}.{kind.__name__}.{name}',
                self.levels.recording(getattr(kind, name)),
            )
        # By host; of those that were started again, the last.
        self.drivers: dict[str, svirt_driver.SvirtLibvirtDriver] = {}
        init_host = svirt_driver.SvirtLibvirtDriver.init_host

        def record(driver: Any, host: str) -> None:
            self.drivers[host] = driver
            init_host(driver, host)

        self._patch(
            'svirt_nova.virt.driver.SvirtLibvirtDriver.init_host', record
        )

    def _show_image(
        self,
        client: Any,
        request: Any,
        version: int,
        method: str,
        args: Any,
    ) -> dict[str, Any]:
        """Answer as glance, from what Nova's fixture of it has."""
        [image] = args
        self.images_asked.append(image)
        found = glance.get_default_image_service().show(request, image)
        # What glance takes an image for of which nobody has said anything.
        return {'visibility': 'shared', 'owner': None, **found}

    def _patch(self, name: str, new: Any) -> None:
        self.useFixture(fixtures.MonkeyPatch(name, new))


class Levels:
    """Records every level that the allocator answers, by instance."""

    def __init__(self) -> None:
        self.seen: dict[str, set[Any]] = collections.defaultdict(set)

    def recording(self, call: Any) -> Any:
        def record(
            allocator: Any, instance_uuid: str, *args: Any, **further: Any
        ) -> Any:
            allocation = call(allocator, instance_uuid, *args, **further)
            self.seen[instance_uuid].add(allocation.level)
            return allocation

        return record
