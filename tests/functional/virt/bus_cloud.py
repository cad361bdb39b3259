# SPDX-License-Identifier: Apache-2.0
"""Hosts that ask the allocator service over a bus with faults.

The claims and the reconciler of each host, the client and the servers of the
service, and its store, are as they are. Nova, libvirt and the bus are played,
and time is simulated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import random
import types
from collections.abc import Iterator
from typing import Any

import fixtures
import oslo_messaging
from nova import exception as nova_exception
from oslo_config import cfg

from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import credentials
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport
from svirt_nova.allocator.sql import host_keys
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from svirt_nova.virt import claims
from svirt_nova.virt import outages
from svirt_nova.virt import reconcile
from svirt_nova.virt import remains
from svirt_nova.virt import seen_generation
from svirt_nova.virt import whereabouts
from tests import quick_store
from tests.functional.virt import faulty_bus

SPACE = spaces.LevelSpace.parse('c0.c4')
"""Ten levels: one that comes free is soon another instance's."""

OFFSETS = {'a': 8.0, 'b': -8.0, 'c': 300.0}
"""The hosts, and how many seconds their clocks are ahead.

The first two sign their calls. The third has no key, and no clock that would
matter to a signature.
"""
SIGNING = ('a', 'b')

COOLING = 3600
GRACE = 60
_TIMEOUT = 5.0
# Seconds after which the clock of the store follows, which costs time.
TICK = 60.0
_PROJECT = 'p'


class Instance(types.SimpleNamespace):
    """What Nova has of an instance."""

    def __init__(self, uuid: str) -> None:
        super().__init__(
            uuid=uuid,
            project_id=_PROJECT,
            deleted=False,
            vm_state='active',
            task_state=None,
            host=None,
            system_metadata={},
            levels=set(),
            moving=frozenset(),
        )

    def __contains__(self, name: str) -> bool:
        return hasattr(self, name)


class Host:
    """A compute node, whose guests outlive its processes.

    :param cloud: where it is
    :param name: its name
    """

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.name = name
        self.guests: dict[str, levels.Level] = {}
        self._cloud = cloud
        self.restart()

    def restart(self) -> None:
        """Start nova-compute, which has forgotten everything."""
        self.allocator = client.RpcAllocator(self._cloud.conf_of(self.name))
        outage = outages.OutageMemory()
        self.claims = claims.HostClaims(
            self.allocator,
            self.name,
            self,
            outage,
            seen_generation.SeenGeneration(
                str(self._cloud.directory), self.name
            ),
        )
        self.reconciler = reconcile.Reconciler(
            self.allocator,
            self.name,
            self,
            self.claims,
            outage,
            GRACE,
            lambda uuid, level: None,
        )


@dataclasses.dataclass(frozen=True)
class _Label:
    """The label of a domain."""

    level: levels.Level
    is_static: bool = True

    @property
    def label(self) -> _Label:
        return self

    def is_given(self, level: levels.Level) -> bool:
        return level == self.level


