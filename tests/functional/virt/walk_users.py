# SPDX-License-Identifier: Apache-2.0
"""The part of a random walk that users do: instances come, move and go."""

from __future__ import annotations

from tests.functional.virt import walk
from tests.functional.virt.walk import HOSTS
from tests.functional.virt.walk import need


class Users(walk.Walk):
    """What Nova is asked for."""

    # Users: instances come and go

    def boot(self, chance: walk.Chance) -> None:
        host = self.up(chance)
        self.number += 1
        uuid = f'00000000-0000-4000-8000-{self.number:012}'
        hosts = (host, *(n for n in HOSTS if n != host))[: 1 + chance.n % 2]
        if chance.is_bad:
            self.cloud.hosts[host].failing.add(uuid)
        if chance.n % 16 == 1:
            self.cloud.hosts[host].misapplied.add(uuid)
        self.ask('boot', uuid, hosts, int(chance.n % 3 == 0))

    def spawn_again(self, chance: walk.Chance) -> None:
        instance = self.pick(chance, 'shelved_offloaded')
        host = self.up(chance)
        if chance.is_bad:
            self.cloud.hosts[host].failing.add(instance.uuid)
        self.ask('unshelve', instance.uuid, host)

    def delete(self, chance: walk.Chance) -> None:
        instance = self.pick(
            chance,
            'active',
            'error',
            'paused',
            'rescued',
            'resized',
            'shelved_offloaded',
            'soft-delete',
            'stopped',
            'suspended',
            up=chance.one or chance.two,
        )
        if instance.vm_state == 'resized':
            need(all(map(self.cloud.is_up, self.cloud.homes(instance.uuid))))
        self.ask('delete', instance.uuid)

    def delete_softly_or_restore(self, chance: walk.Chance) -> None:
        states = ('soft-delete',) if chance.one else ('active', 'stopped')
        uuid = self.pick_at_home(chance, *states).uuid
        self.ask('restore' if chance.one else 'delete_softly', uuid)

    def reclaim(self, chance: walk.Chance) -> None:
        host = self.up(chance)
        self.begin(self.cloud.compute(host).reclaim, host=host)

    def shelve(self, chance: walk.Chance) -> None:
        uuid = self.pick_at_home(chance, 'active', 'stopped').uuid
        self.ask('offload', uuid)

    # Users: instances stay where they are

    def reboot(self, chance: walk.Chance) -> None:
        instance = self.pick_at_home(chance, 'active', 'error')
        is_soft = chance.one and instance.vm_state == 'active'
        if chance.n % 16 == 1 and instance.host:
            self.cloud.hosts[instance.host].misapplied.add(instance.uuid)
        self.ask('reboot', instance.uuid, 'SOFT' if is_soft else 'HARD')

    def _go_or_return(
        self, chance: walk.Chance, state: str, go: str, back: str
    ) -> None:
        """Bring an active instance into a state, or one in it back."""
        instance = self.pick_at_home(chance, 'active', state)
        is_active = instance.vm_state == 'active'
        self.ask(go if is_active else back, instance.uuid)

    def stop_or_start(self, chance: walk.Chance) -> None:
        self._go_or_return(chance, 'stopped', 'stop', 'start')

    def suspend_or_resume(self, chance: walk.Chance) -> None:
        self._go_or_return(chance, 'suspended', 'suspend', 'resume')

    def pause_or_unpause(self, chance: walk.Chance) -> None:
        self._go_or_return(chance, 'paused', 'pause', 'unpause')

    def rescue_or_unrescue(self, chance: walk.Chance) -> None:
        self._go_or_return(chance, 'rescued', 'rescue', 'unrescue')

    def rebuild(self, chance: walk.Chance) -> None:
        uuid = self.pick_at_home(chance, 'active', 'stopped', 'error').uuid
        self.ask('rebuild', uuid)

    def snapshot(self, chance: walk.Chance) -> None:
        uuid = self.pick_at_home(chance, 'active', 'stopped').uuid
        self.ask('snapshot', uuid)

    def change_volumes(self, chance: walk.Chance) -> None:
        uuid = self.pick_at_home(chance, 'active').uuid
        volumes = self.cloud.database.volumes_of(uuid)
        if not volumes:
            self.ask('attach', uuid)
        else:
            name = 'swap' if chance.one else 'detach'
            self.ask(name, uuid, volumes[chance.n % len(volumes)])

    # Users and operators: instances move

    def resize(self, chance: walk.Chance) -> None:
        instance = self.pick_at_home(chance, 'active', 'stopped')
        but = () if chance.n % 5 == 0 else (instance.host,)
        name = 'migrate'
        if chance.n % 7 == 0 and not self.cloud.is_shared:
            name, but = 'resize_into_cell', (instance.host,)
        host = self.up(chance, *but)
        if chance.is_bad:
            self.cloud.hosts[host].failing.add(instance.uuid)
        self.ask(name, instance.uuid, host)

    def confirm_or_revert(self, chance: walk.Chance) -> None:
        uuid = self.pick_at_home(chance, 'resized').uuid
        need(all(map(self.cloud.is_up, self.cloud.homes(uuid))))
        self.ask('revert' if chance.one else 'confirm', uuid)

    def live_migrate(self, chance: walk.Chance) -> None:
        instance = self.pick_at_home(chance, 'active', 'paused')
        host = self.up(chance, instance.host)
        if chance.is_bad:
            self.cloud.hosts[host].refused.add(instance.uuid)
        self.ask('migrate_live', instance.uuid, host)

    def evacuate(self, chance: walk.Chance) -> None:
        instance = self.pick_at_home(
            chance, 'active', 'stopped', 'error', 'resized', up=False
        )
        host = self.up(chance, instance.host)
        if chance.is_bad:
            self.cloud.hosts[host].failing.add(instance.uuid)
        self.ask('evacuate', instance.uuid, host)

    def archive(self, chance: walk.Chance) -> None:
        gone = [i for i in self.cloud.database.records() if i.deleted]
        need(gone)
        instance = self.cloud.database.load(gone[chance.n % len(gone)].uuid)
        instance.reads_deleted = instance.is_archived = True
        instance.save()
