# SPDX-License-Identifier: Apache-2.0
"""What is done to one instance, and what must have been done before."""

from __future__ import annotations

import dataclasses

from tests.fakes import cloud as fake_cloud

VICTIM = '11111111-1111-4111-8111-111111111111'
NEIGHBOUR = '22222222-2222-4222-8222-222222222222'


@dataclasses.dataclass(frozen=True)
class Operation:
    """What is done to an instance.

    :param name: what Nova calls it
    :param run: the method of :class:`Script` that is interrupted
    :param before: those that lead up to it
    :param after: those that the operator tries again afterwards
    :param down: the hosts that are down until then
    """

    name: str
    run: str
    before: tuple[str, ...] = ('boot',)
    after: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


OPERATIONS = (
    Operation('spawn', 'boot', ()),
    Operation('spawn with volume', 'boot_with_volume', ()),
    Operation('spawn at another level', 'boot_at_another_level', ()),
    Operation('delete', 'delete'),
    Operation('delete with volume', 'delete', ('boot_with_volume',)),
    Operation(
        'delete while the host was down',
        'return_and_clean',
        ('boot', 'delete_unseen'),
    ),
    Operation('hard reboot', 'reboot', ('boot_with_volume',)),
    Operation('rebuild', 'rebuild'),
    Operation('cold migration', 'migrate', ('boot_with_volume',)),
    Operation('confirm', 'confirm', ('boot', 'migrate')),
    Operation('revert', 'revert', ('boot', 'migrate')),
    Operation('delete while resized', 'delete', ('boot', 'migrate')),
    Operation('live migration', 'migrate_live', ('boot_with_volume',)),
    Operation('failed live migration', 'fail_to_migrate_live'),
    Operation('resize into another cell', 'resize_into_cell'),
    Operation(
        'confirm into another cell', 'confirm', ('boot', 'resize_into_cell')
    ),
    Operation(
        'revert from another cell', 'revert', ('boot', 'resize_into_cell')
    ),
    Operation('stop', 'stop', ('boot_with_volume',)),
    Operation('start', 'start', ('boot_with_volume', 'stop')),
    Operation('soft reboot', 'reboot_softly', ('boot_with_volume',)),
    Operation('suspend', 'suspend'),
    Operation('resume', 'resume', ('boot', 'suspend')),
    Operation('cold snapshot', 'snapshot'),
    Operation('failed spawn and reschedule', 'fail_to_boot', ()),
    Operation('resize on the same host', 'resize_in_place'),
    Operation(
        'confirm on the same host', 'confirm', ('boot', 'resize_in_place')
    ),
    Operation(
        'revert on the same host', 'revert', ('boot', 'resize_in_place')
    ),
    Operation('rescue', 'rescue'),
    Operation('unrescue', 'unrescue', ('boot', 'rescue')),
    Operation('soft delete', 'delete_softly'),
    Operation('restore', 'restore', ('boot', 'delete_softly')),
    Operation('reclaim', 'reclaim', ('boot', 'delete_softly')),
    Operation('force delete', 'delete', ('boot', 'delete_softly')),
    Operation('shelve offload', 'offload'),
    Operation('unshelve', 'unshelve', ('boot', 'offload')),
    Operation(
        'evacuate',
        'evacuate',
        after=('evacuate_again', 'source_returns'),
        down=('A',),
    ),
    Operation(
        'return of the evacuated host', 'source_returns', ('boot', 'evacuate')
    ),
    Operation(
        'return after deletion',
        'source_returns',
        ('boot', 'evacuate', 'delete'),
    ),
    Operation('volume attach', 'attach'),
    Operation('volume detach', 'detach', ('boot', 'attach')),
    Operation('volume swap', 'swap', ('boot', 'attach')),
)


class Script:
    """Does it in a cloud of two hosts, A and B."""

    def __init__(self, cloud: fake_cloud.Cloud) -> None:
        self._cloud = cloud
        self._api = cloud.api

    def boot_neighbour(self) -> None:
        self._api.boot(NEIGHBOUR, ('A',))

    def boot(self) -> None:
        self._api.boot(VICTIM, ('A',))

    def boot_with_volume(self) -> None:
        self._api.boot(VICTIM, ('A',), volumes=1)

    def boot_at_another_level(self) -> None:
        """The guest runs at another level than libvirt was told."""
        self._cloud.hosts['A'].misapplied.add(VICTIM)
        self._api.boot(VICTIM, ('A',))

    def fail_to_boot(self) -> None:
        """The build fails late on A and is done again on B."""
        self._cloud.hosts['A'].failing.add(VICTIM)
        self._api.boot(VICTIM, ('A', 'B'))

    def delete(self) -> None:
        self._api.delete(VICTIM)

    def delete_unseen(self) -> None:
        """While its host is down."""
        self._cloud.processes.down.add('A')
        self._api.delete(VICTIM)

    def return_and_clean(self) -> None:
        self._cloud.clean('A')

    def delete_softly(self) -> None:
        self._api.delete_softly(VICTIM)

    def restore(self) -> None:
        self._api.restore(VICTIM)

    def reclaim(self) -> None:
        with self._cloud.processes.on('A'):
            self._cloud.compute('A').reclaim()

    def reboot(self) -> None:
        self._api.reboot(VICTIM, 'HARD')

    def reboot_softly(self) -> None:
        self._api.reboot(VICTIM, 'SOFT')

    def rebuild(self) -> None:
        self._api.rebuild(VICTIM)

    def migrate(self) -> None:
        self._api.migrate(VICTIM, 'B')

    def resize_in_place(self) -> None:
        self._api.migrate(VICTIM, 'A')

    def confirm(self) -> None:
        self._api.confirm(VICTIM)

    def revert(self) -> None:
        self._api.revert(VICTIM)

    def resize_into_cell(self) -> None:
        self._api.resize_into_cell(VICTIM, 'B')

    def migrate_live(self) -> None:
        self._api.migrate_live(VICTIM, 'B')

    def fail_to_migrate_live(self) -> None:
        self._cloud.hosts['B'].refused.add(VICTIM)
        self._api.migrate_live(VICTIM, 'B')

    def evacuate(self) -> None:
        if self._cloud.database.load(VICTIM).host == 'A':
            self._cloud.processes.down.add('A')
            self._api.evacuate(VICTIM, 'B')

    def evacuate_again(self) -> None:
        """After the operator has removed what the first try has left."""
        self._cloud.tidy('B', lambda uuid: uuid != VICTIM)
        self.evacuate()

    def source_returns(self) -> None:
        self._cloud.processes.down.discard('A')
        self._cloud.restart('A')

    def stop(self) -> None:
        self._api.stop(VICTIM)

    def start(self) -> None:
        self._api.start(VICTIM)

    def suspend(self) -> None:
        self._api.suspend(VICTIM)

    def resume(self) -> None:
        self._api.resume(VICTIM)

    def snapshot(self) -> None:
        self._api.snapshot(VICTIM)

    def rescue(self) -> None:
        self._api.rescue(VICTIM)

    def unrescue(self) -> None:
        self._api.unrescue(VICTIM)

    def offload(self) -> None:
        self._api.offload(VICTIM)

    def unshelve(self) -> None:
        self._api.unshelve(VICTIM, 'B')

    def attach(self) -> None:
        self._api.attach(VICTIM)

    def detach(self) -> None:
        [volume] = self._cloud.database.volumes_of(VICTIM)
        self._api.detach(VICTIM, volume)

    def swap(self) -> None:
        [volume] = self._cloud.database.volumes_of(VICTIM)
        self._api.swap(VICTIM, volume)
