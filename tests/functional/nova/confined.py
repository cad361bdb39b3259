# SPDX-License-Identifier: Apache-2.0
"""A fake SELinux host below Nova's fake libvirt.

Fakes stand at libvirt's and the kernel's edge alone: the store is a real
SQLite file, and the driver, its rules and Nova are real.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import itertools
import os
import time
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from unittest import mock

import fixtures
import nova.conf
from lxml import etree
from nova import context
from nova import exception as nova_exception
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from oslo_utils import importutils

import svirt_nova.conf
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.lifecycle import reaper
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import contexts
from svirt_nova.virt import driver as svirt_driver
from svirt_nova.virt import extension
from svirt_nova.virt import remains
from tests import samples

CONF = nova.conf.CONF


# In seconds, for the servers that a test has left.
_DELETION_TIME = 60

# In seconds, for what computes still do when a server is seen to be ready:
# the source of a live migration cleans up after that.
_SETTLING_TIME = 20

# How often a wait of Nova's own tests is repeated, of 5 or 10 s each.
_WAITS = 12

_SECMODEL = (
    '<secmodel><model>selinux</model><doi>0</doi>'
    f"<baselabel type='kvm'>{samples.PROCESS_TEXT}</baselabel>"
    f"<baselabel type='qemu'>{samples.PROCESS_TEXT}</baselabel>"
    '</secmodel></host>'
)


class Domain(fakelibvirt.Domain):
    """A domain that keeps its seclabel and labels its disks, as libvirt's.

    :ivar files: the labels of all files
    """

    files: Files

    def __init__(
        self, connection: Any, xml: Any, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(connection, xml, *args, **kwargs)
        root = etree.fromstring(xml)
        self._undefined = False
        self.given_xml = etree.tostring(root, encoding='unicode')
        self.seclabel = root.find('seclabel[@model="selinux"]')
        # What the kernel would show; a test may make it differ.
        self.process_label = (
            None if self.seclabel is None else self.seclabel.findtext('label')
        )

    def createWithFlags(self, flags: int) -> None:  # noqa: N802
        super().createWithFlags(flags)
        if self.seclabel is None:
            return
        process = contexts.Context.parse(self.seclabel.findtext('label'))
        for disk in domain_xml.disks(self.given_xml):
            if disk.is_file and disk.label is domain_xml.DiskLabel.OWN:
                self.files.label_if_it_can(disk.path, process.level)

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
        if self._undefined:
            super().undefine()

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        xml: str = super().XMLDesc(flags)
        if self.seclabel is None:
            return xml
        seclabel = etree.fromstring(etree.tostring(self.seclabel))
        process = contexts.Context.parse(seclabel.findtext('label'))
        image = contexts.Context.parse(samples.IMAGE_TEXT).at(process.level)
        etree.SubElement(seclabel, 'imagelabel').text = str(image)
        text = etree.tostring(seclabel, encoding='unicode')
        return xml.replace('</domain>', f'{text}</domain>')

    def securityLabel(self) -> list[Any]:  # noqa: N802
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
    """The labels that files would have, by path."""

    def __init__(self) -> None:
        self.labels: dict[str, contexts.Context] = {}
        self.refused: set[str] = set()

    def label(self, root: str, path: str, level: Any) -> None:
        if os.path.basename(path) in self.refused:
            raise file_labels.unlabeled(path)
        self.labels[path] = contexts.Context.parse(samples.IMAGE_TEXT).at(
            level
        )

    def label_if_it_can(self, path: str, level: Any) -> None:
        """As libvirt: it says nothing of storage that takes no label."""
        if os.path.basename(path) not in self.refused:
            self.label('', path, level)

    def restore(self, root: str, path: str, given: Iterable[Any]) -> None:
        carried = self.labels.get(path)
        if carried is not None and carried.level in given:
            del self.labels[path]

    def read(self, path: str) -> contexts.Context | None:
        return self.labels.get(path)


class ConfinedHostFixture(fixtures.Fixture):
    """An enforcing host whose guests get levels from a store of its own."""

    def _setUp(self) -> None:
        svirt_nova.conf.register_opts(CONF)
        store = self.useFixture(fixtures.TempDir()).join('levels.sqlite')
        CONF.set_override(
            'connection', f'sqlite:///{store}', group='svirt_database'
        )
        self.addCleanup(
            CONF.clear_override, 'connection', group='svirt_database'
        )
        self.files = Domain.files = Files()
        for name in ('label', 'restore', 'read'):
            self._patch(
                f'svirt_nova.host.file_labels.{name}',
                getattr(self.files, name),
            )
        self._patch('selinux.is_selinux_enabled', lambda: 1)
        self._patch('selinux.security_getenforce', lambda: 1)
        self._patch(
            'svirt_nova.host.privsep.image_context',
            lambda: contexts.Context.parse(samples.IMAGE_TEXT),
        )
        self._patch('nova.tests.fixtures.libvirt.Domain', Domain)
        capabilities = fakelibvirt.Connection.getCapabilities
        self._patch(
            'nova.tests.fixtures.libvirt.Connection.getCapabilities',
            lambda connection: capabilities(connection).replace(
                '</host>', _SECMODEL, 1
            ),
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

    def _patch(self, name: str, new: Any) -> None:
        self.useFixture(fixtures.MonkeyPatch(name, new))


class Levels:
    """Records every level that the allocator answers, by instance."""

    def __init__(self) -> None:
        self.seen: dict[str, set[Any]] = collections.defaultdict(set)

    def recording(self, call: Any) -> Any:
        def record(allocator: Any, instance_uuid: str, *args: Any) -> Any:
            allocation = call(allocator, instance_uuid, *args)
            self.seen[instance_uuid].add(allocation.level)
            return allocation

        return record


class Servers:
    """Nova's API, as the reaper asks it."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def check(self) -> None:
        self._api.get_servers()

    def exists(self, instance_uuid: str) -> bool:
        try:
            self._api.get_server(instance_uuid)
        except client.OpenStackApiNotFoundException:
            return False
        return True


