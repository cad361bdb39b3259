# SPDX-License-Identifier: Apache-2.0
"""Turns an error into the fault of an instance, or into a warning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import nova.conf
from nova import exception as nova_exception
from nova.compute import vm_states

from svirt_nova import exception
from svirt_nova import logs

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)


def is_enforcing() -> bool:
    """Whether a guest without a level of its own must not start."""
    return bool(CONF.svirt.mode == 'enforcing')


def _is_tolerated(error: exception.SvirtError) -> bool:
    if not is_enforcing():
        return True
    return (
        isinstance(error, exception.UnlabeledStorage)
        and CONF.svirt.unlabeled_storage == 'warn'
    )


@contextlib.contextmanager
def raised_to_nova(instance: Any) -> Iterator[None]:
    """Raise an error of ours so that it becomes the fault of an instance.

    A build is aborted rather than sent to other hosts, because the fault that
    Nova shows after the last of them hides the reason. An error that the
    configuration tolerates is logged instead.

    :raises nova.exception.BuildAbortException: the instance is being
        built
    :raises nova.exception.InternalError: anything else is done to it
    """
    try:
        yield
    except exception.SvirtError as error:
        if _is_tolerated(error):
            LOG.warning(
                'The instance is NOT isolated by a level of its own: %s',
                error,
                instance=instance,
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
