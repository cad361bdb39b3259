# SPDX-License-Identifier: Apache-2.0
"""What keeps one instance behind its level, from its claim on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import nova.conf
from nova import exception as nova_exception
from nova.virt import driver
from nova.virt.libvirt import host as libvirt_host
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.host import verify
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import confinement
from svirt_nova.virt import faults
from svirt_nova.virt import remains
from svirt_nova.virt import volumes

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


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

    def check_volumes(self, block_device_info: Any) -> None:
        """Check that the instance may have its volumes.

        :param block_device_info: as Nova has it; may be None
        :raises nova.exception.NovaException: it must not have one of them
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


class LevelGuard(Guard):
    """Keeps an instance behind its level.

    :param instance: Nova's record of the instance
    :param held: its levels, which this host has claimed
    :param confined: how this host confines guests
    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    :param host_claims: the claims of this host
    """

    def __init__(
        self,
        instance: Any,
        held: types.InstanceLevels,
        confined: confinement.Confinement,
        host: Any,
        host_claims: claims.HostClaims,
    ) -> None:
        self._instance = instance
        self._held = held
        self._confined = confined
        self._host = host
        self._claims = host_claims

    # Starts

    def start(
        self,
        create: Callable[..., Any],
        xml: str,
        *,
        power_on: bool,
        pause: bool,
        post_xml_callback: Callable[[], None] | None,
    ) -> Any:
        """Start the guest behind its level, or not at all.

        The guest's CPUs do not run before what libvirt and the kernel
        applied has been read back.
        """
        xml = self._confined.confine(xml, self._held)

        def label_files() -> None:
            if post_xml_callback is not None:
                # Nova makes the config drive in this callback.
                post_xml_callback()
            self._label_files(xml)

        guest = create(
            xml,
            power_on=power_on,
            pause=power_on or pause,
            post_xml_callback=label_files,
        )
        if power_on or pause:
            with stopped_on_failure(guest, self._instance):
                self.check_running(guest)
                if not pause:
                    guest.resume()
        return guest

    def _label_files(self, xml: str) -> None:
        """Label the files in the directory of the instance."""
        path = libvirt_utils.get_instance_path(self._instance)
        directory = os.path.join(path, '')
        with faults.raised_to_nova(self._instance):
            for disk in domain_xml.disks(xml):
                if (
                    disk.is_file
                    and disk.label is domain_xml.DiskLabel.OWN
                    and disk.path.startswith(directory)
                ):
                    file_labels.label(
                        CONF.instances_path, disk.path, self._held.own
                    )

    def check_running(self, guest: Any) -> None:
        """Check what libvirt, the kernel and the files say of a guest."""
        try:
            xml = guest.get_xml_desc()
            text, enforced = guest._domain.securityLabel()
        except libvirt_host.libvirt.libvirtError as error:
            with faults.raised_to_nova(self._instance):
                raise exception.LabelNotApplied(
                    f'libvirt does not say how the guest runs: {error}'
                ) from error
            return
        with faults.raised_to_nova(self._instance):
            verify.check(
                xml,
                (text, bool(enforced)),
                self._confined.process_of(xml).at(self._held.own),
                self._confined.image.at(self._held.own),
                file_labels.read,
                self._confined.shared(self._held),
            )
        with faults.raised_to_nova(self._instance):
            for path in verify.unlabeled_files(xml, file_labels.read):
                raise file_labels.unlabeled(path)

    def may_restart_as_defined(self) -> bool:
        """Whether the domain is defined at the level of the instance.

        A domain that is not, such as that of a guest from before the
        extension, would start at a level that libvirt draws.
        """
        label = None
        with faults.raised_to_nova(self._instance):
            label = remains.defined_label(self._host, self._instance)
        if label is not None and label.is_given(self._held.own):
            return True
        LOG.info(
            'The domain is not defined at the level %s of the instance: '
            'it is hard-rebooted instead',
            self._held.own,
            instance=self._instance,
        )
        return False

    def check_restarted(self) -> None:
        """Read back a guest that was started as it is defined."""
        guest = self._host.get_guest(self._instance)
        with stopped_on_failure(guest, self._instance):
            self.check_running(guest)

    def check_saved_memory(self) -> None:
        """Check that the guest was saved at the level of the instance.

        Its saved memory carries the label that it was suspended with, which
        a start cannot change.
        """
        with faults.raised_to_nova(self._instance):
            try:
                label = remains.defined_label(self._host, self._instance)
            except nova_exception.InstanceNotFound:
                # Nova defines the domain anew.
                return
            if label is None or not label.is_given(self._held.own):
                raise exception.LabelNotApplied(
                    f'the guest was not started at the level '
                    f'{self._held.own} of the instance, and its saved memory '
                    f'would keep it from it. Hard-reboot it first, or do '
                    f'this with [svirt] mode = permissive'
                )

    # Volumes

    def check_volumes(self, block_device_info: Any) -> None:
        """Check that the level fits volumes that several instances have."""
        mapping = driver.block_device_info_get_mapping(block_device_info)
        if any(
            volumes.is_multiattach(each['connection_info']) for each in mapping
        ):
            with faults.raised_to_nova(self._instance):
                self._check_shares()

    def _check_shares(self) -> None:
        if self._claims.shares_nothing(self._held):
            raise exception.LabelError(
                f'the level {self._held.own} of the instance has no part '
                f'that its project shares: it was given out before the level '
                f'scheme was "project". Attach the volume to instances that '
                f'were made since'
            )

    def label_volume(
        self,
        connection_info: dict[str, Any],
        find_driver: volumes.FindDriver,
    ) -> None:
        """Label the file of a volume, and keep what its disk must carry."""
        with faults.raised_to_nova(self._instance):
            level: levels.Level | None = self._held.own
            image = None
            if volumes.is_read_only(connection_info):
                # By itself libvirt opens such a disk to every guest.
                image = self._confined.image.at(self._held.own)
            if volumes.is_multiattach(connection_info):
                self._check_shares()
                level = self._held.project
                image = self._confined.shared(self._held)
            volumes.keep_label(connection_info, image)
            path = volumes.file_of(find_driver, connection_info)
            if path is not None and level is not None:
                volumes.label(path, level)
