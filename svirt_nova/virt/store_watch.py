# SPDX-License-Identifier: Apache-2.0
"""Notices a store that is older than this host, and tells it what runs here.

A store that was restored from a backup does not know the levels that were
given out since. While it is not trusted, it gives out none: first every host
adopts, for the instances that it has, the levels that they have, and says so.
"""

from __future__ import annotations

import contextlib
from typing import Any

from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.lifecycle import adoption
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import levels
from svirt_nova.virt import compute_metrics
from svirt_nova.virt import outages
from svirt_nova.virt import remains
from svirt_nova.virt import seen_generation
from svirt_nova.virt import store_scope
from svirt_nova.virt import whereabouts

LOG = logs.get_logger(__name__)


class StoreWatch:
    """Compares the store with what this host has seen of it.

    :param allocator: asks the store
    :param host_name: the name of the host, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    :param outage: remembers when the allocator did not answer
    :param seen: the newest generation that this host has seen
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
        self._is_trusted = True
        self._problem = ''

    def look(self) -> bool:
        """Compare generations; whether the store is trusted.

        It is called often, and where a failure must not stop its caller.
        """
        try:
            found = self._outage.ask_if_up(
                self._allocator.meet, self._host_name, self._seen.number or 0
            )
        except exception.StoreUnreachable:
            # Whatever needs the store says so.
            return True
        except exception.SvirtError as error:
            self._warn_once(
                f'The store cannot be compared with what this host has seen '
                f'of it: {error}'
            )
            return True
        self._problem = ''
        self._seen.learn(found.generation)
        if self._is_trusted and not found.is_trusted:
            LOG.warning(
                'The store of levels is not trusted: %s. This host tells it '
                'which levels are in use here',
                found.reason,
            )
        self._is_trusted = found.is_trusted
        compute_metrics.store_trusted(found.is_trusted)
        return found.is_trusted

    def _warn_once(self, text: str) -> None:
        if text != self._problem:
            LOG.warning('%s', text)
        self._problem = text

    def doubt(self, instance_uuid: str, level: levels.Level) -> None:
        """Tell of a level that the store does not know.

        :param level: the level that a guest was given here
        """
        try:
            self._outage.ask_if_up(
                self._allocator.doubt, self._host_name, instance_uuid, level
            )
        except exception.StoreUnusable as error:
            # A service of a former release does not know the call.
            self._warn_once(
                f'The store cannot be told that it has lost levels: {error}'
            )

    def report(self) -> None:
        """Tell a store that is not trusted what is in use here.

        The missing claims of this host have been made before.

        :raises SvirtError: the allocator does not answer
        :raises nova.exception.NovaException: Nova's conductor refuses
        :raises oslo_messaging.MessagingException: it does not answer
        """
        if self._is_trusted:
            return
        # Whatever [svirt] adopt_running_guests says: a guest from before
        # svirt-nova may have been adopted, which the store has forgotten.
        adoption.adopt(
            self._allocator, self._host_name, self._running_guests()
        )
        missing = self._missing()
        if missing:
            LOG.error(
                'The store of levels does not have the levels that these '
                'instances have on host %s: %s. It stays distrusted until '
                'they are recorded, as the next reconciliation tries. If '
                'another instance has such a level, run "svirt-nova store '
                'trust", and hard-reboot these instances at once',
                self._host_name,
                ', '.join(missing),
            )
            return
        self._is_trusted = self._outage.ask(
            self._allocator.report,
            self._host_name,
            store_scope.other_hosts(self._host_name),
        ).is_trusted

    def _running_guests(self) -> list[str]:
        """The XML of the guests that run here."""
        found = []
        for guest in self._host.list_guests(only_running=True):
            # Ignore guests that stopped while we were listing them.
            with contextlib.suppress(libvirt_host.libvirt.libvirtError):
                found.append(guest.get_xml_desc())
        return found

    def _missing(self) -> list[str]:
        """The instances whose levels here the store does not have."""
        held = {
            each.instance_uuid: each.level
            for each in self._outage.ask(
                self._allocator.list, host=self._host_name
            )
        }
        given = {
            uuid: label.label.level
            for uuid, label in remains.of_host(self._host).domains.items()
            if label is not None
            and label.is_static
            and label.label is not None
        }
        return [
            uuid
            for uuid in rules.levels_missing(given, held)
            if _is_live(uuid)
        ]


def _is_live(instance_uuid: str) -> bool:
    """Whether a domain is that of an instance that Nova has.

    :raises nova.exception.NovaException: Nova's conductor refuses
    :raises oslo_messaging.MessagingException: it does not answer
    """
    try:
        whereabouts.find_live_instance(instance_uuid)
    except nova_exception.InstanceNotFound:
        return False
    return True
