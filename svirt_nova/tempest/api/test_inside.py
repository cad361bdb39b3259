# SPDX-License-Identifier: Apache-2.0
"""Levels: what the hosts of a cloud show of its instances.

The hosts are those of [svirt_nova] hosts in tempest.conf. After every
operation, the process and the files of an instance carry the level that
they had at first, and no other guest's level contains it.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable
from collections.abc import Collection
from typing import ClassVar

from tempest.lib import decorators

from svirt_nova import exception
from svirt_nova.mcs import levels
from svirt_nova.tempest import hosts
from svirt_nova.tempest import seen
from svirt_nova.tempest.api import cases
from svirt_nova.tempest.api import operations

CONF = cases.CONF


class InsideTest(operations.Operations, operations.Administration):
    """Tests for clouds whose hosts may be looked at.

    Beside the subject there is the *bystander*, which nothing is done to.
    """

    bystander: ClassVar[str]
    known: ClassVar[dict[str, hosts.Host]]
    allocator: ClassVar[hosts.Manager | None]
    volumes_host: ClassVar[hosts.Host | None]
    first: ClassVar[dict[str, levels.Level]]
    guest: seen.Guest
    volume_file: str | None

    @classmethod
    def skip_checks(cls) -> None:
        """Skip where no host is named.

        :raises InvalidOption: a host is named in a way that is of no use
        """
        super().skip_checks()
        if not CONF.svirt_nova.hosts:
            raise cls.skipException(
                '[svirt_nova] hosts names no host: no level, process or file '
                'can be seen'
            )
        cls.known = hosts.configured(CONF.svirt_nova)
        cls.allocator = hosts.manager(CONF.svirt_nova, cls.known)
        cls.volumes_host = None
        if CONF.svirt_nova.volumes_host:
            cls.volumes_host = hosts.named(
                CONF.svirt_nova.volumes_host, 'volumes_host', cls.known
            )

    @classmethod
    def resource_setup(cls) -> None:
        """Skip where a host cannot be reached; boot both instances."""
        for host in cls.known.values():
            try:
                host.domains()
            except exception.HostUnreachable as error:
                raise cls.skipException(str(error)) from error
        cls.first = {}
        super().resource_setup()
        [cls.bystander] = cls.boot('bystander')

    def setUp(self) -> None:
        """Learn the level that the subject has at first."""
        super().setUp()
        self.level_of(self.server)

    # Looking

    def on_host_of(self, server_id: str) -> hosts.Host:
        """The host that has a server; skips the test if it is not named."""
        name = self.host_of(server_id)
        self.need(
            name in self.known,
            f'instance {server_id} is on host {name}, which [svirt_nova] '
            f'hosts does not name',
        )
        return self.known[name]

    def destinations(self) -> list[str]:
        """Only hosts that may be looked at."""
        return [name for name in super().destinations() if name in self.known]

    def look(self, server_id: str) -> seen.Guest:
        """What the host of a server shows of it, which must be in order."""
        guest = self.on_host_of(server_id).look(server_id)
        self.refuse(guest.faults())
        return guest

    def level_of(self, server_id: str) -> levels.Level:
        """The level that an instance had when it was first looked at."""
        if server_id not in self.first:
            self.first[server_id] = self.look(server_id).level
        return self.first[server_id]

    def settle(self, faults: Callable[[], list[str]]) -> None:
        """Wait until nothing is wrong any more; fail with what still is."""
        found: list[str] = []
        for _ in cases.poll(
            CONF.svirt_nova.settle_timeout, CONF.compute.build_interval
        ):
            found = faults()
            if not found:
                return
        self.fail(
            f'{"; ".join(found)}: still so after '
            f'{CONF.svirt_nova.settle_timeout} s ([svirt_nova] settle_timeout)'
        )

    def settle_gone(
        self, host: hosts.Host, server_id: str, files: bool = False
    ) -> None:
        """Wait until a host has no domain of a server.

        :param files: whether its directory must be gone, too
        """

        def faults() -> list[str]:
            entries = host.instances() if files else frozenset[str]()
            return [
                f'host {host.name}: {fault}'
                for fault in seen.remains(server_id, host.domains(), entries)
            ]

        self.settle(faults)

    def settle_claims(self, server_id: str, claiming: Collection[str]) -> None:
        """Wait until the allocator says what the hosts show.

        Where the allocator cannot be asked, that is not checked.

        :param claiming: the hosts that should claim the server
        """
        allocator = self.allocator
        if allocator is None:
            return
        level = self.level_of(server_id)
        self.settle(
            lambda: allocator.show(server_id).faults(
                server_id, level, claiming
            )
        )

    # What is looked at after an operation

    def check(self) -> None:
        """See that the subject has the level that it had at first."""
        super().check()
        self.guest = self.look(self.server)
        self.assertEqual(
            str(self.level_of(self.server)),
            str(self.guest.level),
            f'instance {self.server} on {self.guest.host} has another level '
            f'than at first',
        )

    def check_offloaded(self) -> None:
        """See that no host has the subject, and that it keeps its level."""
        super().check_offloaded()
        for host in self.known.values():
            self.settle_gone(host, self.server)
        self.settle_claims(self.server, ())

    def check_left(self, source: str) -> None:
        """See that the source has neither its domain nor a claim."""
        super().check_left(source)
        if source in self.known:
            self.settle_gone(self.known[source], self.server)
        self.settle_claims(self.server, {self.host_of(self.server)})

    def check_gone(self, server_id: str) -> None:
        """See that its domain, directory and level are given up."""
        super().check_gone(server_id)
        for host in self.known.values():
            self.settle_gone(host, server_id, files=True)
        allocator = self.allocator
        if allocator is not None:
            level = str(self.level_of(server_id))
            self.settle(lambda: allocator.show(level).still_held(server_id))

    def check_attached(self, volume_id: str) -> None:
        """See that all files have the level, the volume's among them."""
        super().check_attached(volume_id)
        self.volume_file = seen.volume_file(self.guest, volume_id)

    def check_detached(self, volume_id: str) -> None:
        """See that the file of the volume has lost the level."""
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
        host = self.volumes_host or self.on_host_of(self.server)
        carried = host.label(path)
        if carried is None:
            raise self.skipException(
                f'{path} is not on host {host.name} now, as where its share '
                f'was unmounted: [svirt_nova] volumes_path and volumes_host '
                f'can say where it is seen'
            )
        self.refuse(
            seen.still_carried(path, carried, self.level_of(self.server))
        )

    # What only hosts show

    @decorators.idempotent_id('b0b6414b-8215-4dcd-ae5e-555b139b1ab3')
    def test_levels_apart(self) -> None:
        """No guest of the hosts has a level that contains that of ours."""
        guests = [self.look(self.server), self.look(self.bystander)]
        found = seen.overlaps(
            {f'instance {guest.instance}': guest.level for guest in guests}
        )
        for host in self.known.values():
            processes = host.processes()
            for guest in guests:
                found += seen.meetings(guest, host.name, processes)
        self.refuse(found)

    @decorators.idempotent_id('dce079a0-d8ea-4340-957c-4f173c718b19')
    def test_levels_files(self) -> None:
        """The disks carry the level, and so does the config drive."""
        guest = self.look(self.server)
        self.need(
            guest.files,
            f'no disk of instance {self.server} is a file on {guest.host}: '
            f'disks over the network carry no label',
        )
        if CONF.compute_feature_enabled.config_drive:
            names = [os.path.basename(path) for path in guest.files]
            self.assertIn('disk.config', names)

    @decorators.idempotent_id('91d7dd11-a98c-47b0-99e9-99f1c31f9422')
    def test_levels_store(self) -> None:
        """The allocator says of both what their hosts show."""
        if self.allocator is None:
            raise self.skipException(
                '[svirt_nova] manage_host is not set: the allocator cannot '
                'be asked'
            )
        for server_id in (self.server, self.bystander):
            self.settle_claims(server_id, {self.host_of(server_id)})
