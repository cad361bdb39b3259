# SPDX-License-Identifier: Apache-2.0
"""What this host has of instances: domains and directories."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host
from nova.virt.libvirt import utils as libvirt_utils

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.host import domain_xml
from svirt_nova.host import mounts
from svirt_nova.lifecycle import rules

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)

# Nova renames the directory of an instance while the instance is resized
# (migrate_disk_and_power_off) and while it is deleted (delete_instance_files).
_SUFFIXES = ('', '_resize', '_del')
_DIRECTORY = re.compile(
    r'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'
    r'(?:_resize|_del)?'
)


def of_instance(host: Any, instance: Any) -> rules.Remains:
    """What this host has of one instance.

    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    """
    try:
        host.get_guest(instance)
        domain = True
    except nova_exception.InstanceNotFound:
        domain = False
    except nova_exception.NovaException:
        # libvirt does not answer, so that the domain may be there.
        domain = True
    path = libvirt_utils.get_instance_path(instance)
    found = tuple(
        path + suffix for suffix in _SUFFIXES if os.path.lexists(path + suffix)
    )
    if found and mounts.file_system(CONF.instances_path).is_shared:
        return rules.Remains(domain=domain, shared=found)
    return rules.Remains(domain=domain, local=found)


@dataclasses.dataclass(frozen=True, slots=True)
class HostRemains:
    """What this host has of all instances.

    :param domains: the domains by UUID, defined and transient, with the
        label of those that have one
    :param directories: the UUIDs of instances that have a directory on
        storage of this host
    """

    domains: dict[str, domain_xml.Seclabel | None]
    directories: frozenset[str]

    @property
    def uuids(self) -> frozenset[str]:
        """The instances that this host has something of."""
        return self.directories | self.domains.keys()


def label_of(guest: Any) -> domain_xml.Seclabel | None:
    """The label of a guest.

    libvirt does not validate the label of a domain before it is started, so
    that the label may make no sense.

    :returns: None if there is none, it makes no sense, or the guest stopped
        while it was being asked for
    """
    try:
        return domain_xml.read(guest.get_xml_desc())
    except libvirt_host.libvirt.libvirtError:
        return None
    except exception.SvirtError as error:
        LOG.warning(
            'The label of the domain %s cannot be read: %s', guest.name, error
        )
        return None


def defined_label(host: Any, instance: Any) -> domain_xml.Seclabel | None:
    """The label that the domain of an instance is started with.

    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    :raises nova.exception.InstanceNotFound: there is no domain
    :raises LabelError: libvirt's XML makes no sense
    """
    guest = host.get_guest(instance)
    return domain_xml.read(guest.get_xml_desc(dump_inactive=True))


def of_host(host: Any) -> HostRemains:
    """What this host has of all instances.

    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    :raises OSError: the directories cannot be listed
    """
    directories: frozenset[str] = frozenset()
    if not mounts.file_system(CONF.instances_path).is_shared:
        directories = frozenset(
            match[1]
            for name in os.listdir(CONF.instances_path)
            if (match := _DIRECTORY.fullmatch(name))
        )
    domains = {
        guest.uuid: label_of(guest)
        for guest in host.list_guests(only_running=False)
    }
    return HostRemains(domains, directories)
