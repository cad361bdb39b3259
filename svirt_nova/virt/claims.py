# SPDX-License-Identifier: Apache-2.0
"""The claims of this host: made first and dropped last.

The driver says when; :mod:`svirt_nova.lifecycle.rules` has the rules by
which claims go, and :mod:`svirt_nova.virt.reconcile` compares claims with
what the host has.
"""

from __future__ import annotations

from typing import Any

from nova import exception as nova_exception
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from svirt_nova.virt import outages
from svirt_nova.virt import remains

LOG = logging.getLogger(__name__)

LEVEL_KEY = 'svirt_nova_level'
PROJECT_KEY = 'svirt_nova_project_level'
"""Where the system_metadata of an instance remembers its levels.

They are for the time when the store cannot be reached, and never the truth:
Nova replaces the whole of system_metadata when it saves a stale record.
"""


def remembered_levels(instance: Any) -> types.InstanceLevels | None:
    """The levels that an instance had when it was last claimed.

    :raises InvalidLevel: what is remembered is not a level
    """
    own = instance.system_metadata.get(LEVEL_KEY)
    if not own:
        return None
    shared = instance.system_metadata.get(PROJECT_KEY)
    return types.InstanceLevels(
        levels.Level.parse(own),
        levels.Level.parse(shared) if shared else None,
    )


def _remember(instance: Any, key: str, level: levels.Level | None) -> None:
    text = None if level is None else str(level)
    if instance.system_metadata.get(key) == text:
        return
    if text is None:
        del instance.system_metadata[key]
    else:
        instance.system_metadata[key] = text


class HostClaims:
    """The claims of one host.

    :param allocator: keeps the claims
    :param host_name: the name of the host, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    :param outage: remembers when the allocator did not answer
    """

    def __init__(
        self,
        allocator: base.Allocator,
        host_name: str,
        host: Any,
        outage: outages.OutageMemory,
    ) -> None:
        self._allocator = allocator
        self._host_name = host_name
        self._host = host
        self._outage = outage
        # The level scheme, as it was last heard of.
        self._scheme: spaces.Scheme | None = None

    def claim(self, instance: Any) -> types.InstanceLevels:
        """Claim an instance for this host, and give its levels.

        While the store cannot be reached, an instance that has its domain
        here keeps the level of that domain: the domain was defined under a
        claim, which is only dropped after it.

        :raises AllocatorError: there is no level for the instance
        """
        try:
            held = self._outage.ask(
                self._allocator.acquire,
                instance.uuid,
                instance.project_id,
                self._host_name,
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
        _remember(instance, LEVEL_KEY, held.own)
        _remember(instance, PROJECT_KEY, held.project)
        return held

    def _kept_levels(self, instance: Any) -> types.InstanceLevels | None:
        """The levels that an instance remembers and its domain has."""
        try:
            label = remains.defined_label(self._host, instance)
        except nova_exception.NovaException:
            return None
        kept = remembered_levels(instance)
        if kept is None or label is None or not label.is_given(kept.own):
            return None
        return kept

    def learn(self, space: spaces.LevelSpace) -> None:
        """Remember the level scheme, for when the store is away."""
        self._scheme = space.scheme

    def shares_nothing(self, held: types.InstanceLevels) -> bool:
        """Whether a level has no part that its project shares.

        In the scheme ``project`` that is so when the level was given out
        before the scheme was changed.

        :raises AllocatorError: the scheme is not known
        """
        if held.project is not None:
            return False
        try:
            self.learn(self._outage.ask_if_up(self._allocator.space))
        except exception.StoreUnreachable:
            if self._scheme is None:
                raise
        return self._scheme is spaces.Scheme.PROJECT

    def is_gone_for_good(self, instance: Any) -> bool:
        """Whether what is being done to an instance here deletes it."""
        return rules.is_gone_for_good(
            rules.InstanceState(
                deleted=bool(instance.deleted),
                vm_state=instance.vm_state,
                task_state=instance.task_state,
                host=instance.host,
            ),
            self._host_name,
        )

    def settle(self, instance: Any, was_gone: bool = False) -> bool:
        """Drop the claim on an instance if nothing of it is left here.

        The allocator never makes this fail: a claim too many is safe, and
        the next reconciliation drops it.

        :param was_gone: :meth:`is_gone_for_good` when the call began
        :returns: whether the claim was dropped
        """
        gone = was_gone or self.is_gone_for_good(instance)
        left = remains.of_instance(self._host, instance)
        if not rules.may_unclaim(left, gone):
            LOG.debug('This host keeps its claim: %s', left, instance=instance)
            return False
        try:
            self._outage.ask_if_up(
                self._allocator.give_back if gone else self._allocator.unclaim,
                instance.uuid,
                self._host_name,
            )
        except exception.SvirtError as error:
            LOG.warning(
                'Host %s keeps its claim on the level of the instance for '
                'now, although nothing of the instance is left here. The '
                'claim is dropped at a later reconciliation. %s',
                self._host_name,
                error,
                instance=instance,
            )
            return False
        return True

    def is_held(self, level: levels.Level) -> bool:
        """Whether some instance may run with a level.

        :raises AllocatorError: the allocator does not say
        """
        return self._outage.ask_if_up(self._allocator.is_held, level)

    def levels_given(self, instance: Any) -> set[levels.Level]:
        """The levels that files of an instance may carry here.

        They are those that the instance remembers, and the one that its
        domain has: only there is the level of a guest that was adopted.

        :raises SvirtError: what is remembered, or the domain's label, is
            not a level
        """
        held = remembered_levels(instance)
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
