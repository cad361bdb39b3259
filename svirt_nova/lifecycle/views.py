# SPDX-License-Identifier: Apache-2.0
"""What an audit compares: what was seen of hosts, and what Nova says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

from svirt_nova.mcs import levels


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """Something that was seen at a level on a host.

    :param instance_uuid: whose it is; None for what is no instance's, such
        as a guest that Nova does not know: its level must not meet that of
        an instance
    :param what: what it is, such as ``the process`` or ``/path/to/disk``
    :param level: the level that it carries
    """

    instance_uuid: str | None
    what: str
    level: levels.Level


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """A guest that runs on a host.

    :param is_labelled: whether libvirt runs it with an SELinux label
    :param is_static: whether the label was given, rather than drawn by
        libvirt
    :param omitted: what its start left out, such as ``its labels were not
        read back``; empty if nothing, or if nobody saw it
    """

    instance_uuid: str
    is_labelled: bool
    is_static: bool
    omitted: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class HostView:
    """What a host was seen to have.

    :param name: the name of the host, as Nova has it
    :param present: the UUIDs of the instances that it has a domain or, on
        storage of its own, a directory of
    :param guests: the guests that run there
    :param sights: what was seen at which level
    :param confines: whether guests of the host must run at levels of their
        own
    :param requires_claims: whether the host must claim all that it has; it
        cannot where instances from before svirt-nova may hold no level
    :param traces: what it has of the instances that are present, for people,
        by UUID: such as ``the domain in libvirt``
    """

    name: str
    present: frozenset[str] = frozenset()
    guests: tuple[Guest, ...] = ()
    sights: tuple[Sight, ...] = ()
    confines: bool = True
    requires_claims: bool = False
    traces: Mapping[str, Sequence[str]] = dataclasses.field(
        default_factory=dict
    )

    def describe(self, instance_uuid: str) -> str:
        """Name what the host has of an instance that is present."""
        return ' and '.join(self.traces.get(instance_uuid, ['something']))


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceView:
    """What Nova says of an instance.

    :param hosts: the hosts that it may be on: its own, the source of a
        resize that is not confirmed, both ends of a migration
    :param is_gone: whether it is deleted for good
    :param is_busy: whether something is being done to it, so that claims may
        be ahead of what hosts have
    :param levels: the levels that it was seen to have, while it was not gone
    """

    hosts: frozenset[str] = frozenset()
    is_gone: bool = False
    is_busy: bool = False
    levels: frozenset[levels.Level] = frozenset()

    def describe(self) -> str:
        """Name where the instance is, as in ``is on compute1``."""
        if self.is_gone:
            return 'is deleted'
        return f'is on {", ".join(sorted(self.hosts)) or "no host"}'