def _patient(name: str) -> Any:
    """Nova's wait of that name, repeated: a busy machine is no fault."""

    def wait(self: ConfinedMixin, *args: Any, **kwargs: Any) -> Any:
        once = functools.partial(
            getattr(super(ConfinedMixin, self), name), *args, **kwargs
        )
        for _ in range(_WAITS - 1):
            with contextlib.suppress(AssertionError):
                return once()
        return once()

    return wait


class ConfinedMixin:
    """Runs a libvirt functional test of Nova with our driver.

    After the test it checks what must always hold.
    """

    STALE_CLAIMS: dict[str, str] = {}
    """Tests after which a host claims what it has nothing of, until its
    reconciler runs; and why nothing told it."""

    FOREIGN_DIRECTORIES: dict[str, str] = {}
    """Tests after which an instance lives where it has no directory yet,
    but seems to: the hosts of a test share one. And why."""

    # Those that wait by themselves, and not by another of them.
    _wait_for_server_parameter = _patient('_wait_for_server_parameter')
    _wait_for_service_parameter = _patient('_wait_for_service_parameter')
    _wait_for_instance_action_event = _patient(
        '_wait_for_instance_action_event'
    )
    _wait_for_migration_status = _patient('_wait_for_migration_status')
    _wait_for_volume_attach = _patient('_wait_for_volume_attach')
    _wait_for_volume_detach = _patient('_wait_for_volume_detach')
    _wait_for_log = _patient('_wait_for_log')
    _wait_for_assert = _patient('_wait_for_assert')
    _wait_for_server_allocations = _patient('_wait_for_server_allocations')

    def setUp(self) -> None:
        self.host_fixture = self.useFixture(ConfinedHostFixture())
        super().setUp()

    def tearDown(self) -> None:
        # Not a cleanup: services that the test started still run.
        self._check_invariants()
        super().tearDown()

    def flags(self, **kw: Any) -> None:
        if kw.get('compute_driver') == 'libvirt.LibvirtDriver':
            kw['compute_driver'] = 'svirt_nova.SvirtLibvirtDriver'
        super().flags(**kw)

    @property
    def allocator(self) -> base.Allocator:
        return self.host_fixture.allocator

    def _check_invariants(self) -> None:
        self.assertTrue(
            self.host_fixture.drivers, 'no compute ran with our driver'
        )
        drivers = {
            name: driver
            for name, driver in self.host_fixture.drivers.items()
            if isinstance(driver._extension, extension.Claiming)
        }
        self._check_claims_and_levels(drivers, self._test_name)
        self._reconcile(drivers)
        self._check_claims_and_levels(drivers)
        self._settled(self._check_the_deleted)
        deleted = self._delete_everything()
        self._reconcile(drivers)
        self._check_claims_and_levels(drivers)
        self._settled(self._check_the_deleted)
        for uuid in deleted:
            # A host that is away keeps its claim, and what it claims.
            allocation = self.allocator.get(uuid)
            if not allocation.hosts:
                self.assertIs(
                    types.State.COOLING, allocation.state, allocation
                )

    @staticmethod
    def _settled(check: Callable[[], None]) -> None:
        """Check what holds once nothing goes on any more."""
        until = time.monotonic() + _SETTLING_TIME
        while time.monotonic() < until:
            with contextlib.suppress(AssertionError):
                return check()
            time.sleep(0.1)
        return check()

    @property
    def _test_name(self) -> str:
        return self.id().rpartition('.')[2]

    def _check_claims_and_levels(
        self, drivers: dict[str, Any], test: str | None = None
    ) -> None:
        for uuid, seen in self.host_fixture.levels.seen.items():
            self.assertEqual(1, len(seen), f'{uuid} has had {seen}')
        in_use = self.allocator.list()
        for one, other in itertools.combinations(in_use, 2):
            self.assertFalse(
                one.level.is_comparable(other.level), f'{one} and {other}'
            )
        for name, driver in drivers.items():
            self._check_domains(name, driver)
            checks = [self._check_domains_are_claimed, self._check_directories]
            if test not in self.STALE_CLAIMS:
                checks.append(self._check_claims)
            for check in checks:
                self._settled(functools.partial(check, name, driver))

    def _check_domains(self, name: str, driver: Any) -> None:
        guests = driver._host.list_guests(only_running=True)
        found = remains.of_host(driver._host).domains
        for guest in guests:
            if guest.uuid not in found:
                # It has ended meanwhile.
                continue
            label = found[guest.uuid]
            if isinstance(driver._extension, extension.Confining):
                self.assertIsNotNone(
                    label, f'{guest.uuid} runs unconfined on {name}'
                )
                self.assertTrue(
                    label.is_static,
                    f'{guest.uuid} runs on {name} at a level of libvirt',
                )
        for uuid, label in found.items():
            if label is None or not label.is_static:
                continue
            self.assertEqual(
                self.allocator.get(uuid).level,
                label.label.level,
                f'{uuid} has another level',
            )

    def _check_domains_are_claimed(self, name: str, driver: Any) -> None:
        for uuid, label in remains.of_host(driver._host).domains.items():
            if label is not None and label.is_static:
                held = self.allocator.get(uuid)
                self.assertIn(
                    name, held.hosts, f'a domain without claim: {held}'
                )

    def _check_directories(self, name: str, driver: Any) -> None:
        """The hosts of a test share one directory: ask Nova whose it is."""
        if self._test_name in self.FOREIGN_DIRECTORIES:
            return
        for uuid in remains.of_host(driver._host).directories:
            if self._is_busy(uuid) or self._home(uuid) != name:
                continue
            self.assertIn(
                name,
                self.allocator.get(uuid).hosts,
                f'{name} has the directory of {uuid} and does not claim it',
            )

    def _check_claims(self, name: str, driver: Any) -> None:
        in_use = self.allocator.list()
        present = remains.of_host(driver._host).uuids
        for allocation in in_use:
            uuid = allocation.instance_uuid
            if (
                name not in allocation.hosts
                or uuid in present
                or self._is_busy(uuid)
            ):
                continue
            # Where it lives it may be started at any time.
            self.assertEqual(
                name,
                self._home(uuid),
                f'{name} claims what it has nothing of: {allocation}',
            )

    def _check_the_deleted(self) -> None:
        """The levels of deleted instances are free where hosts are clean."""
        self._reap()
        servers = Servers(self._reaper_api)
        for allocation in self.allocator.list(
            states=frozenset([types.State.HELD])
        ):
            if not allocation.hosts:
                self.assertTrue(
                    servers.exists(allocation.instance_uuid),
                    f'leaked: {allocation}',
                )

    def _delete_everything(self) -> list[str]:
        """Delete the servers that the test has left.

        :returns: those that are gone
        """
        servers = Servers(self._reaper_api)
        left = list(filter(servers.exists, self.host_fixture.levels.seen))
        for uuid in left:
            # Not all states let it. By its user, whose secrets it may have.
            self.api.api_delete(
                f'/servers/{uuid}', check_response_status=[204, 409]
            )
        until = time.monotonic() + _DELETION_TIME
        while any(map(servers.exists, left)) and time.monotonic() < until:
            time.sleep(0.05)
        return [uuid for uuid in left if not servers.exists(uuid)]

    def _delete_server(self, server: Any, *args: Any, **kwargs: Any) -> None:
        # In a cleanup, the checker has done it.
        if Servers(self._reaper_api).exists(server['id']):
            super()._delete_server(server, *args, **kwargs)

    @property
    def _reaper_api(self) -> Any:
        return getattr(self, 'admin_api', None) or self.api

    def _reap(self) -> None:
        servers = Servers(self._reaper_api)
        claimed = [a for a in self.allocator.list() if a.hosts]
        controls: Any = contextlib.nullcontext()
        if claimed and not any(
            servers.exists(a.instance_uuid) for a in claimed
        ):
            # So few instances that the reaper's control would not tell
            # them from a Nova that denies everything.
            controls = mock.patch.object(reaper, '_check_controls')
        with controls:
            gone = reaper.find(
                self.allocator, servers, interval=0, sleep=lambda seconds: None
            )
        reaper.retire(self.allocator, gone)

    def _reconcile(self, drivers: Any) -> None:
        for driver in drivers.values():
            reconciler = driver._extension.reconciler
            reconciler._stale = rules.StaleClaims(0)
            reconciler.reconcile()

    def _home(self, uuid: str) -> str | None:
        """The host that an instance lives on; None also for a deleted one."""
        try:
            server = self._reaper_api.get_server(uuid)
        except client.OpenStackApiNotFoundException:
            return None
        host: str | None = server.get('OS-EXT-SRV-ATTR:host')
        return host

    def _is_busy(self, uuid: str) -> bool:
        try:
            instance = objects.Instance.get_by_uuid(
                context.get_admin_context(read_deleted='yes'), uuid
            )
        except nova_exception.NotFound:
            return False
        return instance.task_state is not None and not instance.deleted
