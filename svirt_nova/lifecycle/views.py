# SPDX-License-Identifier: Apache-2.0
"""What an audit compares: what was seen of hosts, and what Nova says."""

from __future__ import annotations

import dataclasses

from svirt_nova.mcs import levels


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """Something that was seen at a level on a host.

    :param instance_uuid: whose it is
    :param what: what it is, such as ``its process`` or ``/path/to/disk``
    :param level: the level that it carries
    """

    instance_uuid: str
    what: str
    level: levels.Level


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """A guest that runs on a host.

    :param is_labelled: whether libvirt runs it with an SELinux label
    :param is_static: whether the label was given, rather than drawn by
        libvirt
    """

    instance_uuid: str
    is_labelled: bool
    is_static: bool


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
    """

    name: str
    present: frozenset[str] = frozenset()
    guests: tuple[Guest, ...] = ()
    sights: tuple[Sight, ...] = ()
    confines: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceView:
    """What Nova says of an instance.

    :param hosts: the hosts that it may be on: its own, the source of a
        resize that is not confirmed, both ends of a migration
    :param is_gone: whether it is deleted for good
    :param is_busy: whether something is being done to it, so that claims may
        be ahead of what hosts have
    :param levels: the levels that it was seen to have before
    """

    hosts: frozenset[str] = frozenset()
    is_gone: bool = False
    is_busy: bool = False
    levels: frozenset[levels.Level] = frozenset()
