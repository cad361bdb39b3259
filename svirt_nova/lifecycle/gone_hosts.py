# SPDX-License-Identifier: Apache-2.0
"""Hosts that are gone, whose claims nobody else would ever drop.

A host is gone when it is neither listed by Nova nor heard of for a time. Its
claim on an instance is dropped only with the instance: while Nova has the
instance, the claim does no harm.
"""

from __future__ import annotations

import dataclasses
import datetime

from oslo_config import cfg

from svirt_nova import logs
from svirt_nova import printing
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types

LOG = logs.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class GoneHosts:
    """Tells which hosts are gone, and drops their claims.

    The clock of this machine is not asked: were it wrong, claims would be
    dropped at once of hosts that have just been cut off.

    :param after: how long a host must be missing, by the clock of the store;
        None for no host is gone
    """

    after: datetime.timedelta | None = None

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> GoneHosts:
        """As ``[svirt_nova_allocator] forget_hosts_after`` has it."""
        seconds = conf.svirt_nova_allocator.forget_hosts_after
        return cls(datetime.timedelta(seconds=seconds) if seconds else None)

    def among(self, known: clouds.KnownCloud) -> frozenset[str]:
        """The hosts that are gone."""
        if (
            self.after is None
            or not known.is_known
            # A service of a former release does not tell its time.
            or known.asked_at is None
        ):
            return frozenset()
        latest = known.asked_at - self.after
        return frozenset(
            each.name
            for each in known.hosts
            if each.missing_since is not None and each.missing_since <= latest
        )

    def in_store(self, allocator: base.Allocator) -> frozenset[str]:
        """The hosts that are gone, as the store remembers its cloud.

        :raises AllocatorError: the allocator did not answer
        """
        if self.after is None:
            return frozenset()
        return self.among(allocator.show_cloud())

    def drop_claims(
        self, allocator: base.Allocator, gone: types.Allocation
    ) -> bool:
        """Drop the claims on an instance that is gone, of hosts that are.

        A claim that its host has made again since stays.

        :param gone: the allocation, as it was found
        :returns: False if one of the hosts has come back
        :raises AllocatorError: the allocator did not answer
        """
        if not gone.hosts:
            return True
        # A service of a former release tells no numbers.
        if not gone.hosts <= gone.claims.keys():
            return False
        if not gone.hosts <= self.in_store(allocator):
            return False
        assert gone.instance_uuid is not None
        for host in sorted(gone.hosts):
            allocator.unclaim(gone.instance_uuid, host, gone.claims[host])
            LOG.warning(
                'Dropped the claim of host %s on instance %s: Nova does not '
                'know the instance, and the host was neither listed nor heard '
                'of for %s',
                printing.name(host),
                gone.instance_uuid,
                self.after,
            )
        return True
