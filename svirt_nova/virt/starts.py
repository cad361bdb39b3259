# SPDX-License-Identifier: Apache-2.0
"""Guests that start past ``_create_guest``, where each start is checked.

They arrive by live migration, or Nova starts them in a way that the driver
does not know of.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova import exception as nova_exception

from svirt_nova import logs
from svirt_nova.virt import guards

LOG = logs.get_logger(__name__)


class Starts:
    """The guests that start on a host, and what has checked them.

    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    :param guard: claims an instance, as ``Extension.guard``
    """

    def __init__(
        self, host: Any, guard: Callable[[Any], guards.Guard]
    ) -> None:
        self._host = host
        self._guard = guard
        self._created: set[str] = set()
        self._expected: dict[str, Any] = {}

    def check(self, instance: Any) -> None:
        """Read back the guest of an instance, if it runs.

        :raises nova.exception.NovaException: it must not run, and was
            stopped
        """
        try:
            guest = self._host.get_guest(instance)
        except nova_exception.InstanceNotFound:
            # Its migration has failed, or it has ended by itself.
            return
        if guest.is_active():
            with guards.stopped_on_failure(guest, instance):
                self._guard(instance).check_running(guest)

    # Nova starts a guest here

    @contextlib.contextmanager
    def watched(self, instance: Any) -> Iterator[None]:
        """Check a guest that is started without :meth:`created`."""
        self._created.discard(instance.uuid)
        yield
        if instance.uuid not in self._created:
            LOG.error(
                'Nova has started the instance without LibvirtDriver.'
                '_create_guest, which svirt-nova relies on; its guest is '
                'checked afterwards',
                instance=instance,
            )
            self.check(instance)
        self._created.discard(instance.uuid)

    def created(self, instance_uuid: str) -> None:
        """Note that ``_create_guest`` is called, and checks the guest."""
        self._created.add(instance_uuid)

    # A guest arrives by live migration. Its QEMU waits here for its memory
    # while it still runs at its source. libvirt tells of that process
    # (VIR_DOMAIN_EVENT_STARTED_MIGRATED, of its qemuMigrationDstPrepareAny),
    # and to end it then costs nothing: the migration fails, and the guest
    # goes on where it is. Events may be lost, so that the guest is checked
    # again when Nova tells of its arrival.

    def expect(self, instance: Any) -> None:
        """Wait for the process of a guest that migrates to here."""
        self._expected[instance.uuid] = instance

    def forget(self, instance_uuid: str) -> None:
        """Wait for it no longer."""
        self._expected.pop(instance_uuid, None)

    def started(self, instance_uuid: str) -> None:
        """Check a guest whose process has started, if it was expected.

        It is called in the thread that gets libvirt's events, which must not
        wait for anything.
        """
        instance = self._expected.pop(instance_uuid, None)
        if instance is not None:
            threading.Thread(
                target=self._check_early, args=(instance,), daemon=True
            ).start()

    def _check_early(self, instance: Any) -> None:
        try:
            self.check(instance)
        except nova_exception.NovaException as error:
            LOG.error(
                'The instance does not migrate to here: its guest was '
                'stopped before it ran here. %s',
                error,
                instance=instance,
            )
