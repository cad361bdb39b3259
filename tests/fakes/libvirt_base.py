# SPDX-License-Identifier: Apache-2.0
"""What the parts of the fake ``LibvirtDriver`` know of each other."""

from __future__ import annotations

from typing import Any

from nova import exception as nova_exception

from tests.fakes import domains
from tests.fakes import libvirt


class Part:
    """A part of the fake ``LibvirtDriver``."""

    _host: libvirt.Libvirt
    is_shared: bool
    destroy: Any
    _cleanup: Any
    _create_guest_with_network: Any
    _get_guest_xml: Any
    _connect_volume: Any
    _disconnect_volume: Any
    _get_volume_config: Any

    def _directory(self, instance: Any, suffix: str = '') -> str:
        return f'{self._host.instances}/{instance.uuid}{suffix}'

    def _exists(self, instance: Any, suffix: str = '') -> bool:
        return self._host.storage.exists(self._directory(instance, suffix))

    def _create_image(self, instance: Any, suffix: str = '') -> bool:
        """Make a disk, unless it is there.

        :returns: whether the directory is new
        """
        directory = self._directory(instance)
        disk = f'{directory}/disk{suffix}'
        is_new = not self._exists(instance)
        with self._host.steps.changes('make disk'):
            self._host.storage.make_directory(directory)
            if not self._host.storage.exists(disk):
                self._host.files.make(disk)
        return is_new

    def _rename(self, instance: Any, old: str, new: str) -> None:
        with self._host.steps.changes('rename directory'):
            self._host.storage.rename(
                self._directory(instance, old), self._directory(instance, new)
            )

    def _remove(self, instance: Any, suffix: str) -> None:
        with self._host.steps.changes('remove directory'):
            self._host.storage.remove(self._directory(instance, suffix))

    def _find(self, instance: Any) -> domains.Domain | None:
        try:
            return self._host.get_guest(instance)
        except nova_exception.InstanceNotFound:
            return None
