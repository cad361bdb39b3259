# SPDX-License-Identifier: Apache-2.0
"""The end of a random walk: all goes on without trouble until it rests."""

from __future__ import annotations

from svirt_nova.allocator import types
from svirt_nova.lifecycle import reaper
from svirt_nova.mcs import contexts
from tests.fakes import domain_records
from tests.fakes import level_stores
from tests.functional.virt import walk
from tests.functional.virt import walk_events


class Resting(walk_events.Events):
    """Comes to rest; then nothing may have leaked."""

    def run_out(self) -> None:
        """Let all operations go on until they are over."""
        while self.processes.tasks:
            task = next(t for t in self.processes.tasks if t.can_go_on)
            self.processes.advance(task)
        self.check()

    def come_to_rest(self) -> None:
        cloud = self.cloud
        cloud.faults.is_away = False
        while cloud.faults.late:
            self.deliver(0)
        self.run_out()
        for name in walk.HOSTS:
            # Also those that are up: nothing else takes up a deletion
            # whose other host went away.
            self.end(name, loses_power=False)
            self.start(name)
            self.run_out()
        for instance in cloud.database.instances():
            cloud.reset(instance.uuid)
            if instance.queued_for_delete and not instance.deleted:
                self.ask('delete', instance.uuid)
        self.run_out()
        for name in walk.HOSTS:
            self.begin(cloud.clean, name, host=name)
            self.run_out()
            # The reaper trusts no Nova that hides what is claimed.
            cloud.tidy(name, self.processes.is_busy_with)
        for _ in range(3):
            for name in walk.HOSTS:
                self.begin(cloud.reconcile_if_due, name, host=name)
                self.run_out()
            self.wait(walk.GRACE + walk.INTERVAL)
        # An operator says which cloud it is, and that Nova is right where no
        # instance is left that it could show.
        cloud.allocator.meet_cloud(cloud.check(), replaces=True)
        reaper.retire(
            cloud.allocator,
            reaper.find(
                cloud.allocator,
                cloud,
                sleep=lambda seconds: None,
                needs_controls=any(a.hosts for a in cloud.allocator.list()),
            ),
        )
        self.check(is_at_rest=True)
        self._check_that_guests_can_use_their_files()
        self.wait(level_stores.COOLING + 1)
        self._check_that_levels_come_free()

    def _check_that_guests_can_use_their_files(self) -> None:
        """Check the files of all guests that run.

        Some run on two hosts: where nobody fenced the first one, both are the
        same instance, at the same level.
        """
        for host in self.cloud.hosts.values():
            for uuid, record in host.records().items():
                if record.live is None:
                    continue
                labels = domain_records.labels_of(record.live)
                for path in labels.files:
                    text = self.cloud.storage.read(path)
                    level = contexts.Context.parse(text).level
                    assert level == labels.level, (
                        f'{uuid} runs at {labels.level} on {host.name} and '
                        f'cannot use {path}, which is at {level}'
                    )

    def _check_that_levels_come_free(self) -> None:
        for allocation in self.cloud.allocator.list():
            assert allocation.instance_uuid is not None
            assert self.cloud.is_known(allocation.instance_uuid), (
                f'{allocation} is not free though its instance is gone'
            )
            assert allocation.state is types.State.HELD, allocation
