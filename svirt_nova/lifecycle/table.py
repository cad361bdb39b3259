# SPDX-License-Identifier: Apache-2.0
"""What Nova does to an instance, and what becomes of its level.

The rows are Nova's own behaviour, operation by operation, as its functional
tests showed it. The tests of :mod:`svirt_nova.lifecycle.rules` run every row,
and the contributors' guide prints them.
"""

from __future__ import annotations

import dataclasses
import enum

from svirt_nova.lifecycle import rules

HERE = 'here'
"""The host whose driver is called."""

THERE = 'there'
"""Another host."""


class Claim(enum.StrEnum):
    """What becomes of the claim of the host whose driver is called."""

    CLAIM = 'claim'
    """The level is claimed before anything is written."""

    KEEP = 'keep'
    """The claim stays; the call claims again, which changes nothing."""

    DROP = 'drop'
    """The claim goes, and the level stays with the instance."""

    GIVE_BACK = 'give back'
    """The claim goes, and the level cools once no host claims it."""

    NONE = 'none'
    """No driver is called on any host: the reaper retires the level."""


class Files(enum.StrEnum):
    """What becomes of the labels of files."""

    LABEL = 'label'
    """The files are labelled before the guest starts."""

    KEEP = 'keep'
    """The files keep their labels."""

    RESTORE = 'restore'
    """The label of a volume is taken off while the volume is connected."""

    GONE = 'gone'
    """Nova has deleted the files."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One call of a driver in one of Nova's operations.

    :param operation: what Nova, its user or its operator does
    :param call: the method of the driver that Nova calls
    :param instance: what Nova says of the instance at the call
    """

    operation: str
    call: str
    instance: rules.InstanceState
    claim: Claim
    files: Files

    @property
    def is_ending(self) -> bool:
        """Whether the instance leaves this host with the call."""
        return self.claim in (Claim.DROP, Claim.GIVE_BACK)


def _at(
    vm_state: str,
    task_state: str | None,
    host: str | None = HERE,
    deleted: bool = False,
) -> rules.InstanceState:
    return rules.InstanceState(deleted, vm_state, task_state, host)


