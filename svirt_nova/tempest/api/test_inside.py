# SPDX-License-Identifier: Apache-2.0
"""Levels of instances, as the hosts of a cloud show them.

The hosts are those of [svirt_nova] hosts in tempest.conf. After every
operation, the process and the files of an instance must carry the level that
they had at first, and no other guest may have a level that contains it. What
the hosts and the allocator say is judged by
:func:`svirt_nova.lifecycle.audit.audit`.
"""

from __future__ import annotations

import dataclasses
import os.path
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from typing import ClassVar

from tempest.lib import decorators

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels
from svirt_nova.tempest import answers
from svirt_nova.tempest import hosts
from svirt_nova.tempest.api import operations
from svirt_nova.tempest.api import testcase

CONF = testcase.CONF


class InsideTest(operations.Operations, operations.Administration):
    """Tests for clouds whose hosts may be looked at.

    Beside the subject there is the *bystander*, an instance that no
    operation is done to.
    """

    bystander: ClassVar[str]
    known_hosts: ClassVar[dict[str, hosts.Host]]
    label_command: ClassVar[hosts.LabelCommand | None]
    volumes_host: ClassVar[hosts.Host | None]
    first_levels: ClassVar[dict[str, levels.Level]]
    domain: answers.RunningDomain
    volume_file: str | None

    @classmethod
    def skip_checks(cls) -> None:
        """Skip the class where no host is named.

        :raises InvalidOption: an option of a host cannot be used
        """
        super().skip_checks()
        if not CONF.svirt_nova.hosts:
            raise cls.skipException(
                '[svirt_nova] hosts names no host: no level, process or file '
                'can be seen'
            )
        cls.known_hosts = hosts.configured(CONF.svirt_nova)
        cls.label_command = hosts.label_command(
            CONF.svirt_nova, cls.known_hosts
        )
        cls.volumes_host = None
        if CONF.svirt_nova.volumes_host:
            cls.volumes_host = hosts.named(
                CONF.svirt_nova.volumes_host, 'volumes_host', cls.known_hosts
            )

    @classmethod
    def resource_setup(cls) -> None:
        """Skip where a host cannot be reached; boot both instances."""
        for host in cls.known_hosts.values():
            try:
                host.domain_uuids()
            except exception.HostUnreachable as error:
                raise cls.skipException(str(error)) from error
        cls.first_levels = {}
        super().resource_setup()
        [cls.bystander] = cls.boot('bystander')

    def setUp(self) -> None:
        """Remember the level that the subject has at first."""
        super().setUp()
        self.level_of(self.server_id)

    # What hosts and the allocator say

    def host_with(self, server_id: str) -> hosts.Host:
        """The host of a server; skips the test if it is not named."""
        name = self.host_of(server_id)
        self.skip_unless(
            name in self.known_hosts,
            f'instance {server_id} is on host {name}, which [svirt_nova] '
            f'hosts does not name',
        )
        return self.known_hosts[name]

    def destinations(self) -> list[str]:
        """The names of the hosts that are also named, sorted."""
        return [
            name for name in super().destinations() if name in self.known_hosts
        ]

    def look(self, server_id: str) -> answers.RunningDomain:
        """Look at a running server; fail if it is not behind its level."""
        host = self.host_with(server_id)
        domain = host.running_domain(server_id)
        self.fail_on(
            self.violations(
                [answers.HostState(host.name, running=[domain])],
                self.expected_allocations([domain]),
            )
        )
        return domain

    def level_of(self, server_id: str) -> levels.Level:
        """The level that an instance had when it was first looked at."""
        if server_id not in self.first_levels:
            level = self.look(server_id).level
            # Without a level, looking at the server has failed.
            assert level is not None
            self.first_levels[server_id] = level
        return self.first_levels[server_id]

    def expected_allocations(
        self, domains: Iterable[answers.RunningDomain]
    ) -> list[types.Allocation]:
        """What the allocator should say of running instances.

        That is the level that the process of each had when it was first
        looked at. The allocator itself is asked only where its answer is
        what is tested, since it cannot be asked in every cloud.
        """
        found = []
        for domain in domains:
            level = self.first_levels.get(domain.instance_uuid, domain.level)
            if level is not None:
                found.append(
                    types.Allocation(
                        level=level,
                        instance_uuid=domain.instance_uuid,
                        project_id=None,
                        hosts=frozenset([domain.host]),
                    )
                )
        return found

    # What must hold

    def violations(
        self,
        states: Collection[answers.HostState],
        allocations: Collection[types.Allocation],
        instances: Mapping[str, audit.InstanceView] | None = None,
    ) -> list[str]:
        """Judge what hosts showed.

        :param instances: what Nova says of the instances that it has
            finished an operation on; None while it may be at one
        """
        uuids = {*(instances or ())}
        uuids.update(
            each.instance_uuid for each in allocations if each.instance_uuid
        )
        found = audit.audit(
            allocations,
            [state.view(uuids) for state in states],
            instances,
            is_settled=True,
        )
        return [
            *(fault for state in states for fault in state.faults()),
            *map(str, found),
        ]

    def settle(self, violations: Callable[[], list[str]]) -> None:
        """Wait until nothing is wrong any more; fail with what still is."""
        found: list[str] = []
        for _ in testcase.poll(
            CONF.svirt_nova.settle_timeout, CONF.compute.build_interval
        ):
            found = violations()
            if not found:
                return
        self.fail(
            f'{"; ".join(found)}: still so after '
            f'{CONF.svirt_nova.settle_timeout} s ([svirt_nova] settle_timeout)'
        )

    def settle_host(
        self,
        host: hosts.Host,
        server_id: str,
        instance: audit.InstanceView,
        *,
        with_directories: bool = False,
    ) -> answers.HostState:
        """Wait until a host has a server only if Nova has it there.

        :param instance: what Nova says of the server
        :param with_directories: whether its directory counts, too: hosts may
            share the directory of instances
        :returns: what the host showed at last
        """
        state = answers.HostState(host.name)

        def violations() -> list[str]:
            nonlocal state
            state = answers.HostState(
                host.name,
                domains=host.domain_uuids(),
                directories=host.instance_directories()
                if with_directories
                else (),
            )
            return self.violations([state], [], {server_id: instance})

        self.settle(violations)
        return state

    def settle_allocation(
        self,
        server_id: str,
        instance: audit.InstanceView,
        states: Collection[answers.HostState],
    ) -> None:
        """Wait until the allocator says what Nova and the hosts say.

        Where the allocator cannot be asked, that is not checked.

        :param instance: what Nova says of the server
        :param states: what hosts showed of it
        """
        command = self.label_command
        if command is None:
            return
        level = self.level_of(server_id)
        seen = dataclasses.replace(instance, levels=frozenset([level]))

        def violations() -> list[str]:
            found: types.Allocation | None
            if instance.is_gone:
                # The level may be free by now, or belong to another instance.
                found = command.holder_of(level)
                if found is not None and found.instance_uuid != server_id:
                    found = None
            else:
                found = command.allocation_of(server_id)
            return self.violations(
                states, [] if found is None else [found], {server_id: seen}
            )

        self.settle(violations)

    # The checks after an operation

    def check_running(self) -> None:
        """Check that the subject has the level that it had at first."""
        super().check_running()
        self.domain = self.look(self.server_id)

    def check_offloaded(self) -> None:
        """Check that no host has the subject, and that it keeps its level."""
        super().check_offloaded()
        instance = audit.InstanceView()
        states = [
            self.settle_host(host, self.server_id, instance)
            for host in self.known_hosts.values()
        ]
        self.settle_allocation(self.server_id, instance, states)

    def check_moved_from(self, host: str) -> None:
        """Check that a host has neither a domain of the subject nor a claim.

        The host that Nova has the subject on must have both.
        """
        super().check_moved_from(host)
        destination = self.host_of(self.server_id)
        instance = audit.InstanceView(frozenset([destination]))
        states = [
            self.settle_host(self.known_hosts[name], self.server_id, instance)
            for name in (host, destination)
            if name in self.known_hosts
        ]
        self.settle_allocation(self.server_id, instance, states)

    def check_deleted(self, server_id: str) -> None:
        """Check that its domain, its directory and its level are given up."""
        super().check_deleted(server_id)
        instance = audit.InstanceView(is_gone=True)
        states = [
            self.settle_host(host, server_id, instance, with_directories=True)
            for host in self.known_hosts.values()
        ]
        self.settle_allocation(server_id, instance, states)

    def check_attached(self, volume_id: str) -> None:
        """Check that all files have the level, the volume's among them."""
        super().check_attached(volume_id)
        self.volume_file = answers.volume_file(self.domain, volume_id)

    def check_detached(self, volume_id: str) -> None:
        """Check that the file of the volume has lost the level."""
        super().check_detached(volume_id)
        if self.volume_file is None:
            raise self.skipException(
                f'volume {volume_id} was no file on its host, but a block '
                f'device or a disk over the network: no label on it can be '
                f'seen'
            )
        path = self.volume_file
        if CONF.svirt_nova.volumes_path:
            path = os.path.join(
                CONF.svirt_nova.volumes_path, os.path.basename(path)
            )
        host = self.volumes_host or self.host_with(self.server_id)
        context = host.file_context(path)
        if context is None:
            raise self.skipException(
                f'host {host.name} does not show {path} any more; it may have '
                f'unmounted the share. [svirt_nova] volumes_path and '
                f'volumes_host can say where the file is seen'
            )
        self.fail_on(
            answers.level_left(path, context, self.level_of(self.server_id))
        )

    # What only hosts show

    @decorators.idempotent_id('b0b6414b-8215-4dcd-ae5e-555b139b1ab3')
    def test_levels_apart(self) -> None:
        """No guest of the hosts has a level that contains one of ours."""
        domains = [self.look(self.server_id), self.look(self.bystander)]
        states = [
            answers.HostState(
                host.name,
                running=[each for each in domains if each.host == host.name],
                processes=host.process_contexts(),
            )
            for host in self.known_hosts.values()
        ]
        self.fail_on(
            self.violations(states, self.expected_allocations(domains))
        )

    @decorators.idempotent_id('dce079a0-d8ea-4340-957c-4f173c718b19')
    def test_levels_files(self) -> None:
        """The disks carry the level, and so does the config drive."""
        domain = self.look(self.server_id)
        self.skip_unless(
            domain.files,
            f'no disk of instance {self.server_id} is a file on '
            f'{domain.host}: disks over the network carry no label',
        )
        if CONF.compute_feature_enabled.config_drive:
            names = [os.path.basename(path) for path in domain.files]
            self.assertIn('disk.config', names)

    @decorators.idempotent_id('91d7dd11-a98c-47b0-99e9-99f1c31f9422')
    def test_levels_store(self) -> None:
        """The allocator says of both instances what their hosts show."""
        if self.label_command is None:
            raise self.skipException(
                '[svirt_nova] manage_host is not set: the allocator cannot '
                'be asked'
            )
        for server_id in (self.server_id, self.bystander):
            host = self.host_with(server_id)
            instance = audit.InstanceView(frozenset([host.name]))
            state = answers.HostState(
                host.name, running=[host.running_domain(server_id)]
            )
            self.settle_allocation(server_id, instance, [state])
