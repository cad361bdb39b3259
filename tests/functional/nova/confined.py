# SPDX-License-Identifier: Apache-2.0
"""Libvirt functional tests of Nova with our driver, and what is checked."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import nova.conf
from nova.compute import task_states
from nova.tests.functional.api import client

from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.host import domain_xml
from svirt_nova.lifecycle import audit
from svirt_nova.lifecycle import reaper
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import spaces
from svirt_nova.virt import confining
from svirt_nova.virt import extension
from svirt_nova.virt import faults
from svirt_nova.virt import remains
from tests.functional.nova import confined_host

CONF = nova.conf.CONF


_TRANSIENT = frozenset(
    [audit.Kind.LEAK, audit.Kind.STALE_CLAIM, audit.Kind.UNCLAIMED]
)
"""What may be seen while a compute still works at it."""

# In seconds, for the servers that a test has left.
_DELETION_TIME = 60

# In seconds, for what computes still do when a server is seen to be ready:
# the source of a live migration cleans up after that.
_SETTLING_TIME = 20

# How often a wait of Nova's own tests is repeated, of 5 or 10 s each.
_WAITS = 12


def _is_static(label: domain_xml.Seclabel | None) -> bool:
    return label is not None and label.is_static


class Servers:
    """Nova's API, as the reaper asks it."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def check(self) -> clouds.Cloud:
        services = self._api.get_services(binary='nova-compute')
        states = {each['host']: each['state'] for each in services}
        return clouds.Cloud(
            'a cloud of a test',
            tuple(
                # Before 2.53 it has no UUID but a number of its cell.
                clouds.ComputeService(
                    host,
                    f'aaaaaaaa-0000-4000-8000-{number:012}',
                    states[host] == 'up',
                )
                for number, host in enumerate(sorted(states))
            ),
        )

    def exists(self, instance_uuid: str) -> bool:
        try:
            self._api.get_server(instance_uuid)
        except client.OpenStackApiNotFoundException:
            return False
        return True