ROWS = (
    # The instance comes to this host.
    Row(
        'boot', 'spawn', _at('building', 'spawning'), Claim.CLAIM, Files.LABEL
    ),
    Row(
        'boot that fails, or is rescheduled',
        'destroy',
        _at('building', 'spawning'),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'unshelve',
        'spawn',
        _at('shelved_offloaded', 'spawning', host=None),
        Claim.CLAIM,
        Files.LABEL,
    ),
    Row(
        'evacuate to here',
        'spawn',
        _at('active', 'rebuild_spawning', host=THERE),
        Claim.CLAIM,
        Files.LABEL,
    ),
    Row(
        'cold migration or resize to here',
        'finish_migration',
        _at('active', 'resize_finish'),
        Claim.CLAIM,
        Files.LABEL,
    ),
    Row(
        'resize or cold migration from here: revert',
        'finish_revert_migration',
        _at('resized', 'resize_reverting'),
        Claim.KEEP,
        Files.LABEL,
    ),
    Row(
        'live migration to here',
        'pre_live_migration',
        _at('active', 'migrating', host=THERE),
        Claim.CLAIM,
        Files.KEEP,
    ),
    Row(
        'resize into a cell to here',
        'spawn',
        _at('active', 'resize_finish', host=THERE),
        Claim.CLAIM,
        Files.LABEL,
    ),
    # The instance stays on this host.
    Row(
        'hard reboot',
        '_hard_reboot',
        _at('active', 'rebooting_hard'),
        Claim.KEEP,
        Files.LABEL,
    ),
    Row(
        'soft reboot',
        '_soft_reboot',
        _at('active', 'rebooting'),
        Claim.KEEP,
        Files.KEEP,
    ),
    Row(
        'start',
        'power_on',
        _at('stopped', 'powering-on'),
        Claim.KEEP,
        Files.LABEL,
    ),
    Row(
        'stop',
        'power_off',
        _at('active', 'powering-off'),
        Claim.KEEP,
        Files.KEEP,
    ),
    Row(
        'suspend',
        'suspend',
        _at('active', 'suspending'),
        Claim.KEEP,
        Files.KEEP,
    ),
    Row(
        'resume',
        'resume',
        _at('suspended', 'resuming'),
        Claim.KEEP,
        Files.LABEL,
    ),
    Row(
        'rescue, unrescue',
        'rescue',
        _at('active', 'rescuing'),
        Claim.KEEP,
        Files.LABEL,
    ),
    Row(
        'rebuild: the old domain',
        'destroy',
        _at('active', 'rebuilding'),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'rebuild: the new domain',
        'spawn',
        _at('active', 'rebuild_spawning'),
        Claim.CLAIM,
        Files.LABEL,
    ),
    Row(
        'snapshot',
        'snapshot',
        _at('active', 'image_snapshot'),
        Claim.KEEP,
        Files.KEEP,
    ),
    Row(
        'attach a volume',
        '_connect_volume',
        _at('active', None),
        Claim.KEEP,
        Files.LABEL,
    ),
    Row(
        'detach a volume',
        '_disconnect_volume',
        _at('active', None),
        Claim.KEEP,
        Files.RESTORE,
    ),
    Row(
        'swap a volume',
        'swap_volume',
        _at('active', None),
        Claim.KEEP,
        Files.LABEL,
    ),
    Row(
        'resize or cold migration from here',
        'migrate_disk_and_power_off',
        _at('active', 'resize_migrating'),
        Claim.KEEP,
        Files.KEEP,
    ),
    Row(
        'soft delete',
        'soft_delete',
        _at('active', 'soft-deleting'),
        Claim.KEEP,
        Files.KEEP,
    ),
    Row(
        'restore of a soft-deleted instance',
        'power_on',
        _at('soft-delete', 'restoring'),
        Claim.KEEP,
        Files.LABEL,
    ),
    # The instance leaves this host, and lives on.
    Row(
        'shelve: offload',
        'destroy',
        _at('shelved', 'shelving_offloading'),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'resize or cold migration from here: confirm',
        'confirm_migration',
        _at('resized', None, host=THERE),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'the same, because the server is deleted',
        'confirm_migration',
        _at('resized', 'deleting', host=THERE),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'resize or cold migration to here: revert',
        'destroy',
        _at('resized', 'resize_reverting'),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'resize into a cell from here: confirm',
        'cleanup',
        _at('resized', 'resize_migrated', host=THERE),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'live migration from here',
        'post_live_migration_at_source',
        _at('active', 'migrating'),
        Claim.DROP,
        Files.KEEP,
    ),
    Row(
        'the same, with a directory on storage of this host',
        'cleanup',
        _at('active', 'migrating'),
        Claim.DROP,
        Files.GONE,
    ),
    Row(
        'live migration to here: rollback',
        'rollback_live_migration_at_destination',
        _at('active', 'migrating', host=THERE),
        Claim.DROP,
        Files.KEEP,
    ),
    Row(
        'return of a host that was evacuated',
        'destroy',
        _at('active', None, host=THERE),
        Claim.DROP,
        Files.KEEP,
    ),
    Row(
        'the same, soft-deleted meanwhile',
        'destroy',
        _at('soft-delete', None, host=THERE),
        Claim.DROP,
        Files.KEEP,
    ),
    # The instance is gone for good.
    Row(
        'delete',
        'destroy',
        _at('active', 'deleting'),
        Claim.GIVE_BACK,
        Files.GONE,
    ),
    Row(
        'reclaim of a soft-deleted instance',
        'destroy',
        _at('soft-delete', None),
        Claim.GIVE_BACK,
        Files.GONE,
    ),
    Row(
        'delete while this host was down',
        'destroy',
        _at('deleted', None, deleted=True),
        Claim.GIVE_BACK,
        Files.GONE,
    ),
    Row(
        'the same, without a domain left',
        'delete_instance_files',
        _at('deleted', None, deleted=True),
        Claim.GIVE_BACK,
        Files.GONE,
    ),
    Row(
        'delete after an evacuation from here',
        'destroy',
        _at('deleted', None, host=THERE, deleted=True),
        Claim.GIVE_BACK,
        Files.KEEP,
    ),
    Row(
        'delete that was interrupted after its state was saved',
        'destroy',
        _at('deleted', None, host=THERE),
        Claim.GIVE_BACK,
        Files.GONE,
    ),
    Row(
        'delete of an instance that no host has',
        '(none)',
        _at('error', 'deleting', host=None),
        Claim.NONE,
        Files.GONE,
    ),
)
