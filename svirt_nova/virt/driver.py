# SPDX-License-Identifier: Apache-2.0
"""Nova's libvirt driver, with a level of its own for every instance.

It only decides when. What a level looks like, who holds it, how it gets
into XML and onto files is in the modules that it calls.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova.compute import task_states
from nova.compute import vm_states
import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils
from nova.virt.libvirt.volume import fs
from oslo_log import log as logging

from svirt_nova.allocator import base as allocators
from svirt_nova import conf as svirt_conf
from svirt_nova import exception
from svirt_nova import files
from svirt_nova import level as levels
from svirt_nova import lifecycle
from svirt_nova import readback
from svirt_nova import seclabel
from svirt_nova.virt import confinement

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

LEVEL_KEY = 'svirt_nova_level'
"""Where an instance's system_metadata remembers its level.

A cache for when the store cannot be reached, never the truth: Nova
replaces the whole of system_metadata when it saves a stale instance.
"""


class SvirtLibvirtDriver(libvirt_driver.LibvirtDriver):  # type: ignore[misc]
    """The libvirt driver of Nova, confining guests cloud-wide."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only=read_only)
        svirt_conf.register_opts(CONF)
        self._svirt_host = ''
        # None as long as the extension is off.
        self._allocator: allocators.Allocator | None = None
        # None where guests cannot be confined.
        self._confinement: confinement.Confinement | None = None
        # The level of each instance that is in a hard reboot, in which
        # Nova destroys the domain that stays.
        self._rebooting: dict[str, levels.Level | None] = {}

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
            self._allocator = allocators.load(CONF)
            self._confinement = confinement.of_host(
                self._host.get_connection().getCapabilities(),
                CONF.libvirt.virt_type,
            )
        except exception.SvirtError as error:
            if self._allocator is None or self._is_enforcing():
                LOG.critical('nova-compute cannot start: %s', error)
                raise nova_exception.InternalError(str(error)) from error
            LOG.warning('Guests on this host are NOT isolated: %s', error)
        try:
            self._warn_of_strangers(self._allocator.space())
        except exception.StoreUnreachable as error:
            LOG.warning(
                'The allocator cannot be reached: new instances are '
                'refused until it is back. %s', error
            )
        except exception.SvirtError as error:
            LOG.critical('nova-compute cannot start: %s', error)
            raise nova_exception.InternalError(str(error)) from error

    def _is_enforcing(self) -> bool:
        return bool(CONF.svirt.mode == 'enforcing')

    def _warn_of_strangers(self, space: Any) -> None:
        """Name the guests whose level libvirt drew out of our space."""
        found = []
        for guest in self._host.list_guests(only_running=True):
            label = seclabel.read(guest.get_xml_desc())
            if (
                label is not None
                and not label.is_static
                and label.label is not None
                and confinement.may_clash(space, label.label.level)
            ):
                found.append(f'{guest.name} ({label.label.level})')
        if found:
            LOG.warning(
                'These guests run with levels that libvirt drew by itself '
                'from the level space %s, so an instance may come to share '
                'one: %s. Hard-reboot those that are instances; for others '
                'give libvirtd a category range outside of the space.',
                space, ', '.join(sorted(found)),
            )

    # Errors

    @contextlib.contextmanager
    def _fault(self, instance: Any) -> Iterator[None]:
        """Turn what went wrong into the instance's fault, or a warning.

        A build is aborted rather than sent to other hosts: what Nova
        tells the user after the last of them hides the reason.
        """
        try:
            yield
        except exception.SvirtError as error:
            if not self._is_enforcing():
                LOG.warning(
                    'The instance is NOT isolated by a level of its own: '
                    '%s', error, instance=instance
                )
                return
            LOG.error('%s', error, instance=instance)
            if instance.vm_state == vm_states.BUILDING:
                raise nova_exception.BuildAbortException(
                    instance_uuid=instance.uuid, reason=str(error)
                ) from error
            raise nova_exception.InternalError(
                f'instance {instance.uuid}: {error}'
            ) from error

    # The level of an instance

    def _level(self, instance: Any) -> levels.Level | None:
        """Claim the instance for this host; its level.

        :returns: None when there is none and the mode is not enforcing
        """
        assert self._allocator is not None
        if instance.uuid in self._rebooting:
            return self._rebooting[instance.uuid]
        with self._fault(instance):
            try:
                level = self._allocator.acquire(
                    instance.uuid, instance.project_id, self._svirt_host
                ).level
            except exception.StoreUnreachable as error:
                level = self._remembered_level(instance, error)
            if instance.system_metadata.get(LEVEL_KEY) != str(level):
                instance.system_metadata[LEVEL_KEY] = str(level)
            return level
        return None

    def _remembered_level(
        self, instance: Any, error: exception.StoreUnreachable
    ) -> levels.Level:
        """The level of an instance that has its domain on this host.

        That domain was defined under a claim, which only goes after it.

        :raises StoreUnreachable: this host does not have the instance, or
            its domain has another level than Nova remembers
        """
        text = instance.system_metadata.get(LEVEL_KEY)
        try:
            xml = self._host.get_guest(instance).get_xml_desc(
                dump_inactive=True
            )
        except nova_exception.NovaException:
            raise error from None
        label = seclabel.read(xml)
        if (
            not text
            or label is None
            or not label.is_static
            or label.label is None
            or label.label.level != levels.Level.parse(text)
        ):
            raise error
        LOG.warning(
            'The allocator cannot be reached; the instance keeps the level '
            '%s that its domain has. %s', text, error, instance=instance
        )
        return label.label.level

    # Nothing is written before the level is claimed

    def spawn(self, context: Any, instance: Any, *args: Any,
              **kwargs: Any) -> None:
        """Boot, rebuild, evacuate to here, unshelve."""
        if self._allocator is not None:
            self._level(instance)
        super().spawn(context, instance, *args, **kwargs)

    def pre_live_migration(self, context: Any, instance: Any, *args: Any,
                           **kwargs: Any) -> Any:
        """Live migration to here: the level comes with the XML."""
        if self._allocator is not None:
            with self._fault(instance):
                try:
                    self._allocator.get(instance.uuid)
                except exception.UnknownInstance as error:
                    raise exception.UnknownInstance(
                        f'{error}. It was started without svirt-nova; '
                        f'hard-reboot it before it is migrated'
                    ) from error
                self._level(instance)
        return super().pre_live_migration(
            context, instance, *args, **kwargs)

    def finish_migration(self, context: Any, migration: Any, instance: Any,
                         *args: Any, **kwargs: Any) -> None:
        """Cold migration and resize to here."""
        if self._allocator is not None:
            self._level(instance)
        super().finish_migration(
            context, migration, instance, *args, **kwargs)

    def _hard_reboot(self, context: Any, instance: Any, *args: Any,
                     **kwargs: Any) -> None:
        """Hard reboot, start, resume on host boot.

        The level is known before the domain is destroyed: where there is
        none, the instance stays as it was.
        """
        if self._allocator is None:
            super()._hard_reboot(context, instance, *args, **kwargs)
            return
        self._rebooting[instance.uuid] = self._level(instance)
        try:
            super()._hard_reboot(context, instance, *args, **kwargs)
        finally:
            del self._rebooting[instance.uuid]

    def resume(self, context: Any, instance: Any, *args: Any,
               **kwargs: Any) -> None:
        """Resume a suspended guest.

        Its memory image carries the label that it was suspended with,
        which a start cannot change.
        """
        if self._allocator is not None and self._confinement is not None:
            with self._fault(instance):
                self._check_suspended(instance)
        super().resume(context, instance, *args, **kwargs)

    def _check_suspended(self, instance: Any) -> None:
        guest = self._host.get_guest(instance)
        label = seclabel.read(guest.get_xml_desc(dump_inactive=True))
        if label is None or not label.is_static:
            raise exception.LabelNotApplied(
                'the guest was suspended before it had a level of its own. '
                'Resume it with [svirt] mode = permissive and hard-reboot '
                'it, or give up its memory with a hard reboot'
            )

    # Every start of a domain comes through here

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
        level = None
        if self._allocator is not None:
            level = self._level(instance)
        confined = self._confinement
        if level is None or confined is None:
            return create(
                context, xml, instance, power_on=power_on, pause=pause,
                post_xml_callback=post_xml_callback)
        xml = confined.confine(xml, level)

        def label_files() -> None:
            if post_xml_callback is not None:
                post_xml_callback()
            with self._fault(instance):
                self._label_instance_files(instance, xml, level)

        guest = create(
            context, xml, instance, power_on=power_on,
            pause=power_on or pause, post_xml_callback=label_files)
        if power_on or pause:
            try:
                with self._fault(instance):
                    self._read_back(guest, confined, level)
                if not pause:
                    guest.resume()
            except Exception:
                guest.poweroff()
                raise
        return guest

    def _label_instance_files(
        self, instance: Any, xml: str, level: levels.Level
    ) -> None:
        directory = os.path.join(
            libvirt_utils.get_instance_path(instance), '')
        for disk in seclabel.disks(xml):
            if (
                disk.is_file
                and disk.label is seclabel.DiskLabel.OWN
                and disk.path.startswith(directory)
            ):
                files.label(CONF.instances_path, disk.path, level)

    def _read_back(
        self,
        guest: Any,
        confined: confinement.Confinement,
        level: levels.Level,
    ) -> None:
        text, enforced = guest._domain.securityLabel()
        readback.check(
            guest.get_xml_desc(),
            (text, bool(enforced)),
            confined.process.at(level),
            confined.image.at(level),
            files.read,
        )

    # Volumes

    def _volume_file(self, connection_info: dict[str, Any]) -> str | None:
        """The file of a volume that only one instance may use.

        A multiattach volume is left to libvirt: the level of one of its
        instances would cut the others off.
        """
        volume_driver = self._get_volume_driver(connection_info)
        if connection_info.get('multiattach') or not isinstance(
            volume_driver, fs.LibvirtBaseFileSystemVolumeDriver
        ):
            return None
        path: str | None = connection_info['data'].get('device_path')
        return path

    def _connect_volume(self, context: Any, connection_info: dict[str, Any],
                        instance: Any, encryption: Any = None) -> None:
        """Label a file-backed volume before a guest gets it.

        While an instance migrates, its source has labelled the file and
        still uses it.
        """
        super()._connect_volume(
            context, connection_info, instance, encryption=encryption)
        if (
            self._allocator is None
            or self._confinement is None
            or instance.task_state == task_states.MIGRATING
        ):
            return
        path = self._volume_file(connection_info)
        if path is None:
            return
        try:
            level = self._level(instance)
            if level is not None:
                with self._fault(instance):
                    files.label(os.path.dirname(path), path, level)
        except Exception:
            super()._disconnect_volume(
                context, connection_info, instance, encryption=encryption)
            raise

    def _disconnect_volume(self, context: Any,
                           connection_info: dict[str, Any], instance: Any,
                           *args: Any, **kwargs: Any) -> None:
        """Put a volume's label back while its file can still be reached.

        Not when the instance is, or is going to be, on another host: the
        file carries the level that it runs with there.
        """
        if (
            self._confinement is not None
            and instance.host == self._svirt_host
            and instance.task_state != task_states.MIGRATING
        ):
            path = self._volume_file(connection_info)
            if path is not None:
                self._restore(instance, path)
        super()._disconnect_volume(
            context, connection_info, instance, *args, **kwargs)

    def _restore(self, instance: Any, path: str) -> None:
        try:
            files.restore(os.path.dirname(path), path)
        except exception.SvirtError as error:
            # The volume is leaving all the same; its old level keeps
            # everybody else out until it is labelled anew.
            LOG.warning(
                'The label of the volume was not put back: %s', error,
                instance=instance
            )

    # What is left of an instance here, once Nova has cleaned up

    def cleanup(self, context: Any, instance: Any, *args: Any,
                **kwargs: Any) -> None:
        """Delete and every other way of leaving this host."""
        super().cleanup(context, instance, *args, **kwargs)
        self._settle(instance)

    def confirm_migration(self, context: Any, migration: Any, instance: Any,
                          network_info: Any) -> None:
        """A resize or cold migration away from here is final."""
        super().confirm_migration(
            context, migration, instance, network_info)
        self._settle(instance)

    def delete_instance_files(self, instance: Any) -> bool:
        """The files of an instance deleted while this host was down."""
        cleaned = bool(super().delete_instance_files(instance))
        if cleaned:
            self._settle(instance)
        return cleaned

    def _settle(self, instance: Any) -> None:
        """Drop this host's claim, if nothing of the instance is left."""
        if self._allocator is None or instance.uuid in self._rebooting:
            return
        remains = self._remains(instance)
        if remains:
            LOG.debug(
                'This host keeps its claim: it still has %s', remains,
                instance=instance
            )
            return
        state = lifecycle.InstanceState(
            deleted=bool(instance.deleted),
            vm_state=instance.vm_state,
            task_state=instance.task_state,
            host=instance.host,
        )
        host = self._svirt_host
        try:
            if lifecycle.is_gone_for_good(state, host):
                self._allocator.give_back(instance.uuid, host)
            else:
                self._allocator.unclaim(instance.uuid, host)
        except exception.SvirtError as error:
            # A claim too many is safe, and failing would undo nothing.
            LOG.warning(
                'The level of the instance stays claimed by this host '
                'although nothing of it is left here: %s', error,
                instance=instance
            )

    def _remains(self, instance: Any) -> lifecycle.Remains:
        try:
            self._host.get_guest(instance)
            domain = True
        except nova_exception.InstanceNotFound:
            domain = False
        except nova_exception.NovaException:
            # libvirt does not answer: it may be there.
            domain = True
        path = libvirt_utils.get_instance_path(instance)
        names = (path, f'{path}_resize', f'{path}_del')
        return lifecycle.Remains(
            domain=domain,
            directories=tuple(name for name in names if os.path.lexists(name)),
        )
