# SPDX-License-Identifier: Apache-2.0
"""Whatever step a process dies at, the promise holds.

Each operation runs once to see its steps: calls to the store, to libvirt
and to files. Then, for each of them, it runs again and dies there.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import shutil
import signal
from unittest import mock

import fixtures
import nova.conf
import testtools
from nova import exception as nova_exception
from nova.virt.libvirt.volume import nfs
from testtools import content

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.mcs import contexts
from svirt_nova.virt import remains
from tests import samples
from tests.functional.nova import cloud as clouds
from tests.functional.nova import hypervisor
from tests.functional.nova import libvirt_steps

CONF = nova.conf.CONF


@dataclasses.dataclass(frozen=True)
class Operation:
    """What is done to an instance.

    :param name: what Nova calls it
    :param run: the method of the cloud that is interrupted
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
        'confirm into another cell',
        'confirm_into_cell',
        ('boot', 'resize_into_cell'),
    ),
    Operation(
        'revert from another cell',
        'revert',
        ('boot', 'resize_into_cell'),
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
        'revert on the same host',
        'revert_in_place',
        ('boot', 'resize_in_place'),
    ),
    Operation('rescue', 'rescue'),
    Operation('unrescue', 'unrescue', ('boot', 'rescue')),
    Operation('soft delete', 'delete_softly'),
    Operation('restore', 'restore', ('boot', 'delete_softly')),
    Operation('reclaim', 'delete', ('boot', 'delete_softly')),
    Operation('shelve offload', 'offload'),
    Operation('unshelve', 'unshelve', ('boot', 'offload')),
    Operation(
        'evacuate',
        'evacuate',
        after=('evacuate', 'source_returns'),
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
KILLED = ('spawn', 'delete', 'cold migration')


class _Base(testtools.TestCase):
    def setUp(self):
        super().setUp()
        svirt_nova.conf.register_opts(CONF)
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.files = hypervisor.Files()
        for group, name in (
            (None, 'instances_path'),
            (None, 'host'),
            ('svirt_database', 'connection'),
        ):
            self.addCleanup(CONF.clear_override, name, group=group)
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
        for name, method in vars(libvirt_steps.LibvirtDriver).items():
            if callable(method):
                self.useFixture(
                    fixtures.MonkeyPatch(
                        f'nova.virt.libvirt.driver.LibvirtDriver.{name}',
                        method,
                    )
                )
        self._patch(
            'nova.virt.libvirt.driver.LibvirtDriver._get_volume_driver',
            lambda driver, info: mock.Mock(spec=nfs.LibvirtNFSVolumeDriver),
        )

        self._patch(
            'svirt_nova.host.mounts.file_system',
            lambda path: mock.Mock(is_shared=self.cloud.is_shared),
        )
        self._patch(
            'nova.objects.Instance.get_by_uuid',
            lambda cls, context, uuid: self.cloud.get_by_uuid(uuid),
        )
        self._patch(
            'nova.objects.migration.MigrationList.get_by_filters',
            lambda cls, context, filters: [],
        )
        self._load = base.load
        self._patch(
            'svirt_nova.allocator.base.load',
            lambda conf: hypervisor.WatchedAllocator(
                self.cloud.allocator, self.cloud.steps
            ),
        )

    def _patch(self, name, new):
        self.useFixture(fixtures.MonkeyPatch(name, new))

    def _open(self, is_shared, steps=None):
        """The cloud as its processes find it when they start."""
        root = self.directory / 'cloud'
        root.mkdir(exist_ok=True)
        CONF.set_override(
            'connection',
            f'sqlite:///{root}/levels.sqlite',
            group='svirt_database',
        )
        self.cloud = clouds.Cloud(
            root,
            self._load(CONF),
            is_shared,
            self.files,
            steps or hypervisor.Steps(),
        )
        return self.cloud

    def _close(self):
        engine = self.cloud.allocator._store._engine
        if engine is not None:
            engine.dispose()

    def _prepare(self, operation, is_shared):
        cloud = self._open(is_shared)
        cloud.boot(clouds.NEIGHBOUR)
        for name in operation.before:
            getattr(cloud, name)()
        self._close()
        shutil.copytree(self.directory / 'cloud', self.directory / 'saved')

    def _rewind(self):
        shutil.rmtree(self.directory / 'cloud')
        shutil.copytree(self.directory / 'saved', self.directory / 'cloud')

    def _levels(self):
        """Who has which level; checks what must hold at any moment."""
        cloud = self.cloud
        found = {a.instance_uuid: a for a in cloud.allocator.list()}
        for one, other in itertools.combinations(found.values(), 2):
            self.assertFalse(one.level.is_comparable(other.level))
        for name, host in cloud.hosts.items():
            for domain in host.domains():
                label = domain_xml.read(domain.xml()).label
                self._check_level(found, domain.uuid, name, label)
            for path in sorted(host.instances.glob('*/disk')):
                label = self.files.read(path)
                uuid = path.parent.name.partition('_')[0]
                if label is not None:
                    self._check_level(
                        found, uuid, None if cloud.is_shared else name, label
                    )
        return found

    def _check_level(self, found, uuid, host, label):
        self.assertIn(uuid, found, f'the level of {uuid} is free')
        self.assertEqual(found[uuid].level, label.level)
        if host is None:
            self.assertIsNot(
                types.State.COOLING,
                found[uuid].state,
                f'the level of {uuid} comes free while files have it',
            )
        else:
            self.assertIn(
                host, found[uuid].hosts, f'{host} does not claim {uuid}'
            )

    def _check_claims(self, names):
        """Claims and what hosts have are the same."""
        found = self._levels()
        instances = self.cloud.instances()
        busy = {i.uuid for i in instances if i.task_state}
        gone = {i.uuid for i in instances if i.deleted}
        for name in names:
            self.cloud.on(name)
            present = remains.of_host(self.cloud.hosts[name]).uuids
            # What is left on shared storage belongs to the host that the
            # instance lives on, or to nobody.
            present |= {
                uuid for uuid in self.cloud.leftovers() if uuid in gone
            }
            # The host that an instance lives on keeps its claim even with
            # nothing there: its files may be where others reach them.
            home = {i.uuid for i in instances if i.host == name} - gone
            claimed = {uuid for uuid, a in found.items() if name in a.hosts}
            self.assertEqual(
                set(),
                claimed - present - busy - home,
                f'{name} claims what it has nothing of',
            )

    def _recover(self, operation, is_shared, first):
        """Everything starts again; then the instance is deleted."""
        cloud = self._open(is_shared)
        try:
            up = [n for n in cloud.hosts if n not in operation.down]
            self._levels()
            for name in up:
                cloud.restart(name)
            for name in up:
                cloud.reconcile(name)
            self._check_claims(up)
            for name in operation.after:
                getattr(cloud, name)()
            found = self._levels().get(clouds.VICTIM)
            if first is not None and found is not None:
                self.assertEqual(first, found.level)
            if found is not None and cloud.exists(clouds.VICTIM):
                self.assertIs(types.State.HELD, found.state)
            if cloud.exists(clouds.VICTIM):
                cloud.save(cloud.load(clouds.VICTIM), task_state=None)
                cloud.delete()
            for name in cloud.hosts:
                cloud.clean(name)
                cloud.reconcile(name)
            self._check_claims(cloud.hosts)
            # Nova itself cannot delete a directory beside one that has
            # been renamed, which a crash in a resize leaves.
            cloud.remove_leftovers()
            for name in cloud.hosts:
                cloud.reconcile(name)
            cloud.reap()
            self._check_claims(cloud.hosts)
            self._check_end()
        finally:
            self._close()

    def _check_end(self):
        found = self._levels()
        neighbour = found[clouds.NEIGHBOUR]
        self.assertIs(types.State.HELD, neighbour.state)
        self.assertEqual({'A'}, neighbour.hosts)
        if clouds.VICTIM in found:
            self.assertIs(
                types.State.COOLING,
                found[clouds.VICTIM].state,
                f'leaked: {found[clouds.VICTIM]}',
            )

    def _first_level(self):
        try:
            return self._open(False).allocator.get(clouds.VICTIM).level
        except exception.UnknownInstance:
            return None
        finally:
            self._close()

    def _record(self, operation, is_shared):
        """The steps of an operation that nothing interrupts."""
        self._prepare(operation, is_shared)
        steps = hypervisor.Steps()
        cloud = self._open(is_shared, steps)
        steps.watch = lambda step: self._levels()
        getattr(cloud, operation.run)()
        self._close()
        names = list(steps.names)
        self._recover(operation, is_shared, self._first_level())
        return names

    def _report(self, operation, is_shared, how, results):
        storage = 'shared' if is_shared else 'local'
        table = ''.join(
            f'{operation.name} | {storage} | {how} | {number} | {step} | '
            f'{result}\n'
            for number, (step, result) in enumerate(results)
        )
        self.addDetail(
            f'{operation.name}, {storage}', content.text_content(table)
        )
        path = os.environ.get('SVIRT_NOVA_REPORT')
        if path:
            with open(path, 'a', encoding='utf-8') as file:
                file.write(table)
        failed = [r for r in results if r[1] != 'holds']
        self.assertEqual([], failed)

    def _die_everywhere(self, operation, is_shared, how, interrupt):
        names = self._record(operation, is_shared)
        self._rewind()
        first = self._first_level()
        results = []
        for number, step in enumerate(names):
            self._rewind()
            interrupt(operation, is_shared, number)
            try:
                self._recover(operation, is_shared, first)
            except (
                AssertionError,
                OSError,
                exception.SvirtError,
                nova_exception.NovaException,
            ) as error:
                results.append((step, f'{type(error).__name__}: {error}'))
            else:
                results.append((step, 'holds'))
        self._report(operation, is_shared, how, results)

    def _raise_at(self, operation, is_shared, number):
        cloud = self._open(is_shared, hypervisor.Steps(number))
        try:
            self.assertRaises(hypervisor.Died, getattr(cloud, operation.run))
        finally:
            self._close()

    def _kill_at(self, operation, is_shared, number):
        child = os.fork()
        if child == 0:
            try:
                cloud = self._open(
                    is_shared, hypervisor.Steps(number, kill=True)
                )
                getattr(cloud, operation.run)()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        self.assertTrue(os.WIFSIGNALED(status))
        self.assertEqual(signal.SIGKILL, os.WTERMSIG(status))


class CrashTest(_Base):
    """An exception that nothing may catch ends the process."""


class KillTest(_Base):
    """A process of its own is killed."""


def _add(case, method, how, operation, is_shared):
    def test(self):
        self._die_everywhere(operation, is_shared, how, getattr(self, method))

    storage = 'shared' if is_shared else 'local'
    name = f'test_{operation.name} on {storage} storage'
    setattr(case, name.replace(' ', '_'), test)


for _operation, _shared in itertools.product(OPERATIONS, (False, True)):
    _add(CrashTest, '_raise_at', 'exception', _operation, _shared)
    if _operation.name in KILLED:
        _add(KillTest, '_kill_at', 'SIGKILL', _operation, _shared)
