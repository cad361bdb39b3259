# SPDX-License-Identifier: Apache-2.0
"""Where an instance lives and moves, as Nova's conductor says."""

from __future__ import annotations

from typing import Any

import nova.context
import oslo_messaging
from nova import exception as nova_exception
from nova import objects
from nova.compute import task_states
from nova.compute import vm_states
from nova.objects import fields
from nova.objects import instance as instances
from nova.objects import migration as migrations

from svirt_nova import logs

LOG = logs.get_logger(__name__)

# What Nova leaves a migration at. A finished resize is not over: it waits
# for its confirmation. A migration that is "done" is an evacuation whose
# source has not cleaned up yet; that cleanup drops the claim.
_OVER = frozenset(
    [
        'cancelled',
        'completed',
        'confirmed',
        'done',
        'error',
        'failed',
        'reverted',
    ]
)

# The states of an evacuation that has not failed, until its source has
# cleaned up (ComputeManager._destroy_evacuated_instances). In the last of
# them the instance has its new host.
_DONE = 'done'
_EVACUATING = ('accepted', 'pre-migrating', _DONE)


def admin(read_deleted: str = 'no') -> Any:
    """A request context with which Nova's records may be read.

    :param read_deleted: ``yes`` to see deleted instances, too
    """
    return nova.context.get_admin_context(read_deleted=read_deleted)


def find_instance(instance_uuid: str) -> Any:
    """Nova's record of an instance, which may be deleted.

    :raises nova.exception.InstanceNotFound: this cell has no record. That is
        no evidence of a deletion: a resize into another cell removes the
        record of an instance that lives on there.
    """
    return objects.Instance.get_by_uuid(admin('yes'), instance_uuid)


def find_live_instance(instance_uuid: str) -> Any:
    """Nova's record of an instance that is not deleted.

    :raises nova.exception.InstanceNotFound: this cell has no such record
    """
    return objects.Instance.get_by_uuid(admin(), instance_uuid)


def find_instances_of(image: str) -> list[Any]:
    """The instances of this cell that were made of an image.

    :param image: the UUID of the image
    """
    return _find_instances(image_ref=image)


def find_rescued() -> list[Any]:
    """The instances of this cell that are rescued, with whatever image."""
    return [
        *_find_instances(vm_state=vm_states.RESCUED),
        *_find_instances(task_state=task_states.RESCUING),
    ]


def _find_instances(**wanted: str) -> list[Any]:
    return list(
        instances.InstanceList.get_by_filters(
            admin(),
            {**wanted, 'deleted': False, 'soft_deleted': True},
            expected_attrs=['system_metadata'],
        )
    )


def is_migrating(instance_uuid: str, host: str) -> bool:
    """Whether a migration of an instance from or to a host is not over."""
    found = migrations.MigrationList.get_by_filters(
        admin('yes'), {'instance_uuid': instance_uuid, 'host': host}
    )
    return any(each.status not in _OVER for each in found)


def may_live_elsewhere(instance: Any, host: str) -> bool:
    """Whether an instance may run on another host than this already.

    Nova notes the new host only when an evacuation has ended
    (``ComputeManager.rebuild_instance``). What a host does to files that it
    shares, it does to a guest that runs there.

    :returns: True also when Nova's conductor does not answer
    """
    if instance.host != host:
        return True
    request = admin('yes')
    try:
        found = migrations.MigrationList.get_by_filters(
            request,
            {
                'instance_uuid': instance.uuid,
                'source_compute': host,
                'migration_type': fields.MigrationType.EVACUATION,
                'status': [*_EVACUATING],
            },
        )
        if any(each.status != _DONE for each in found):
            return True
        # The record is read anew: since the evacuation the instance may have
        # come back, or the caller's record may be older than it.
        return bool(found) and (
            objects.Instance.get_by_uuid(request, instance.uuid).host != host
        )
    except (
        nova_exception.NovaException,
        oslo_messaging.MessagingException,
    ) as error:
        LOG.warning(
            'Nova does not say whether the instance is being evacuated, '
            'so the labels of its files are kept: %s',
            error,
            instance=instance,
        )
        return True