class _Nova:
    """What Nova says of all instances, in one answer of its API.

    :param api: as an administrator uses it
    """

    def __init__(self, api: Any) -> None:
        self._servers = {
            each['id']: each
            for each in api.get_servers(search_opts={'all_tenants': '1'})
        }

    def exists(self, uuid: str) -> bool:
        """Whether the API shows an instance."""
        return uuid in self._servers

    def home(self, uuid: str) -> str | None:
        """The host that an instance lives on; None also for a deleted one."""
        host: str | None = self._get(uuid, 'OS-EXT-SRV-ATTR:host')
        return host

    def is_busy(self, uuid: str) -> bool:
        """Whether something is being done to an instance."""
        return self._get(uuid, 'OS-EXT-STS:task_state') is not None

    def is_gone(self, uuid: str) -> bool:
        """Whether an instance is deleted, or being deleted."""
        return (
            not self.exists(uuid)
            or self._get(uuid, 'OS-EXT-STS:task_state') == task_states.DELETING
        )

    def _get(self, uuid: str, name: str) -> Any:
        return self._servers.get(uuid, {}).get(name)


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

    SPACE: spaces.LevelSpace | None = None
    """The level space; None for the default."""

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
        self.host_fixture = self.useFixture(
            confined_host.ConfinedHostFixture(self.SPACE)
        )
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
        is_stale = self._test_name in self.STALE_CLAIMS
        self._judge(drivers, *[audit.Kind.STALE_CLAIM] * is_stale)
        self._reconcile(drivers)
        self._judge(drivers)
        self._settled(lambda: self._judge_at_rest(drivers))
        self._delete_everything()
        self._reconcile(drivers)
        self._judge(drivers)
        self._settled(lambda: self._judge_at_rest(drivers))

    def _judge(self, drivers: dict[str, Any], *tolerated: audit.Kind) -> None:
        """Find what must never be, and what must not stay.

        :param tolerated: what need not hold
        """
        ignored = {audit.Kind.LEAK, *tolerated}

        def find() -> list[audit.Violation]:
            found = self._violations(drivers)
            return [each for each in found if each.kind not in ignored]

        found = find()
        self._assert_none(
            each for each in found if each.kind not in _TRANSIENT
        )
        if found:
            self._settled(lambda: self._assert_none(find()))

    def _judge_at_rest(self, drivers: dict[str, Any]) -> None:
        """Find the levels that are held for nobody, after the reaper."""
        self._reap()
        self._assert_none(
            each
            for each in self._violations(drivers)
            if each.kind is audit.Kind.LEAK
        )

    def _assert_none(self, violations: Iterable[audit.Violation]) -> None:
        self.assertEqual([], [str(each) for each in violations])

    def _violations(self, drivers: dict[str, Any]) -> list[audit.Violation]:
        nova = _Nova(self._reaper_api)
        allocations = self.allocator.list()
        views = []
        for name, driver in drivers.items():
            claimed = {a.instance_uuid for a in allocations if name in a.hosts}
            views.append(self._view(name, driver, claimed, nova))
        return audit.audit(
            allocations,
            views,
            self._instances(nova),
            is_at_rest=True,
        )

    def _view(
        self, name: str, driver: Any, claimed: set[str | None], nova: _Nova
    ) -> audit.HostView:
        """What a host has: domains, and the directories that are its own.

        :param claimed: the instances that it claims
        """
        found = remains.of_host(driver._host)
        guests = [
            audit.Guest(
                guest.uuid,
                is_labelled=found.domains[guest.uuid] is not None,
                is_static=_is_static(found.domains[guest.uuid]),
                # What fails in the mode permissive is only told.
                omitted=guest._domain.omitted * faults.is_enforcing(),
            )
            for guest in driver._host.list_guests(only_running=True)
            # The others have ended meanwhile.
            if guest.uuid in found.domains
        ]
        labels = {
            uuid: label.label.level
            for uuid, label in found.domains.items()
            if _is_static(label)
        }
        return audit.HostView(
            name,
            frozenset(labels) | self._directories(name, found, claimed, nova),
            tuple(guests),
            tuple(
                audit.Sight(uuid, 'the domain', level)
                for uuid, level in labels.items()
            ),
            confines=isinstance(driver._extension, confining.Confining),
            requires_claims=True,
        )

    def _directories(
        self,
        name: str,
        found: remains.HostRemains,
        claimed: set[str | None],
        nova: _Nova,
    ) -> frozenset[str]:
        """The directories of a host; all hosts of a test share one.

        Nova says whose they are, unless a host claims one for its own.
        """
        is_foreign = self._test_name in self.FOREIGN_DIRECTORIES
        return frozenset(
            uuid
            for uuid in found.directories
            if uuid in claimed
            or (
                not is_foreign
                and not nova.is_busy(uuid)
                and nova.home(uuid) == name
            )
        )

    def _instances(self, nova: _Nova) -> dict[str, audit.InstanceView]:
        found = {}
        for uuid, seen in {**self.host_fixture.levels.seen}.items():
            home = nova.home(uuid)
            found[uuid] = audit.InstanceView(
                hosts=frozenset() if home is None else frozenset([home]),
                is_gone=nova.is_gone(uuid),
                is_busy=nova.is_busy(uuid),
                levels=frozenset(seen),
            )
        return found

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

    def _delete_everything(self) -> None:
        """Delete the servers that the test has left."""
        api = self._reaper_api
        left = list(filter(_Nova(api).exists, self.host_fixture.levels.seen))
        for uuid in left:
            # Not all states let it. By its user, whose secrets it may have.
            self.api.api_delete(
                f'/servers/{uuid}', check_response_status=[204, 409]
            )
        until = time.monotonic() + _DELETION_TIME
        while any(map(_Nova(api).exists, left)) and time.monotonic() < until:
            time.sleep(0.05)

    def _delete_server(self, server: Any, *args: Any, **kwargs: Any) -> None:
        # In a cleanup, the checker has done it.
        if Servers(self._reaper_api).exists(server['id']):
            super()._delete_server(server, *args, **kwargs)

    @property
    def _reaper_api(self) -> Any:
        return getattr(self, 'admin_api', None) or self.api

    def _reap(self) -> None:
        servers = Servers(self._reaper_api)
        cloud = servers.check()
        if not cloud.services:
            # No nova-compute has come up that could have taken a level.
            self.assertEqual([], self.allocator.list())
            return
        claimed = [a.instance_uuid for a in self.allocator.list() if a.hosts]
        # Tests start hosts and forget them as no cloud does.
        self.allocator.meet_cloud(cloud, replaces=True)
        gone = reaper.find(
            self.allocator,
            servers,
            interval=0,
            sleep=lambda seconds: None,
            # Of so few instances no share may be missing, and in some tests
            # one is.
            needs_controls=bool(claimed) and all(map(servers.exists, claimed)),
        )
        reaper.retire(self.allocator, gone)

    def _reconcile(self, drivers: Any) -> None:
        for driver in drivers.values():
            reconciler = driver._extension.reconciler
            reconciler._stale = rules.StaleClaims(0)
            reconciler.reconcile()
