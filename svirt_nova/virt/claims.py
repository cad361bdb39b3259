# SPDX-License-Identifier: Apache-2.0
"""This host's claims: made first, dropped last, compared with what is.

The driver says when; :mod:`svirt_nova.lifecycle` has the rules by which
they go.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any
from typing import TypeVar

import nova.context
import oslo_messaging
from nova import exception as nova_exception
from nova import objects
from nova import utils as nova_utils
from nova.objects import fields
from nova.objects import migration as migrations
from nova.virt.libvirt import host as libvirt_host
from oslo_concurrency import lockutils
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.lifecycle import adoption
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from svirt_nova.virt import remains

LOG = logging.getLogger(__name__)

Answer = TypeVar('Answer')

LEVEL_KEY = 'svirt_nova_level'
PROJECT_KEY = 'svirt_nova_project_level'
"""Where an instance's system_metadata remembers its levels.

A cache for when the store cannot be reached, never the truth: Nova
replaces the whole of system_metadata when it saves a stale instance.
"""


# What Nova leaves a migration at; a finished resize waits for its
# confirmation. "done" is an evacuation, before the source has cleaned up:
# that is what drops the claim.
_ENDED = frozenset(
    [
        'cancelled',
        'completed',
        'confirmed',
        'done',
        'error',
        'failed',
        'reverted',
    ]
)


# Seconds for which an outage is remembered: a call that can wait is not
# made meanwhile, so that no operation waits for the store twice.
_OUTAGE = 60


# The states of an evacuation that has not failed, until its source has
# cleaned up (ComputeManager._destroy_evacuated_instances). With the last the
# instance has its new host.
_DONE = 'done'
_EVACUATED = ('accepted', 'pre-migrating', _DONE)


def _remembered(instance: Any) -> types.InstanceLevels | None:
    """The levels that an instance had when it was last claimed.

    :raises InvalidLevel: what is remembered is none
    """
    own = instance.system_metadata.get(LEVEL_KEY)
    if not own:
        return None
    shared = instance.system_metadata.get(PROJECT_KEY)
    return types.InstanceLevels(
        levels.Level.parse(own),
        levels.Level.parse(shared) if shared else None,
    )


def _state(instance: Any) -> rules.InstanceState:
    return rules.InstanceState(
        deleted=bool(instance.deleted),
        vm_state=instance.vm_state,
        task_state=instance.task_state,
        host=instance.host,
    )


class HostClaims:
    """The claims of one host.

    :param allocator: who keeps them
    :param name: the host's name, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    :param grace: seconds for which a claim may look stale
    """

    def __init__(
        self,
        allocator: base.Allocator,
        name: str,
        host: Any,
        grace: float,
    ) -> None:
        self._allocator = allocator
        self._name = name
        self._host = host
        self._stale = rules.StaleClaims(grace)
        # The level scheme, when it was last heard of.
        self._scheme: spaces.Scheme | None = None
        # A monotonic time: until then the store counts as away.
        self._away_until = 0.0

    def claim(self, instance: Any) -> types.InstanceLevels:
        """Claim an instance; its levels.

        While the store cannot be reached, an instance that has its domain
        here keeps the level of that domain: it was defined under a claim,
        which only goes after it.

        :raises AllocatorError: there is no level for it
        """
        try:
            held = self._ask(
                self._allocator.acquire,
                instance.uuid,
                instance.project_id,
                self._name,
            ).levels
        except exception.StoreUnreachable as error:
            kept = self._kept_levels(instance)
            if kept is None:
                raise
            held = kept
            LOG.warning(
                'The allocator cannot be reached; the instance keeps the '
                'level %s that its domain has. %s',
                held.own,
                error,
                instance=instance,
            )
        self._remember(instance, LEVEL_KEY, held.own)
        self._remember(instance, PROJECT_KEY, held.project)
        return held

    @staticmethod
    def _remember(instance: Any, key: str, level: levels.Level | None) -> None:
        text = None if level is None else str(level)
        if instance.system_metadata.get(key) == text:
            return
        if text is None:
            del instance.system_metadata[key]
        else:
            instance.system_metadata[key] = text

    def learn(self, space: spaces.LevelSpace) -> None:
        """Remember the level scheme, for when the store is away."""
        self._scheme = space.scheme

    def shares_nothing(self, held: types.InstanceLevels) -> bool:
        """Whether an instance of a sharing project has no part in it.

        Its level was given out before the scheme became ``project``.

        :raises AllocatorError: the scheme is not known
        """
        if held.project is not None:
            return False
        try:
            self._check_not_away()
            self.learn(self._ask(self._allocator.space))
        except exception.StoreUnreachable:
            if self._scheme is None:
                raise
        return self._scheme is spaces.Scheme.PROJECT

    def _kept_levels(self, instance: Any) -> types.InstanceLevels | None:
        try:
            label = remains.defined_label(self._host, instance)
        except nova_exception.NovaException:
            return None
        kept = _remembered(instance)
        if kept is None or label is None or not label.is_given(kept.own):
            return None
        return kept

    def adopt_running_guests(self) -> None:
        """Record the levels of guests that were started without one.

        :raises StoreUnreachable: the allocator does not answer
        """
        xmls = []
        for guest in self._host.list_guests(only_running=True):
            # One that has just gone away is no error.
            with contextlib.suppress(libvirt_host.libvirt.libvirtError):
                xmls.append(guest.get_xml_desc())
        for outcome in adoption.adopt(self._allocator, self._name, xmls):
            if outcome.problem:
                LOG.warning(
                    'Instance %s keeps running at the level %s, which is '
                    'not its own: hard-reboot it to give it one. %s',
                    outcome.instance_uuid,
                    outcome.level,
                    outcome.problem,
                )
            else:
                LOG.info(
                    'Instance %s, started before svirt-nova, holds the '
                    'level %s that it runs with',
                    outcome.instance_uuid,
                    outcome.level,
                )

    def is_gone_for_good(self, instance: Any) -> bool:
        """Whether what is done to an instance here now deletes it."""
        return rules.is_gone_for_good(_state(instance), self._name)

    def settle(self, instance: Any, was_gone: bool = False) -> bool:
        """Drop the claim on an instance if nothing of it is left here.

        Never fails for the allocator: a claim too many is safe, and the
        next :meth:`reconcile` drops it.

        :param was_gone: :meth:`is_gone_for_good` when the call began
        :returns: whether it was dropped
        """
        gone = was_gone or self.is_gone_for_good(instance)
        left = remains.of_instance(self._host, instance)
        if not rules.may_unclaim(left, gone):
            LOG.debug('This host keeps its claim: %s', left, instance=instance)
            return False
        try:
            self._check_not_away()
            self._ask(
                self._allocator.give_back if gone else self._allocator.unclaim,
                instance.uuid,
                self._name,
            )
        except exception.SvirtError as error:
            LOG.warning(
                'The level of the instance stays claimed by this host '
                'although nothing of it is left here; the claim is '
                'dropped later. %s',
                error,
                instance=instance,
            )
            return False
        return True

    def _ask(
        self, call: Callable[..., Answer], *args: Any, **kwargs: Any
    ) -> Answer:
        """Ask the allocator, and remember whether it is away."""
        try:
            answer = call(*args, **kwargs)
        except exception.StoreUnreachable:
            self._away_until = time.monotonic() + _OUTAGE
            raise
        self._away_until = 0.0
        return answer

    def _check_not_away(self) -> None:
        """Refuse, in place of a call that can wait."""
        if time.monotonic() < self._away_until:
            raise exception.StoreUnreachable(
                'the allocator did not answer a moment ago'
            )

    def level_of(self, instance_uuid: str) -> levels.Level | None:
        """The level that an instance, of any host, holds now.

        :returns: None if it holds none
        :raises StoreUnreachable: the allocator does not answer, or did not
            a moment ago
        """
        self._check_not_away()
        try:
            found = self._ask(self._allocator.get, instance_uuid)
        except exception.UnknownInstance:
            return None
        return found.level if found.state is types.State.HELD else None

    def levels_given(self, instance: Any) -> set[levels.Level]:
        """The levels that files of an instance may carry here.

        Those that it remembers, and the one that its domain has: a guest's
        that was adopted is only there.

        :raises SvirtError: what is remembered, or the domain's label, is
            none
        """
        held = _remembered(instance)
        found: set[levels.Level] = set()
        if held is not None:
            found.update(filter(None, (held.own, held.project)))
        try:
            label = remains.label_of(self._host.get_guest(instance))
        except nova_exception.NovaException:
            return found
        if label is not None and label.label is not None:
            found.add(label.label.level)
        return found

    def reconcile(self) -> None:
        """Compare the claims of this host with what it has.

        :raises SvirtError: the allocator does not answer
        :raises OSError: the directories cannot be listed
        """
        claimed = {
            allocation.instance_uuid: allocation
            for allocation in self._ask(self._allocator.list, host=self._name)
            if allocation.instance_uuid is not None
        }
        present = remains.of_host(self._host)
        for uuid in present.uuids - claimed.keys():
            self._claim_missing(uuid, present.domains.get(uuid))
        for uuid in self._stale.find(
            claimed.keys(), present.uuids, time.monotonic()
        ):
            # The lock under which Nova works on an instance: one that is
            # being worked on is looked at again the next time.
            with contextlib.suppress(lockutils.AcquireLockFailedException):
                nova_utils.synchronized(uuid, blocking=False)(
                    self._drop_stale
                )(uuid)

    def _claim_missing(
        self, uuid: str, label: domain_xml.Seclabel | None
    ) -> None:
        try:
            held = self._allocator.get(uuid)
        except exception.UnknownInstance:
            if (
                label is not None
                and label.is_static
                and label.label is not None
            ):
                self._record(uuid, label.label.level)
            return
        assert held.project_id is not None
        self._allocator.acquire(uuid, held.project_id, self._name)
        LOG.warning(
            'This host has something of instance %s and did not claim it; '
            'it does now',
            uuid,
        )

    def _record(self, uuid: str, level: levels.Level) -> None:
        """Tell the store of a level it has lost, as from an old backup."""
        context = nova.context.get_admin_context()
        try:
            instance = objects.Instance.get_by_uuid(context, uuid)
            self._allocator.adopt(uuid, instance.project_id, self._name, level)
        except (
            nova_exception.InstanceNotFound,
            exception.LevelTaken,
            exception.NotInSpace,
        ) as error:
            LOG.error(
                'The domain of instance %s has the level %s, which the '
                'allocator does not know: another instance may get it. '
                'Hard-reboot the instance to give it a level of its own. %s',
                uuid,
                level,
                error,
            )
            return
        LOG.warning(
            'The allocator did not know the level %s of instance %s; it '
            'does now',
            level,
            uuid,
        )

    def may_live_elsewhere(self, instance: Any) -> bool:
        """Whether an instance may run on another host already.

        Nova notes its new host only when an evacuation has ended
        (``ComputeManager.rebuild_instance``); what a host does to files that
        it shares, it does to a guest that runs there.

        :returns: True also when Nova's conductor does not say
        """
        if instance.host != self._name:
            return True
        context = nova.context.get_admin_context(read_deleted='yes')
        try:
            found = migrations.MigrationList.get_by_filters(
                context,
                {
                    'instance_uuid': instance.uuid,
                    'source_compute': self._name,
                    'migration_type': fields.MigrationType.EVACUATION,
                    'status': [*_EVACUATED],
                },
            )
            if any(each.status != _DONE for each in found):
                return True
            # It may have come back since. Or it had not gone when this one
            # was read.
            return bool(found) and (
                objects.Instance.get_by_uuid(context, instance.uuid).host
                != self._name
            )
        except (
            nova_exception.NovaException,
            oslo_messaging.MessagingException,
        ) as error:
            LOG.warning(
                'Nova does not say whether the instance is being evacuated, '
                'so that the labels of its files stay: %s',
                error,
                instance=instance,
            )
            return True

    def _is_migrating(self, context: Any, uuid: str) -> bool:
        """Whether a migration from or to this host has not ended."""
        found = migrations.MigrationList.get_by_filters(
            context, {'instance_uuid': uuid, 'host': self._name}
        )
        return any(each.status not in _ENDED for each in found)

    def _drop_stale(self, uuid: str) -> None:
        context = nova.context.get_admin_context(read_deleted='yes')
        try:
            instance = objects.Instance.get_by_uuid(context, uuid)
        except nova_exception.InstanceNotFound:
            # No evidence that it is gone: it may be in another cell. But
            # nothing of it is here.
            self._allocator.unclaim(uuid, self._name)
            LOG.info('Dropped the stale claim on unknown instance %s', uuid)
            return
        if not instance.deleted and (
            # Such as a live migration to here that has claimed and has no
            # domain yet.
            instance.task_state is not None
            # Its files may be on storage that others share.
            or instance.host == self._name
            or self._is_migrating(context, uuid)
        ):
            return
        if self.settle(instance):
            LOG.info(
                'Dropped the stale claim: this host has had nothing of the '
                'instance for the grace time',
                instance=instance,
            )
