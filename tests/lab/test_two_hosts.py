# SPDX-License-Identifier: Apache-2.0
"""Two enforcing hosts on one labelled storage.

First Nova's own driver, with which one guest opens another's files across
hosts; then, for the same instances, ours. The tests share the instances and
go by their names' order.
"""

from __future__ import annotations

import typing
from typing import Any

from tests.lab import acts
from tests.lab import cloud as clouds
from tests.lab import evacuation
from tests.lab import isolation
from tests.lab import moves
from tests.lab import storage
from tests.lab import stored_files
from tests.lab.case import LabTestCase
from tests.lab.forgery import Forger
from tests.lab.progress import Progress
from tests.lab.targets import Target

#: What each instance has: its disk, its volume, its config drive.
FILES = 3


class TwoHostsTest(LabTestCase):
    #: In all: two instances pass each other. Those of test_migrations go there
    #: and back.
    migrations: typing.ClassVar[int] = 2
    #: On the first host, and on the second.
    ann: Any
    bob: Any
    #: The level of each instance under our driver, by UUID.
    first: typing.ClassVar[dict[str, str]] = {}
    #: What the policy refuses a guest with Nova's own driver too.
    usual: typing.ClassVar[set[isolation.Kind]] = set()
    #: How long all migrations took together.
    elapsed: typing.ClassVar[list[float]] = []

    @classmethod
    def make_cloud(cls) -> clouds.Cloud:
        return clouds.Cloud(
            Progress(), hosts=2, driver=clouds.NOVA_DRIVER, volumes=True
        )

    @classmethod
    def prepare(cls) -> None:
        cls.ann, cls.bob = acts.one_on_each_host(cls.cloud, ['ann', 'bob'])

    @property
    def servers(self) -> list[Any]:
        return [self.ann, self.bob]

    def check_attack(self) -> None:
        """Each guest on each host opens its own files, and no other's."""
        assault = acts.attack(self.cloud, self.servers)
        self.assertEqual([], assault.faults)
        counts = assault.attack.counts()
        self.assertEqual(2 * FILES, counts['own_opened'])
        self.assertEqual(2 * FILES, counts['foreign_denied'])
        self.assertEqual(2 * FILES, assault.denials)

    def check_levels(self) -> None:
        levels = acts.show_levels(self.cloud, self.servers)
        self.assertEqual([], levels.faults)
        self.assertEqual(
            self.first, {each.uuid: each.level for each in levels.instances}
        )
        _, faults = stored_files.labels_on_server(self.cloud, levels.instances)
        self.assertEqual([], faults)

    def test_1_with_one_level_a_guest_opens_files_of_another_host(
        self,
    ) -> None:
        acts.share_a_level(self.cloud, self.ann, self.bob)
        outcome, _ = acts.try_all(
            self.cloud, self.servers, acts.look(self.cloud)
        )
        self.assertEqual([], outcome.errors())
        self.assertEqual(2 * FILES, outcome.counts()['foreign_opened'])
        self.usual.update(acts.usual_denials(self.cloud, outcome))

    def test_2_the_same_instances_get_levels_of_their_own(self) -> None:
        acts.take_over(self.cloud)
        for server in self.servers:
            self.cloud.api.compute.reboot_server(server, 'HARD')
        for server in self.servers:
            self.cloud.wait_active(server)
        levels = acts.show_levels(self.cloud, self.servers)
        self.first.update({each.uuid: each.level for each in levels.instances})
        self.check_levels()

    def test_2_computes_have_no_password_of_the_levels_store(self) -> None:
        for host in self.cloud.hosts:
            self.assertNotIn('mysql', host.run('cat /etc/nova/nova.conf'))

    def test_3_each_guest_opens_its_own_files_alone_on_either_host(
        self,
    ) -> None:
        self.check_attack()

    def test_4_a_guest_that_migrates_keeps_its_level_and_its_files(
        self,
    ) -> None:
        journey = moves.wander(
            self.cloud,
            self.servers,
            self.servers,
            self.migrations // len(self.servers),
            self.usual,
        )
        self.elapsed.append(journey.elapsed)
        progress = self.cloud.progress
        progress.say(
            f'{len(journey.seconds)} migrations in {journey.elapsed} s: '
            f'{journey.seconds}; {journey.samples}; {journey.stored}'
        )
        self.assertEqual([], journey.during.faults + journey.faults)
        self.assertLessEqual(journey.samples.usual_gap(), 1.0)
        self.assertEqual(self.migrations, len(journey.seconds))
        for hosts in journey.hosts.values():
            self.assertEqual(
                self.migrations // len(self.servers) + 1, len(hosts)
            )
        # Both QEMUs of ann, and the one of bob.
        counts = journey.during.attack.counts()
        self.assertEqual(3 * FILES, counts['own_opened'])
        self.assertEqual(3 * FILES, counts['foreign_denied'])
        self.assertEqual(0, counts['foreign_opened'])
        self.check_levels()

    def test_5_a_guest_with_a_forged_header_stays_where_it_is(self) -> None:
        source = moves.home_of(self.cloud, self.ann)
        disk = f'{storage.INSTANCES}/{self.ann.id}/disk'
        victim = f'{storage.INSTANCES}/{self.bob.id}/disk'
        forger = Forger(source)
        self.addCleanup(forger.restore)
        before = forger.look([victim])[victim]
        pid = self.pid_on(source, self.ann)
        for target in (Target.below(victim, 'qcow2'), Target.beside(victim)):
            forger.forge({(self.ann.id, disk): target})
            mark = forger.mark()
            self.cloud.api.compute.live_migrate_server(
                self.ann,
                host=moves.other(self.cloud, source).name,
                block_migration='auto',
            )
            found = self.cloud.wait_idle(self.ann)
            self.assertEqual(
                ('ACTIVE', source.name), (found.status, found.compute_host)
            )
            told = forger.told(mark, self.ann)
            self.assertTrue(target.is_told_in(told), told)
        self.assertEqual(pid, self.pid_on(source, self.ann))
        after = forger.look([victim])[victim]
        for name in ('context', 'uid', 'gid', 'mode', 'inode'):
            # Its own guest goes on writing.
            self.assertEqual(before[name], after[name], name)

    @staticmethod
    def pid_on(host: Any, server: Any) -> int:
        """Give the process of an instance that runs on a host."""
        [pid] = [
            domain['pid']
            for domain in host.probe('look')
            if domain['uuid'] == server.id
        ]
        return int(pid)

    def test_5_each_guest_opens_its_own_files_alone_after_migrations(
        self,
    ) -> None:
        self.check_attack()

    def test_6_a_guest_loses_no_write_on_its_way(self) -> None:
        [elapsed] = self.elapsed
        for writes in moves.read_writes(self.cloud, self.servers):
            self.assertEqual([], writes.faults)
            # One a second at least, or it did not write all the way. A host
            # that is quicker migrates sooner, so it has fewer writes in all.
            self.assertGreater(writes.last, elapsed)

    def test_6_the_disk_that_nova_copied_has_the_level(self) -> None:
        # There and back: a host must not go on with the copy it once had.
        for _ in range(2):
            moves.migrate_cold(self.cloud, self.ann)
            self.check_levels()

    def test_7_an_evacuated_instance_keeps_its_level_when_the_host_returns(
        self,
    ) -> None:
        # The storage server stays.
        evacuee = next(
            each
            for each in self.servers
            if moves.home_of(self.cloud, each) is self.cloud.hosts[1]
        )
        found = evacuation.evacuate(
            self.cloud, self.servers, [(evacuee, evacuation.End.BY_NOVA)]
        )
        self.cloud.progress.say(f'evacuation: {found.stored}')
        self.assertEqual([], found.faults)
        here, there = (host.name for host in self.cloud.hosts)
        self.assertEqual(
            {evacuee.id: [[there], [here, there], [here]]}, found.claims
        )
        self.check_levels()
        self.check_attack()

    def test_8_deletion_retires_the_levels(self) -> None:
        departure = acts.depart(self.cloud, self.servers)
        self.assertEqual([], departure.faults)
        self.assertEqual(2, len(departure.states))
        left = self.host.run(f'ls {storage.SHARED_INSTANCES}')
        for server in self.servers:
            self.assertNotIn(server.id, left)
        volumes = list(self.cloud.api.block_storage.volumes())
        self.assertEqual(2, len(volumes))
        for volume in volumes:
            path = f'{storage.VOLUMES}/volume-{volume.id}'
            [context] = self.host.probe('contexts', path).values()
            self.assertEqual(
                frozenset(),
                isolation.categories(isolation.level_of(context)),
            )
