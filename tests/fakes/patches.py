# SPDX-License-Identifier: Apache-2.0
"""Puts a fake cloud below the driver, and below what the driver imports."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import fixtures
import nova.conf
from nova.virt.libvirt.volume import nfs
from oslo_concurrency import lockutils

import svirt_nova.conf
from svirt_nova.host import mounts
from svirt_nova.mcs import contexts
from tests import samples
from tests.fakes import allocators
from tests.fakes import cloud as fake_cloud
from tests.fakes import kernel as fake_kernel
from tests.fakes import libvirt_driver
from tests.fakes import storage as fake_storage

CONF = nova.conf.CONF

_IMAGE = contexts.Context.parse(samples.IMAGE_TEXT)
_VOLUME_DRIVER = nfs.LibvirtNFSVolumeDriver.__new__(nfs.LibvirtNFSVolumeDriver)
_LOCAL = mounts.FileSystem('xfs', '/')
_SHARED = mounts.FileSystem('nfs4', '/')


def methods() -> dict[str, Any]:
    """What the fake ``LibvirtDriver`` has, by name."""
    found: dict[str, Any] = {}
    for part in reversed(libvirt_driver.LibvirtDriver.__mro__[:-1]):
        for name, method in vars(part).items():
            if inspect.isfunction(method) or isinstance(method, staticmethod):
                found[name] = getattr(part, name)
    return found


class BelowTheDriver(fixtures.Fixture):
    """Has the driver work in a fake cloud.

    :param is_quiet: whether the driver logs nothing: of thousands of
        operations nobody reads it
    :ivar cloud: the cloud; a test sets it, and may replace it
    :ivar kernel: the kernel of all its hosts
    """

    cloud: fake_cloud.Cloud
    kernel: fake_kernel.Kernel

    def __init__(self, is_quiet: bool = True) -> None:
        super().__init__()
        self._is_quiet = is_quiet

    def _setUp(self) -> None:
        svirt_nova.conf.register_opts(CONF)
        self.addCleanup(CONF.clear_override, 'instances_path')
        if self._is_quiet:
            logging.disable(logging.CRITICAL)
            self.addCleanup(logging.disable, logging.NOTSET)
        for name, method in methods().items():
            self._patch(
                f'nova.virt.libvirt.driver.LibvirtDriver.{name}', method
            )
        self._patch(
            'nova.virt.libvirt.driver.LibvirtDriver._get_volume_driver',
            lambda driver, info: _VOLUME_DRIVER,
        )
        self._patch_the_kernel()
        self._patch_nova()
        clock = SimpleNamespace(monotonic=lambda: self.cloud.now)
        for name in ('outages', 'reconcile'):
            self._patch(f'svirt_nova.virt.{name}.time', clock)
        self._patch(
            'svirt_nova.allocator.base.load',
            lambda conf: allocators.Calls(self.cloud.allocator, self.cloud),
        )

    def _patch(self, name: str, new: Any) -> None:
        self.useFixture(fixtures.MonkeyPatch(name, new))

    def _patch_the_kernel(self) -> None:
        for name in ('label', 'share', 'restore', 'read', 'read_header'):
            self._patch(
                f'svirt_nova.host.file_labels.{name}',
                functools.partial(self._on_files, name),
            )
        self.kernel = self.useFixture(fake_kernel.Kernel())
        # A test may replace the store, and is not to leave files behind.
        for name in ('_read', '_write'):
            self._patch(
                f'svirt_nova.virt.seen_generation.SeenGeneration.{name}',
                lambda *_: 0,
            )
        # All hosts of a test have one store.
        self._patch(
            'svirt_nova.virt.store_scope.check', lambda conf, host_name: None
        )
        self._patch(
            'svirt_nova.virt.store_scope.other_hosts',
            lambda host_name: sorted({*self.cloud.hosts} - {host_name}),
        )
        self._patch('svirt_nova.host.image_contexts.writable', lambda: _IMAGE)
        self._patch(
            'svirt_nova.host.image_contexts.readable', lambda: samples.CONTENT
        )
        self._patch(
            'svirt_nova.host.mounts.file_system',
            lambda path: _SHARED if self.cloud.is_shared else _LOCAL,
        )

    def _on_files(self, name: str, *args: Any) -> Any:
        return getattr(self.cloud.files, name)(*args)

    def _patch_nova(self) -> None:
        stored = fake_storage.StoredOs(lambda: self.cloud.storage)
        for name in (
            'remains',
            'instance_disks',
            'own_disks',
            'volumes',
        ):
            self._patch(f'svirt_nova.virt.{name}.os', stored)
        self._patch(
            'nova.objects.Instance.get_by_uuid',
            lambda cls, context, uuid: self.cloud.database.get_by_uuid(
                uuid, context.read_deleted, self.cloud.processes.host
            ),
        )
        self._patch(
            'nova.objects.migration.MigrationList.get_by_filters',
            lambda cls, context, filters: self.cloud.database.get_by_filters(
                filters
            ),
        )
        self._patch(
            'svirt_nova.virt.reconcile.nova_utils',
            SimpleNamespace(synchronized=self._synchronized),
        )

    def _synchronized(
        self, uuid: str, *, blocking: bool
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """As ``nova.utils.synchronized``, on the host that is working."""
        host = self.cloud.processes.host
        assert host is not None

        @contextlib.contextmanager
        def hold() -> Iterator[None]:
            try:
                with self.cloud.compute(host).locked(uuid, blocking):
                    yield
            except BlockingIOError as error:
                raise lockutils.AcquireLockFailedException(uuid) from error

        return hold()
