# SPDX-License-Identifier: Apache-2.0
"""Nova's libvirt driver, with a level of its own for every instance.

It only decides when. What a level looks like, who holds it, how it gets
into XML and onto files is in the modules that it calls.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import nova.conf
import oslo_messaging
from nova import exception as nova_exception
from nova.compute import task_states
from nova.virt import driver
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging

from svirt_nova import conf as svirt_conf
from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.host import verify
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import confinement
from svirt_nova.virt import faults
from svirt_nova.virt import live_migration
from svirt_nova.virt import remains
from svirt_nova.virt import shared_files
from svirt_nova.virt import volumes

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


class SvirtLibvirtDriver(libvirt_driver.LibvirtDriver):  # type: ignore[misc]
    """The libvirt driver of Nova, confining guests cloud-wide."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only=read_only)
        svirt_conf.register_opts(CONF)
        self._svirt_host = ''
        # None as long as the extension is off.
        self._allocator: base.Allocator | None = None
        self._claims: claims.HostClaims | None = None
        # A monotonic time, in seconds.
        self._reconcile_at: float | None = None
        self._has_reconciled = False
        # None where guests cannot be confined.
        self._confinement: confinement.Confinement | None = None
        # The levels of each instance that is being started again, in which
        # Nova destroys the domain that stays; and how many do that.
        self._restarting: dict[
            str, tuple[types.InstanceLevels | None, int]
        ] = {}
        # The levels of each instance that is being migrated away live.
        self._migrating: dict[str, types.InstanceLevels] = {}

    # Starting nova-compute

    def init_host(self, host: str) -> None:
        """Check that this host can keep guests apart.

        :raises nova.exception.InternalError: it cannot, and [svirt] mode
            is enforcing
        """
        super().init_host(host)
        self._svirt_host = host
        if CONF.svirt.mode == 'disabled':
            LOG.warning(
                '[svirt] mode is disabled: guests started on this host get '
                'no level of their own'
            )
            return
        try:
            self._allocator = base.load(CONF)
            self._confinement = confinement.of_host(
                self._host.get_connection().getCapabilities(),
                CONF.libvirt.virt_type,
            )
        except exception.SvirtError as error:
            if self._allocator is None or faults.is_enforcing():
                LOG.critical('nova-compute cannot start: %s', error)
                raise nova_exception.InternalError(str(error)) from error
            LOG.warning('Guests on this host are NOT isolated: %s', error)
        self._claims = claims.HostClaims(
            self._allocator, host, self._host, CONF.svirt.claim_grace
        )
        self._reconcile_at = time.monotonic()
        shared_files.warn_of_cached_names()
        try:
            if CONF.svirt.adopt_running_guests:
                self._claims.adopt_running_guests()
            space = self._allocator.space()
            self._claims.learn(space)
            confinement.warn_of_strangers(self._host, space)
        except exception.StoreUnreachable as error:
            LOG.warning(
                'The allocator cannot be reached: new instances are '
                'refused until it is back. %s',
                error,
            )
        except exception.SvirtError as error:
            if faults.is_enforcing():
                LOG.critical('nova-compute cannot start: %s', error)
                raise nova_exception.InternalError(str(error)) from error
            LOG.warning('Guests on this host are NOT isolated: %s', error)

    # The levels of an instance

    def _claim(self, instance: Any) -> types.InstanceLevels | None:
        """Claim the instance for this host; its levels.

        :returns: None when there is none and the mode is not enforcing
        """
        assert self._claims is not None
        if instance.uuid in self._restarting:
            return self._restarting[instance.uuid][0]
        with faults.raised_to_nova(instance):
            return self._claims.claim(instance)
        return None

    @contextlib.contextmanager
    def _claimed_before(
        self, instance: Any
    ) -> Iterator[types.InstanceLevels | None]:
        """Claim before Nova takes apart what is there, and once.

        Where there is no level, the instance stays as it was.
        """
        held = self._claim(instance)
        uuid = instance.uuid
        self._restarting[uuid] = (
            held,
            self._restarting.get(uuid, (None, 0))[1] + 1,
        )
        try:
            yield held
        finally:
            held, number = self._restarting.pop(uuid)
            if number > 1:
                self._restarting[uuid] = held, number - 1

    # Nothing is written before the level is claimed

    def spawn(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Boot, rebuild, evacuate to here, unshelve."""
        if self._allocator is not None:
            self._claim(instance)
        super().spawn(context, instance, *args, **kwargs)

    def finish_migration(
        self,
        context: Any,
        migration: Any,
        instance: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Cold migration and resize to here."""
        if self._allocator is not None:
            self._claim(instance)
        super().finish_migration(context, migration, instance, *args, **kwargs)

    def _hard_reboot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        share_info: Any,
        block_device_info: Any = None,
        accel_info: Any = None,
    ) -> None:
        """Hard reboot, start, resume on host boot."""
        reboot = functools.partial(
            super()._hard_reboot,
            context,
            instance,
            network_info,
            share_info,
            block_device_info,
            accel_info,
        )
        if self._allocator is None:
            reboot()
            return
        with self._claimed_before(instance) as held:
            # What would be refused later is refused before the domain goes.
            if held is not None and any(
                volumes.is_multiattach(each['connection_info'])
                for each in driver.block_device_info_get_mapping(
                    block_device_info
                )
            ):
                with faults.raised_to_nova(instance):
                    self._check_shares(held)
            reboot()

    def _soft_reboot(self, instance: Any) -> bool:
        """Restart the domain as it is defined.

        One that is not defined at the instance's level, such as a guest's
        from before, would start at a level that libvirt draws: Nova makes
        it anew instead, in a hard reboot.
        """
        held = None
        if self._allocator is not None:
            held = self._claim(instance)
        if held is None or self._confinement is None:
            return bool(super()._soft_reboot(instance))
        label = None
        with faults.raised_to_nova(instance):
            label = remains.defined_label(self._host, instance)
        if label is None or not label.is_given(held.own):
            LOG.info(
                'The domain is not defined at the level %s of the instance: '
                'it is hard-rebooted instead',
                held.own,
                instance=instance,
            )
            return False
        if not super()._soft_reboot(instance):
            return False
        self._check_started(instance, held)
        return True

    def destroy(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """A rebuild destroys first: where there is no level, it must not.

        What is destroyed here after an evacuation is rebuilt elsewhere.
        """
        if (
            self._allocator is not None
            and instance.task_state == task_states.REBUILDING
            and instance.host == self._svirt_host
        ):
            self._claim(instance)
        super().destroy(context, instance, *args, **kwargs)

    def resume(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Resume a suspended guest.

        Its memory image carries the label that it was suspended with,
        which a start cannot change.
        """
        if self._allocator is None:
            super().resume(context, instance, *args, **kwargs)
            return
        with self._claimed_before(instance) as held:
            self._check_keeps_memory(instance, held)
            # What fails after this point costs the guest its memory.
            super().resume(context, instance, *args, **kwargs)

    def _suspend_guest_for_snapshot(
        self,
        context: Any,
        live_snapshot: bool,
        current_power_state: int,
        instance: Any,
    ) -> None:
        """Suspend a guest that is started again with what it has."""
        if (
            self._allocator is not None
            and self._needs_suspend_resume_for_snapshot(
                live_snapshot, current_power_state
            )
        ):
            self._check_keeps_memory(instance, self._claim(instance))
        super()._suspend_guest_for_snapshot(
            context, live_snapshot, current_power_state, instance
        )

    def _resume_guest_after_snapshot(
        self,
        context: Any,
        live_snapshot: bool,
        original_power_state: int,
        instance: Any,
        guest: Any,
    ) -> None:
        """Start a guest again that was suspended for its snapshot."""
        super()._resume_guest_after_snapshot(
            context, live_snapshot, original_power_state, instance, guest
        )
        if (
            self._allocator is not None
            and self._needs_suspend_resume_for_snapshot(
                live_snapshot, original_power_state
            )
        ):
            self._check_started(instance, self._claim(instance))

    def _check_started(
        self, instance: Any, held: types.InstanceLevels | None
    ) -> None:
        """Stop a guest that was started as it is defined, if need be."""
        if held is None or self._confinement is None:
            return
        guest = self._host.get_guest(instance)
        with self._ended_on_failure(guest, instance):
            self._read_back(guest, instance, self._confinement, held)

    def _check_keeps_memory(
        self, instance: Any, held: types.InstanceLevels | None
    ) -> None:
        """Check that a guest may be started from its saved memory."""
        if held is None or self._confinement is None:
            return
        with faults.raised_to_nova(instance):
            try:
                label = remains.defined_label(self._host, instance)
            except nova_exception.InstanceNotFound:
                # Nova makes a new domain.
                return
            if label is None or not label.is_given(held.own):
                raise exception.LabelNotApplied(
                    f'the guest was not started at the level {held.own} of '
                    f'the instance, and its saved memory would keep it from '
                    f'it. Hard-reboot it first, or do this with [svirt] '
                    f'mode = permissive'
                )

    # Every start of a domain that is made anew comes through here

    def _create_guest(
        self,
        context: Any,
        xml: str,
        instance: Any,
        power_on: bool = True,
        pause: bool = False,
        post_xml_callback: Callable[[], None] | None = None,
    ) -> Any:
        """Start a domain behind its level, or not at all.

        The guest's CPUs do not run before what libvirt and the kernel
        applied has been read back.
        """
        create = super()._create_guest
        held = None
        if self._allocator is not None:
            held = self._claim(instance)
        confined = self._confinement
        if held is None or confined is None:
            return create(
                context,
                xml,
                instance,
                power_on=power_on,
                pause=pause,
                post_xml_callback=post_xml_callback,
            )
        xml = confined.confine(xml, held)

        def label_files() -> None:
            if post_xml_callback is not None:
                post_xml_callback()
            with faults.raised_to_nova(instance):
                self._label_instance_files(instance, xml, held.own)

        guest = create(
            context,
            xml,
            instance,
            power_on=power_on,
            pause=power_on or pause,
            post_xml_callback=label_files,
        )
        if power_on or pause:
            with self._ended_on_failure(guest, instance):
                self._read_back(guest, instance, confined, held)
                if not pause:
                    guest.resume()
        return guest

    @staticmethod
    @contextlib.contextmanager
    def _ended_on_failure(guest: Any, instance: Any) -> Iterator[None]:
        """Stop a guest that must not run, whatever that raises."""
        try:
            yield
        except Exception:
            try:
                guest.poweroff()
            except libvirt_host.libvirt.libvirtError as error:
                LOG.error(
                    'The guest that must not run could not be stopped: %s',
                    error,
                    instance=instance,
                )
            raise

    def _label_instance_files(
        self, instance: Any, xml: str, level: levels.Level
    ) -> None:
        directory = os.path.join(libvirt_utils.get_instance_path(instance), '')
        for disk in domain_xml.disks(xml):
            if (
                disk.is_file
                and disk.label is domain_xml.DiskLabel.OWN
                and disk.path.startswith(directory)
            ):
                file_labels.label(CONF.instances_path, disk.path, level)

    def _read_back(
        self,
        guest: Any,
        instance: Any,
        confined: confinement.Confinement,
        held: types.InstanceLevels,
    ) -> None:
        try:
            xml = guest.get_xml_desc()
            text, enforced = guest._domain.securityLabel()
        except libvirt_host.libvirt.libvirtError as error:
            with faults.raised_to_nova(instance):
                raise exception.LabelNotApplied(
                    f'libvirt does not say how the guest runs: {error}'
                ) from error
            return
        with faults.raised_to_nova(instance):
            verify.check(
                xml,
                (text, bool(enforced)),
                confined.process.at(held.own),
                confined.image.at(held.own),
                file_labels.read,
                confined.shared(held),
            )
        with faults.raised_to_nova(instance):
            for path in verify.unlabeled_files(xml, file_labels.read):
                raise file_labels.unlabeled(path)

    # Live migration: the level goes along

    def pre_live_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """On the destination, before anything is written."""
        if self._allocator is not None:
            with faults.raised_to_nova(instance):
                try:
                    self._allocator.get(instance.uuid)
                except exception.UnknownInstance as error:
                    raise exception.UnknownInstance(
                        f'{error}. It was started without svirt-nova: '
                        f'run "svirt-nova adopt" on its host, or '
                        f'hard-reboot it, before it is migrated'
                    ) from error
                self._claim(instance)
        return super().pre_live_migration(context, instance, *args, **kwargs)

    def live_migration(
        self,
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool = False,
        migrate_data: Any = None,
    ) -> None:
        """On the source, once the destination has prepared itself."""
        if self._allocator is not None and self._confinement is not None:
            try:
                with faults.raised_to_nova(instance):
                    held = self._allocator.get(instance.uuid)
                    live_migration.check(
                        held,
                        remains.label_of(self._host.get_guest(instance)),
                        dest,
                    )
                    self._migrating[instance.uuid] = held.levels
            except nova_exception.InternalError:
                # Nothing has moved; raising would put the instance into
                # ERROR.
                recover_method(
                    context, instance, dest, migrate_data=migrate_data
                )
                return
        try:
            super().live_migration(
                context,
                instance,
                dest,
                post_method,
                recover_method,
                block_migration,
                migrate_data,
            )
        finally:
            self._migrating.pop(instance.uuid, None)

    def _live_migration_operation(
        self,
        context: Any,
        instance: Any,
        dest: str,
        block_migration: bool,
        migrate_data: Any,
        guest: Any,
        device_names: Any,
    ) -> None:
        held = self._migrating.get(instance.uuid)
        if held is not None and self._confinement is not None:
            guest = live_migration.ConfinedGuest(
                guest, self._confinement, held
            )
        super()._live_migration_operation(
            context,
            instance,
            dest,
            block_migration,
            migrate_data,
            guest,
            device_names,
        )

    # Volumes

    def _connect_volume(
        self,
        context: Any,
        connection_info: dict[str, Any],
        instance: Any,
        encryption: Any = None,
    ) -> None:
        """Label a file-backed volume before a guest gets it.

        While an instance migrates, its source has labelled the file and
        still uses it.
        """
        super()._connect_volume(
            context, connection_info, instance, encryption=encryption
        )
        if (
            self._allocator is None
            or self._confinement is None
            or instance.task_state == task_states.MIGRATING
        ):
            return
        try:
            held = self._claim(instance)
            if held is not None:
                with faults.raised_to_nova(instance):
                    self._label_volume(connection_info, held)
        except Exception:
            super()._disconnect_volume(
                context, connection_info, instance, encryption=encryption
            )
            raise

    def _label_volume(
        self,
        connection_info: dict[str, Any],
        held: types.InstanceLevels,
    ) -> None:
        assert self._confinement is not None
        level: levels.Level | None = held.own
        image = None
        if volumes.is_read_only(connection_info):
            # libvirt opens those to every guest.
            image = self._confinement.image.at(held.own)
        if volumes.is_multiattach(connection_info):
            self._check_shares(held)
            level = held.project
            image = self._confinement.shared(held)
        volumes.keep_label(connection_info, image)
        path = volumes.file_of(
            self._get_volume_driver(connection_info), connection_info
        )
        if path is not None and level is not None:
            volumes.label(path, level)

    def _check_shares(self, held: types.InstanceLevels) -> None:
        """Check that an instance may have a volume that others have."""
        assert self._claims is not None
        if self._claims.shares_nothing(held):
            raise exception.LabelError(
                f'the level {held.own} of the instance has no part that its '
                f'project shares: it was given out before the level scheme '
                f'was "project". Attach the volume to instances that were '
                f'made since'
            )

    def _get_volume_config(self, *args: Any) -> Any:
        """The disk of a connected volume.

        :param args: in Nova 33 the instance first; then the connection and
            the description of the disk
        """
        image = volumes.kept_label(args[-2])
        config = super()._get_volume_config(*args)
        if image is not None:
            volumes.confine(config, image)
        return config

    def _disconnect_volume(
        self,
        context: Any,
        connection_info: dict[str, Any],
        instance: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Put a volume's label back while its file can still be reached.

        Not when the instance is, or is going to be, on another host, or
        others have the volume: the file carries the level that they run
        with.
        """
        if (
            self._claims is not None
            and self._confinement is not None
            and instance.task_state != task_states.MIGRATING
        ):
            path = volumes.file_of(
                self._get_volume_driver(connection_info), connection_info
            )
            if (
                path is not None
                and not self._claims.may_live_elsewhere(instance)
                and not volumes.is_used_by_others(
                    self._volume_api, context, connection_info, instance
                )
            ):
                volumes.restore(self._claims, instance, path)
        super()._disconnect_volume(
            context, connection_info, instance, *args, **kwargs
        )

    # A domain ends

    def _destroy(self, instance: Any) -> None:
        """End a domain; what one that stayed behind takes off comes back.

        As after an evacuation, once the host is back, or where a live
        migration to here has failed.
        """
        with contextlib.ExitStack() as stack:
            if (
                self._claims is not None
                and self._confinement is not None
                and self._claims.may_live_elsewhere(instance)
            ):
                stack.enter_context(
                    shared_files.put_back(self._host, self._claims, instance)
                )
            super()._destroy(instance)

    # What is left of an instance here, once Nova has cleaned up

    def cleanup(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Delete and every other way of leaving this host.

        Nova saves the instance in between (LibvirtDriver._cleanup), which
        reads its states anew: of a resized one that is deleted, those that
        the source has set when it confirmed the resize.
        """
        was_gone = self._claims is not None and self._claims.is_gone_for_good(
            instance
        )
        super().cleanup(context, instance, *args, **kwargs)
        self._settle(instance, was_gone)

    def post_live_migration_at_source(
        self, context: Any, instance: Any, network_info: Any
    ) -> None:
        """A live migration away from here has succeeded.

        With a directory on this host's own storage Nova calls cleanup
        later, which drops the claim then.
        """
        super().post_live_migration_at_source(context, instance, network_info)
        self._settle(instance)

    def confirm_migration(
        self, context: Any, migration: Any, instance: Any, network_info: Any
    ) -> None:
        """A resize or cold migration away from here is final."""
        super().confirm_migration(
            context, live_migration, instance, network_info
        )
        self._settle(instance)

    def delete_instance_files(self, instance: Any) -> bool:
        """The files of an instance deleted while this host was down."""
        cleaned = bool(super().delete_instance_files(instance))
        if cleaned:
            self._settle(instance)
        return cleaned

    def _settle(self, instance: Any, was_gone: bool = False) -> None:
        if self._claims is not None and instance.uuid not in self._restarting:
            self._claims.settle(instance, was_gone)

    def get_available_resource(self, nodename: str) -> Any:
        """Nova calls this at start and every update_resources_interval."""
        resources = super().get_available_resource(nodename)
        if (
            self._claims is not None
            and self._reconcile_at is not None
            and time.monotonic() >= self._reconcile_at
        ):
            self._reconcile(self._claims)
        return resources

    def _reconcile(self, host_claims: claims.HostClaims) -> None:
        interval = CONF.svirt.reconcile_interval
        if not interval and not self._has_reconciled:
            # The first look only finds what may be stale.
            interval = CONF.svirt.claim_grace + 1
        self._has_reconciled = True
        self._reconcile_at = time.monotonic() + interval if interval else None
        try:
            host_claims.reconcile()
        except (
            exception.SvirtError,
            nova_exception.NovaException,
            oslo_messaging.MessagingException,
            OSError,
        ) as error:
            # Resources must be reported all the same.
            LOG.warning(
                'The claims of this host could not be compared with what '
                'it has; the next try is in %s s. %s',
                interval,
                error,
            )
