# SPDX-License-Identifier: Apache-2.0
"""Makes a disk that stands alone of a file of the image cache."""

from __future__ import annotations

import os
from typing import Any

from nova.compute import utils as compute_utils
from nova.virt import images
from oslo_concurrency import processutils
from oslo_service import loopingcall
from oslo_utils import fileutils
from oslo_utils import units

from svirt_nova import logs
from svirt_nova.host import disk_chains

LOG = logs.get_logger(__name__)

_INTERVAL = 30.0
"""Seconds between two messages about a copy."""


def replace(instance: Any, base: str, disk: str) -> None:
    """Put a qcow2 copy of an image in the place of a disk.

    qemu-img has the file system share the blocks, where it can do that, and
    copies them elsewhere.

    :param base: the file of the image; no guest can have written it, and
        Nova has checked it
    :param disk: the path of the disk
    :raises oslo_concurrency.processutils.ProcessExecutionError: it cannot be
        copied
    """
    copy = f'{disk}.copy'
    whole = _used(base)

    def tell() -> None:
        LOG.info(
            'The image is being copied: %d of %d MiB',
            _used(copy),
            whole,
            instance=instance,
        )

    LOG.info(
        'The image is not shared with other guests: the instance gets a copy '
        'of its %d MiB',
        whole,
        instance=instance,
    )
    ticker = loopingcall.FixedIntervalLoopingCall(tell)
    ticker.start(interval=_INTERVAL, initial_delay=_INTERVAL)
    try:
        with (
            fileutils.remove_path_on_error(copy),
            compute_utils.disk_ops_semaphore,
        ):
            processutils.execute(
                'qemu-img',
                'convert',
                '-C',
                '-f',
                images.qemu_img_info(base).file_format,
                '-O',
                disk_chains.QCOW2,
                base,
                copy,
            )
            os.replace(copy, disk)
    finally:
        ticker.stop()
    LOG.info('The image is copied', instance=instance)


def _used(path: str) -> int:
    """The space that a file takes, in MiB; 0 while there is no file."""
    try:
        return os.stat(path).st_blocks * 512 // units.Mi
    except FileNotFoundError:
        return 0
