# SPDX-License-Identifier: Apache-2.0
"""Guests from before the extension keep the level that they run with.

libvirt drew that level for this host alone. If it clashes with no other level
of the cloud, it becomes the instance's level, so that nothing is relabelled
under a running guest. Otherwise the instance gets a level of its own at its
next hard reboot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels

LOG = logs.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a guest.

    :param instance_uuid: the instance
    :param level: the level that it runs with
    :param problem: why it was not adopted; empty where it was
    """

    instance_uuid: str
    level: levels.Level
    problem: str = ''


def _is_known(allocator: base.Allocator, instance_uuid: str) -> bool:
    try:
        allocator.get(instance_uuid)
    except exception.UnknownInstance:
        return False
    return True


def adopt(
    allocator: base.Allocator, host: str, domains: Iterable[str]
) -> list[Outcome]:
    """Record the levels that running guests have.

    Guests that have a level of their own already, that SELinux does not
    confine or that Nova did not make are left out. If the store has lost the
    level of a guest, as after a restored backup, it is recorded again.

    :param host: the name of this host, as Nova has it
    :param domains: the XML of its running domains
    :raises StoreUnreachable: the allocator does not answer
    """
    outcomes = []
    for xml in domains:
        try:
            owner, label = domain_xml.owner(xml), domain_xml.read(xml)
        except exception.SvirtError as error:
            LOG.warning(
                'Host %s has a domain whose XML cannot be read, and whose '
                'level is not recorded: %s',
                host,
                error,
            )
            continue
        if owner is None or label is None or label.label is None:
            continue
        if label.is_static and _is_known(allocator, owner.instance_uuid):
            continue
        level = label.label.level
        try:
            allocator.adopt(owner.instance_uuid, owner.project_id, host, level)
            problem = ''
        except (
            exception.LevelTaken,
            exception.LimitReached,
            exception.NotInSpace,
        ) as error:
            problem = str(error)
        outcomes.append(Outcome(owner.instance_uuid, level, problem))
    return outcomes
