# SPDX-License-Identifier: Apache-2.0
"""A cloud whose processes die, start again, and are judged."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
from typing import Any

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from tests.fakes import cloud as fake_cloud
from tests.fakes import level_stores
from tests.fakes import patches
from tests.fakes import processes as fake_processes
from tests.fakes import steps as fake_steps
from tests.fakes import storage as fake_storage
from tests.fakes import views
from tests.functional.virt import operations

VICTIM = operations.VICTIM


class World:
    """What outlives the processes of a cloud, in memory."""

    def __init__(self) -> None:
        self._storage = fake_storage.Memory()
        self._levels = level_stores.MemoryLevels()

    def open(self) -> tuple[fake_storage.Storage, Any]:
        """What processes find when they start."""
        return self._storage, self._levels

    def save(self) -> None:
        """Keep everything as it is, for :meth:`rewind`."""
        self._saved = self._storage.save(), self._levels.save()

    def rewind(self) -> None:
        self._storage.load(self._saved[0])
        self._levels.load(self._saved[1])


class WorldOnDisk:
    """What outlives the processes of a cloud, on a disk.

    :param root: the directory for it
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        (root / 'now').mkdir()

    def open(self) -> tuple[fake_storage.Storage, Any]:
        return (
            fake_storage.Disk(self._root / 'now'),
            level_stores.SqlLevels(self._root / 'now' / 'levels.sqlite'),
        )

    def save(self) -> None:
        shutil.copytree(self._root / 'now', self._root / 'saved')

    def rewind(self) -> None:
        shutil.rmtree(self._root / 'now')
        shutil.copytree(self._root / 'saved', self._root / 'now')


class CrashTestCase(testtools.TestCase):
    """Lets an operation die at each of its steps."""

    def setUp(self) -> None:
        super().setUp()
        self.below = self.useFixture(patches.BelowTheDriver())

    def make_world(self) -> Any:
        return World()

    def make_world_on_disk(self) -> Any:
        made = fixtures.TempDir(rootdir=level_stores.MEMORY)
        return WorldOnDisk(pathlib.Path(self.useFixture(made).path))

    # A cloud

    def open(self, steps: fake_steps.Steps | None = None) -> operations.Script:
        """Start the processes of the cloud."""
        storage, levels = self.world.open()
        self.addCleanup(levels.close)
        self.levels = levels
        self.cloud = self.below.cloud = fake_cloud.Cloud(
            storage,
            levels.allocator,
            fake_processes.Inline(),
            steps or fake_steps.Countdown(),
            is_shared=self.is_shared,
        )
        return operations.Script(self.cloud)

    def close(self) -> None:
        self.levels.close()

    def prepare(self, operation: operations.Operation, world: Any) -> None:
        """Make the world as it is when the operation begins."""
        self.world = world
        script = self.open()
        script.boot_neighbour()
        for name in operation.before:
            getattr(script, name)()
        self.first = self._level()
        self.close()
        world.save()

    def _level(self) -> Any:
        try:
            return self.cloud.allocator.get(VICTIM).level
        except exception.UnknownInstance:
            return None

    # Judgement

    def judge(self, *hosts: str, is_at_rest: bool = False) -> None:
        """Check what must always hold.

        :param hosts: those that are looked at; none for all
        :param is_at_rest: whether all of these have cleaned up
        """
        cloud = self.cloud
        busy = {i.uuid for i in cloud.database.records() if i.task_state}
        if self.first is not None:
            cloud.faults.levels[VICTIM].add(self.first)
        allocations = cloud.allocator.list()
        found = audit.audit(
            allocations,
            views.of_hosts(cloud, allocations, hosts or None),
            views.of_instances(cloud, busy.__contains__),
            is_at_rest=is_at_rest,
        )
        if found:
            raise AssertionError('; '.join(map(str, found)))

    # Recovery

    def recover(self, operation: operations.Operation) -> None:
        """Everything starts again; then the instance is deleted."""
        script = self.open()
        cloud = self.cloud
        up = [name for name in cloud.hosts if name not in operation.down]
        cloud.processes.down.update(operation.down)
        self.judge()
        for name in up:
            cloud.restart(name)
            cloud.reconcile(name)
        for name in up:
            cloud.reconcile(name)
        cloud.reap()
        self.judge(*up, is_at_rest=True)
        for name in operation.after:
            getattr(script, name)()
        self.judge()
        cloud.processes.down.clear()
        if cloud.is_known(VICTIM):
            instance = cloud.database.load(VICTIM)
            instance.task_state = None
            instance.save()
            script.delete()
        for name in cloud.hosts:
            cloud.clean(name)
            cloud.reconcile(name)
        cloud.reap()
        self.judge(is_at_rest=True)
        # Nova itself cannot delete a directory beside one that has been
        # renamed, which a crash in a resize leaves.
        for name in cloud.hosts:
            cloud.tidy(name, lambda uuid: uuid != VICTIM)
        for name in cloud.hosts:
            cloud.reconcile(name)
        cloud.reap()
        self.judge(is_at_rest=True)
        self._check_end()
        self.close()

    def _check_end(self) -> None:
        """Check that the neighbour has all that it had.

        The level of the instance cools, so that nobody has got it.
        """
        self.assertEqual(
            {'A'}, self.cloud.allocator.get(operations.NEIGHBOUR).hosts
        )
        try:
            found = self.cloud.allocator.get(VICTIM)
        except exception.UnknownInstance:
            self.assertIsNone(self.first)
            return
        self.assertIs(types.State.COOLING, found.state)
        if self.first is not None:
            self.assertEqual(self.first, found.level)

    # Ends

    def raise_at(self, operation: operations.Operation, number: int) -> None:
        """End the operation by an exception that nothing may catch."""
        script = self.open(fake_steps.Countdown(number))
        try:
            getattr(script, operation.run)()
        except fake_steps.Died:
            return
        finally:
            self.close()
        raise AssertionError(f'step {number} was not reached')

    def kill_at(self, operation: operations.Operation, number: int) -> None:
        """Kill a process that does the operation."""
        child = os.fork()
        if child == 0:
            try:
                script = self.open(fake_steps.Countdown(number, kill=True))
                getattr(script, operation.run)()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        self.assertTrue(os.WIFSIGNALED(status))
        self.assertEqual(signal.SIGKILL, os.WTERMSIG(status))
