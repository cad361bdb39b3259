# SPDX-License-Identifier: Apache-2.0
"""What keeps one instance behind its level, from its claim on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova import exception as nova_exception
from nova.virt import driver
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import types
from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.host import verify
from svirt_nova.virt import claims
from svirt_nova.virt import confinement
from svirt_nova.virt import faults
from svirt_nova.virt import guards
from svirt_nova.virt import instance_disks
from svirt_nova.virt import snapshots
from svirt_nova.virt import volumes

LOG = logs.get_logger(__name__)


class LevelGuard(guards.Guard):
    """Keeps an instance behind its level.

    :param instance: Nova's record of the instance
    :param held: its levels, which this host has claimed
    :param confined: how this host confines guests
    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    :param host_claims: the claims of this host
    :param rescue_image: the image that the instance is being rescued with
    """

    def __init__(
        self,
        instance: Any,
        held: types.InstanceLevels,
        confined: confinement.Confinement,
        host: Any,
        host_claims: claims.HostClaims,
        rescue_image: str | None = None,
    ) -> None:
        self._disks = instance_disks.InstanceDisks(
            instance, held, host_claims, rescue_image
        )
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
        chains = self._disks.chains_of(xml)
        xml = self._confined.confine(xml, self._held, chains)

        def label_files() -> None:
            if post_xml_callback is not None:
                # Nova makes the config drive in this callback.
                post_xml_callback()
            self._disks.label(chains)

        guest = create(
            xml,
            power_on=power_on,
            pause=power_on or pause,
            post_xml_callback=label_files,
        )
        if power_on or pause:
            with guards.stopped_on_failure(guest, self._instance):
                self._read_back(guest, chains)
                if not pause:
                    guest.resume()
        return guest

    def check_running(self, guest: Any) -> None:
        """Check what libvirt, the kernel and the files say of a guest."""
        self._read_back(guest, None)

    def _read_back(
        self, guest: Any, chains: disk_chains.Chains | None
    ) -> None:
        """Check what libvirt, the kernel and the files say of a guest.

        :param chains: what its disks are made of; None to find it out
        """
        try:
            xml = guest.get_xml_desc()
            text, enforced = guest._domain.securityLabel()
        except libvirt_host.libvirt.libvirtError as error:
            with faults.raised_to_nova(self._instance):
                raise exception.LabelNotApplied(
                    f'libvirt does not say how the guest runs: {error}'
                ) from error
            return
        if chains is None:
            chains = self._disks.chains_of(xml)
        with faults.raised_to_nova(self._instance):
            verify.check(
                xml,
                (text, bool(enforced)),
                self._confined.process_of(xml).at(self._held.own),
                self._confined.image.at(self._held.own),
                self._confined.content,
                chains,
                file_labels.read,
            )
            # With it, a line of the audit log is understood without a store.
            LOG.info(
                'The guest runs at the level %s, as %s',
                self._held.own,
                text,
                instance=self._instance,
            )
        with faults.raised_to_nova(self._instance):
            for path in verify.unlabeled_files(chains, file_labels.read):
                raise file_labels.unlabeled(path)

    def may_restart_as_defined(self) -> bool:
        """Whether the domain is defined at the level of the instance.

        A domain that is not, such as that of a guest from before the
        extension, would start at a level that libvirt draws, and with disks
        that are made of what their headers name.
        """
        is_defined = False
        with faults.raised_to_nova(self._instance):
            is_defined = self._is_defined_by_us()
        if not is_defined:
            LOG.info(
                'The domain is not defined at the level %s of the instance, '
                'and with all files of its disks: it is hard-rebooted '
                'instead',
                self._held.own,
                instance=self._instance,
            )
        return is_defined

    def _is_defined_by_us(self) -> bool:
        """Whether the domain has what svirt-nova writes into its XML.

        :raises nova.exception.InstanceNotFound: there is no domain
        :raises LabelError: libvirt's XML makes no sense
        """
        xml = self._host.get_guest(self._instance).get_xml_desc(
            dump_inactive=True
        )
        label = domain_xml.read(xml)
        return (
            label is not None
            and label.is_given(self._held.own)
            and not any(verify.chain_problems(xml, self._disks.chains_of(xml)))
        )

    def check_restarted(self) -> None:
        """Read back a guest that was started as it is defined."""
        guest = self._host.get_guest(self._instance)
        with guards.stopped_on_failure(guest, self._instance):
            self.check_running(guest)

    def check_saved_memory(self) -> None:
        """Check that the guest was saved at the level of the instance.

        Its saved memory carries the label that it was suspended with, which
        a start cannot change.
        """
        with faults.raised_to_nova(self._instance):
            try:
                is_defined = self._is_defined_by_us()
            except nova_exception.InstanceNotFound:
                # Nova defines the domain anew.
                return
            if not is_defined:
                raise exception.LabelNotApplied(
                    f'the guest was not started at the level '
                    f'{self._held.own} of the instance and with all files of '
                    f'its disks named, and its saved memory would keep it '
                    f'from it. Hard-reboot it first, or do this with [svirt] '
                    f'mode = permissive'
                )

    # Disks

    def check_disks(self) -> None:
        """Check the headers before the domain is taken apart.

        Those of a rescue do not matter: it ends with the domain.
        """
        try:
            xml = self._host.get_guest(self._instance).get_xml_desc()
        except (
            nova_exception.InstanceNotFound,
            libvirt_host.libvirt.libvirtError,
        ):
            # There is nothing that could be lost. The start checks them.
            return
        self._disks.check_headers(xml)

    def check_volume(self, volume: str) -> None:
        """Check a volume, and label the files that QEMU may come to write."""
        guest = self._host.get_guest(self._instance)
        self._disks.check_volume(guest.get_xml_desc(), volume)

    def snapshotted(self, guest: Any) -> Any:
        """The guest whose volumes' next files are its own before."""

        def give(present: str, following: str) -> disk_chains.Chain | None:
            with faults.raised_to_nova(self._instance):
                return self._disks.give_next(
                    guest.get_xml_desc(), present, following
                )
            return None

        return snapshots.SnapshottedGuest(guest, give)

    def give_copy(self, path: str) -> disk_chains.Chain | None:
        """Give a raw file to the instance, for a copy of its disk."""
        with faults.raised_to_nova(self._instance):
            return self._disks.give_copy(path)
        return None

    def label_own_disks(self) -> None:
        """Label the disks that Nova has made for an arriving instance."""
        with faults.raised_to_nova(self._instance):
            self._disks.label(self._disks.own_chains())

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
            is_shared = volumes.is_multiattach(connection_info)
            image = None
            if volumes.is_read_only(connection_info):
                # By itself libvirt opens such a disk to every guest.
                image = self._confined.image.at(self._held.own)
            if is_shared:
                self._check_shares()
                image = self._confined.shared(self._held)
            volumes.keep_label(connection_info, image)
            volumes.keep_chain(connection_info, None)
            path = volumes.file_of(find_driver, connection_info)
            if path is not None:
                chain = self._disks.volume_chain(
                    path, volumes.format_of(connection_info), is_shared
                )
                volumes.keep_chain(connection_info, chain)
                self._disks.label({path: chain})
