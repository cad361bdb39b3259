# SPDX-License-Identifier: Apache-2.0
"""The claims of this host: made first and dropped last.

The driver says when; :mod:`svirt_nova.lifecycle.rules` has the rules by
which claims go, and :mod:`svirt_nova.virt.reconcile` compares claims with
what the host has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova import exception as nova_exception

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from svirt_nova.virt import outages
from svirt_nova.virt import own_claims
from svirt_nova.virt import remains
from svirt_nova.virt import seen_generation

LOG = logs.get_logger(__name__)

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
    :param seen: the newest generation of the store that the host has seen
    """

    def __init__(
        self,
        allocator: base.Allocator,
        host_name: str,
        host: Any,
        outage: outages.OutageMemory,
        seen: seen_generation.SeenGeneration,
    ) -> None:
        self._allocator = allocator
        self._host_name = host_name
        self._host = host
        self._outage = outage
        self._seen = seen
        self.own = own_claims.OwnClaims()
        # The level scheme, as it was last heard of.
        self._scheme: spaces.Scheme | None = None

    def claim(self, instance: Any) -> types.InstanceLevels:
        """Claim an instance for this host, and give its levels.

        The level that Nova remembers is adopted if the store does not know
        the instance: it may have been restored from a backup.

        While the store cannot be reached, an instance that has its domain
        here keeps the level of that domain: the domain was defined under a
        claim, which is only dropped after it.

        :raises AllocatorError: there is no level for the instance
        """
        try:
            held = self._hold(instance).levels
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

    def _hold(self, instance: Any) -> types.Allocation:
        """Hold the level of an instance, or give it one.

        :raises AllocatorError: there is no level for it
        """
        try:
            remembered = remembered_levels(instance)
        except exception.InvalidLevel as error:
            LOG.warning(
                'What Nova remembers as the level of the instance is none: %s',
                error,
                instance=instance,
            )
            remembered = None
        if remembered is None:
            return self._acquire(instance)
        try:
            return self.hold(
                self._allocator.adopt,
                instance.uuid,
                instance.project_id,
                remembered.own,
            )
        except (exception.LevelTaken, exception.NotInSpace) as error:
            return self._hold_another(instance, remembered.own, error)

    def _acquire(
        self, instance: Any, known: levels.Level | None = None
    ) -> types.Allocation:
        return self.hold(
            self._allocator.acquire,
            instance.uuid,
            instance.project_id,
            self._seen.number,
            known=known,
        )

    def hold(
        self,
        call: Callable[..., types.Allocation],
        uuid: str,
        project_id: str,
        *arguments: Any,
        known: levels.Level | None = None,
    ) -> types.Allocation:
        """Hold a level of an instance, and claim it with a number.

        :param call: ``acquire`` or ``adopt`` of the allocator
        :param arguments: further ones of the call
        :param known: the level that the instance has, if that is known
        :raises AllocatorError: there is no such level for it
        """
        names = (uuid, project_id, self._host_name, *arguments)
        while True:
            number = self.own.to_claim(uuid)
            try:
                held = self._outage.ask(call, *names, number=number)
            except exception.ClaimOutdated:
                # The clock of another host, or of this one in former times,
                # is ahead. A drop must not name this number: the one that
                # the allocator chooses is higher.
                self.own.take(uuid)
                held = self._outage.ask(call, *names)
            self._check_level(uuid, known, held)
            # Only the answer that gives a level out tells the generation.
            self._seen.learn(held.generation)
            answered = held.claims.get(self._host_name)
            self.own.claimed(uuid, number, answered)
            if number is not None or answered is None:
                return held
            # The process before may have sent a drop that names a number of
            # this host's clock. The allocator's clock may be behind that.

    def _check_level(
        self, uuid: str, known: levels.Level | None, held: types.Allocation
    ) -> None:
        """Check that an instance has the level that it had a moment ago.

        :param known: that level; None if none is known
        :raises WrongAnswer: it has not
        """
        if known in (None, held.level):
            return
        error = exception.WrongAnswer(
            f'the allocator answered acquire of host {self._host_name} '
            f'for instance {uuid} with another level than a moment ago: '
            f'expected {known}, got {held.level}. The answer is not used'
        )
        LOG.error('%s', error)
        raise error

    def _hold_another(
        self,
        instance: Any,
        remembered: levels.Level,
        error: exception.SvirtError,
    ) -> types.Allocation:
        """Hold another level than Nova remembers, where that is right.

        :param error: why the instance cannot have that level
        :raises LevelTaken: it is not right
        """
        try:
            known = self._outage.ask(self._allocator.get, instance.uuid).level
        except exception.UnknownInstance:
            known = None
        if known is not None and self._is_defined_at(instance, known):
            # Nova has saved a stale record.
            return self._acquire(instance, known)
        if not rules.may_change_level(instance.task_state):
            raise exception.LevelTaken(
                f'Nova remembers the level {remembered} of the instance, '
                f'which the store has not for it: {error}. The store may have '
                f'been restored from a backup. Hard-reboot the instance to '
                f'let it have {known or "another level"}'
            ) from error
        held = self._acquire(instance)
        LOG.warning(
            'The instance had the level %s, and gets the level %s: %s',
            remembered,
            held.level,
            error,
            instance=instance,
        )
        return held

    def _is_defined_at(self, instance: Any, level: levels.Level) -> bool:
        """Whether the domain of an instance was defined at a level here."""
        try:
            label = remains.defined_label(self._host, instance)
        except nova_exception.NovaException:
            return False
        return label is not None and label.is_given(level)

    def _kept_levels(self, instance: Any) -> types.InstanceLevels | None:
        """The levels that an instance remembers and its domain has."""
        kept = remembered_levels(instance)
        if kept is None or not self._is_defined_at(instance, kept.own):
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

    def settle(
        self,
        instance: Any,
        was_gone: bool = False,
        number: int | None = None,
    ) -> bool:
        """Drop the claim on an instance if nothing of it is left here.

        The allocator never makes this fail: a claim too many is safe, and
        the next reconciliation drops it.

        :param was_gone: :meth:`is_gone_for_good` when the call began
        :param number: of the claim, if it was listed
        :returns: whether the host has no claim from then on
        """
        gone = was_gone or self.is_gone_for_good(instance)
        if number is None:
            number = self.own.take(instance.uuid)
        if not self._may_drop(instance, gone):
            self.own.put_back(instance.uuid, number)
            return False
        try:
            if number is None:
                held = self._outage.ask_if_up(self._find, instance)
                if held is None or self._host_name not in held.hosts:
                    return True
                # An operation may have begun before the number was read.
                if not self._may_drop(instance, gone):
                    return False
                # None in the answer of a service of a former release.
                number = held.claims.get(self._host_name)
            self._outage.ask_if_up(
                self._allocator.give_back if gone else self._allocator.unclaim,
                instance.uuid,
                self._host_name,
                number,
            )
        except exception.SvirtError as error:
            self.own.put_back(instance.uuid, number)
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

    def _may_drop(self, instance: Any, gone: bool) -> bool:
        """Whether nothing of an instance is left here.

        :param gone: whether it is gone for good
        """
        left = remains.of_instance(self._host, instance)
        if rules.may_unclaim(left, gone):
            return True
        LOG.debug('This host keeps its claim: %s', left, instance=instance)
        return False

    def _find(self, instance: Any) -> types.Allocation | None:
        """What the store has of an instance; None for nothing."""
        try:
            return self._allocator.get(instance.uuid)
        except exception.UnknownInstance:
            return None

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
