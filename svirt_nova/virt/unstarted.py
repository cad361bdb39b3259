# SPDX-License-Identifier: Apache-2.0
"""The driver before ``init_host``: nothing is known of the host yet.

Nova calls ``LibvirtDriver.init_host`` before anything else. A Nova that calls
another method would never have the host checked, nor the hooks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import nova.conf

from svirt_nova import exception
from svirt_nova.virt import extension
from svirt_nova.virt import faults
from svirt_nova.virt import guards

CONF = nova.conf.CONF


class Unstarted(extension.Extension):
    """Refuses all starts in enforcing mode, until ``init_host`` is called."""

    def guard(self, instance: Any) -> guards.Guard:
        """Refuse a start.

        :raises nova.exception.NovaException: the mode is enforcing
        """
        if CONF.svirt.mode != 'disabled':
            with faults.raised_to_nova(instance):
                raise exception.UnknownNova(
                    'Nova has not called LibvirtDriver.init_host, in which '
                    'svirt-nova checks this host. Install releases of Nova '
                    'and svirt-nova that fit each other'
                )
        return guards.UNGUARDED

    @contextlib.contextmanager
    def restarting(self, instance: Any) -> Iterator[guards.Guard]:
        """Refuse a start before anything is taken apart."""
        yield self.guard(instance)

    def guard_arrival(self, instance: Any) -> guards.Guard:
        """Refuse an arrival before anything is written."""
        return self.guard(instance)
