# SPDX-License-Identifier: Apache-2.0
"""What can be asked of the guard of an instance.

The guard here keeps nothing apart; the one that does is in
:mod:`svirt_nova.virt.level_guards`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova.virt.libvirt import host as libvirt_host

from svirt_nova import logs
from svirt_nova.host import disk_chains
from svirt_nova.virt import volumes

LOG = logs.get_logger(__name__)


@contextlib.contextmanager
def stopped_on_failure(guest: Any, instance: Any) -> Iterator[None]:
    """Stop a guest that must not run, whatever says so.

    A process that runs at a wrong level can open what is not its own even
    while its CPUs are paused.

    :param guest: Nova's ``Guest``
    :param instance: Nova's record of its instance
    """
    try:
        yield
    except Exception:
        try:
            guest.poweroff()
        except libvirt_host.libvirt.libvirtError as error:
            LOG.error(
                'The guest of the instance must not run, and could not be '
                'stopped: %s',
                error,
                instance=instance,
            )
        raise


class Guard:
    """Nothing keeps the instance apart: everything is as Nova does it.

    So it is where the extension is off, where the host cannot confine
    guests, and where the mode permissive lets an instance run without a
    level.
    """

    def start(
        self,
        create: Callable[..., Any],
        xml: str,
        *,
        power_on: bool,
        pause: bool,
        post_xml_callback: Callable[[], None] | None,
    ) -> Any:
        """Define the domain of the instance and start its guest.

        :param create: does it, as ``LibvirtDriver._create_guest`` would for
            the instance
        :param xml: the XML that Nova made for the domain
        :param power_on: whether the guest is started
        :param pause: whether its CPUs stay paused
        :param post_xml_callback: called when the domain is defined
        :returns: Nova's ``Guest``
        """
        return create(
            xml,
            power_on=power_on,
            pause=pause,
            post_xml_callback=post_xml_callback,
        )

    def may_restart_as_defined(self) -> bool:
        """Whether the domain may be started again as it is defined."""
        return True

    def check_restarted(self) -> None:
        """Check a guest that was started again as it is defined.

        :raises nova.exception.NovaException: it must not run, and was
            stopped
        """

    def check_running(self, guest: Any) -> None:
        """Check a guest that somebody else started.

        :param guest: Nova's ``Guest``
        :raises nova.exception.NovaException: it must not run
        """

    def check_saved_memory(self) -> None:
        """Check that the guest may be started from its saved memory.

        :raises nova.exception.NovaException: it must not
        """

    def check_disks(self) -> None:
        """Check the headers of the disks that the domain has.

        :raises nova.exception.NovaException: one is not what it should be
        """

    def give_copy(self, path: str) -> disk_chains.Chain | None:
        """Give a raw file to the instance, for a copy of its disk.

        :returns: what libvirt is to be told; None to leave it to Nova
        :raises nova.exception.NovaException: the file takes no label
        """
        return None

    def check_volume(self, volume: str) -> None:
        """Check a volume of which a snapshot is about to be deleted.

        :param volume: its UUID
        :raises nova.exception.NovaException: a header is not what it should
            be
        """

    def snapshotted(self, guest: Any) -> Any:
        """The guest of which a volume's snapshot is taken.

        :param guest: the ``nova.virt.libvirt.guest.Guest``
        """
        return guest

    def check_volumes(self, block_device_info: Any) -> None:
        """Check that the instance may have its volumes.

        :param block_device_info: as Nova has it; may be None
        :raises nova.exception.NovaException: it must not have one of them
        """

    def label_own_disks(self) -> None:
        """Label the disks that Nova has made for an arriving instance.

        :raises nova.exception.NovaException: one takes no label
        """

    def label_volume(
        self,
        connection_info: dict[str, Any],
        find_driver: volumes.FindDriver,
    ) -> None:
        """Label a volume that was connected, if it is a file.

        :param find_driver: ``LibvirtDriver._get_volume_driver``
        :raises nova.exception.NovaException: the file takes no label
        """


UNGUARDED = Guard()