class Cloud(fixtures.Fixture):
    """Hosts, Nova, the service and the bus between them.

    :param seed: of what happens
    :param is_numbered: whether hosts name the claims that they drop; else
        they sign nothing, either, as those of former releases
    """

    def __init__(self, seed: int, *, is_numbered: bool = True) -> None:
        self._is_numbered = is_numbered
        self._signing = SIGNING if is_numbered else ()
        self.chance = random.Random(seed)
        self.clock = faulty_bus.Clock()

    def _setUp(self) -> None:
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self._store = self.useFixture(quick_store.QuickStore(SPACE))
        self.instances: dict[str, Instance] = {}
        self._stored_at = 0.0
        self.bus = faulty_bus.Bus(self.clock, self.chance)
        self._patch()
        self._serve()
        self.hosts = {name: Host(self, name) for name in OFFSETS}

    def _patch(self) -> None:
        for module in (
            authentication,
            claim_numbers,
            credentials,
            host_keys,
            outages,
            reconcile,
        ):
            self._replace(module, 'time', self.clock)
        self._replace(oslo_messaging, 'get_rpc_transport', self.bus.connect)
        if not self._is_numbered:
            for name in ('unclaim', 'give_back'):
                self._forget_number(name)
        self._replace(remains, 'of_instance', self._remains_of)
        self._replace(
            remains,
            'of_host',
            lambda host: remains.HostRemains(
                {u: _Label(level) for u, level in host.guests.items()},
                frozenset(),
            ),
        )
        self._replace(remains, 'defined_label', self._label_of)
        self._replace(whereabouts, 'find_instance', self._find)
        self._replace(whereabouts, 'find_live_instance', self._find_live)
        self._replace(
            whereabouts,
            'is_migrating',
            lambda uuid, host: host in self.instances[uuid].moving,
        )

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f'{owner.__name__}.{name}', value)
        )

    def _forget_number(self, name: str) -> None:
        """Let a call to drop a claim name no number."""
        call = getattr(client.RpcAllocator, name)

        def unnumbered(
            allocator: Any, uuid: str, host: str, number: int | None = None
        ) -> None:
            call(allocator, uuid, host)

        self.useFixture(
            fixtures.MockPatchObject(client.RpcAllocator, name, unnumbered)
        )

    def _serve(self) -> None:
        """Start two processes of the service on the store."""
        keys = {
            owner: key_files.make(self.directory / owner)
            for owner in ('service', *self._signing)
        }
        self.below = [self._store.make(COOLING) for _ in range(2)]
        for host in self._signing:
            self.below[0].enrolled_keys().enroll(Role.HOST, host, keys[host])
        conf = self.conf_of(None)
        for number, allocator in enumerate(self.below):
            callers = authentication.Authentication(
                conf,
                allocator.enrolled_keys(),
                endpoints.ComputeEndpoint.topic,
            )
            self.bus.servers.append(
                server.create(
                    conf,
                    transport.connect(conf, None),
                    f'worker-{number}',
                    endpoints.ComputeEndpoint(allocator),
                    callers,
                )
            )

    def conf_of(self, host: str | None) -> Any:
        """The configuration of a host, or of the service."""
        conf = self._store.conf()
        options: dict[str, Any] = {'call_timeout': _TIMEOUT}
        if host is None:
            options['service_key_file'] = str(self.directory / 'service')
        elif host in self._signing:
            options['host_key_file'] = str(self.directory / host)
            options['service_public_key_file'] = str(
                self.directory / 'service.pub'
            )
        for name, value in options.items():
            conf.set_override(name, value, 'svirt_nova_allocator')
        if host is not None:
            conf.register_opt(cfg.StrOpt('host', default=host))
        return conf

    # What Nova and libvirt say

    def _remains_of(self, host: Host, instance: Instance) -> rules.Remains:
        return rules.Remains(domain=instance.uuid in host.guests)

    def _label_of(self, host: Host, instance: Instance) -> _Label:
        if instance.uuid not in host.guests:
            raise nova_exception.InstanceNotFound(instance_id=instance.uuid)
        return _Label(host.guests[instance.uuid])

    def _find(self, uuid: str) -> Instance:
        if uuid not in self.instances:
            raise nova_exception.InstanceNotFound(instance_id=uuid)
        return self.instances[uuid]

    def _find_live(self, uuid: str) -> Instance:
        found = self._find(uuid)
        if found.deleted:
            raise nova_exception.InstanceNotFound(instance_id=uuid)
        return found

    def _live(self) -> list[Instance]:
        """The instances that nothing is being done to."""
        return [
            each
            for each in self.instances.values()
            if not each.deleted and each.task_state is None
        ]

    # How time passes

    @contextlib.contextmanager
    def on(self, host: Host) -> Iterator[None]:
        """Let a host run, by its own clock."""
        with self.clock.of(OFFSETS[host.name]):
            yield

    def store_time(self) -> None:
        passed = self.clock.monotonic() - self._stored_at
        if passed >= TICK:
            self._store.pass_time(passed)
            self._stored_at += passed
