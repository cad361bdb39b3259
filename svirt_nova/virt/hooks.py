# SPDX-License-Identifier: Apache-2.0
"""What the driver relies on in Nova: one table, checked against what is there.

Nova promises nothing of the methods of its drivers. If one that is overridden
here is renamed, ours is never called; if its parameters change, it fails in
the middle of an operation. Neither must be found out by a guest.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

TESTED_RELEASES = ('33', '34')
"""The releases of Nova that the tests run beside."""

DRIVER = 'nova.virt.libvirt.driver.LibvirtDriver'
_HOST = 'nova.virt.libvirt.host.Host'
_GUEST = 'nova.virt.libvirt.guest.Guest'
_BLOCK_DEVICE = 'nova.virt.libvirt.guest.BlockDevice'
_BACKENDS = 'nova.virt.libvirt.imagebackend'
_UTILS = 'nova.virt.libvirt.utils'


class Parameters(enum.Enum):
    """How the parameters of a function are compared with those named."""

    ALL = 'all'
    """They are these, in this order."""

    FIRST = 'first'
    """They begin with these."""

    LAST = 'last'
    """They end with these."""

    AMONG = 'among'
    """These are among them, and are passed by their names."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """A function of Nova that the driver overrides or calls.

    :param owner: the class or module that has it
    :param parameters: those that are relied on, without ``self``
    :param compared: how they are compared
    """

    owner: str
    name: str
    parameters: tuple[str, ...]
    compared: Parameters

    def __str__(self) -> str:
        return (
            f'{self.owner.rpartition(".")[2]}.{self.name}'
            f'({", ".join(self.parameters)})'
        )

    def fits(self, found: list[str]) -> bool:
        """Whether a function with these parameters can be relied on."""
        wanted = [*self.parameters]
        match self.compared:
            case Parameters.ALL:
                return found == wanted
            case Parameters.FIRST:
                return found[: len(wanted)] == wanted
            case Parameters.LAST:
                return not wanted or found[-len(wanted) :] == wanted
            case Parameters.AMONG:
                return set(wanted) <= set(found)


def _of(
    owner: str,
    name: str,
    parameters: str = '',
    compared: Parameters = Parameters.FIRST,
) -> Hook:
    return Hook(owner, name, tuple(parameters.split()), compared)


def _driver(
    name: str, parameters: str, compared: Parameters = Parameters.ALL
) -> Hook:
    return _of(DRIVER, name, parameters, compared)


OVERRIDDEN = (
    _driver('__init__', 'virtapi read_only'),
    _driver('init_host', 'host'),
    _driver('spawn', 'context instance', Parameters.FIRST),
    _driver(
        'finish_migration',
        'context migration instance disk_info',
        Parameters.FIRST,
    ),
    _driver(
        '_create_guest',
        'context xml instance power_on pause post_xml_callback',
    ),
    _driver(
        '_hard_reboot',
        'context instance network_info share_info block_device_info '
        'accel_info',
    ),
    _driver('_soft_reboot', 'instance'),
    _driver('resume', 'context instance', Parameters.FIRST),
    _driver('_needs_rebase_original_qcow2_image', 'instance backend'),
    _driver(
        'rescue',
        'context instance network_info image_meta',
        Parameters.FIRST,
    ),
    _driver(
        '_create_images_and_backing',
        'context instance instance_dir disk_info fallback_from_host',
    ),
    _driver(
        '_get_instance_disk_info_from_config',
        'guest_config block_device_info',
    ),
    _driver('cache_image', 'context image_id'),
    _driver('get_console_output', 'context instance'),
    _driver(
        '_live_snapshot',
        'context instance guest disk_path out_path source_format '
        'image_format image_meta',
    ),
    _driver(
        '_volume_snapshot_create',
        'context instance guest volume_id new_file',
    ),
    _driver(
        '_volume_snapshot_delete',
        'context instance volume_id snapshot_id delete_info',
    ),
    _driver('_rebase_with_qemu_img', 'source_path rebase_base'),
    _driver(
        '_suspend_guest_for_snapshot',
        'context live_snapshot current_power_state instance',
    ),
    _driver(
        '_resume_guest_after_snapshot',
        'context live_snapshot original_power_state instance guest',
    ),
    _driver('_connect_volume', 'context connection_info instance encryption'),
    _driver(
        '_get_volume_config', 'connection_info disk_info', Parameters.LAST
    ),
    _driver(
        '_resize_attached_encrypted_volume',
        'context original_new_size block_device instance connection_info '
        'encryption',
    ),
    _driver(
        '_disconnect_volume',
        'context connection_info instance',
        Parameters.FIRST,
    ),
    _driver(
        'pre_live_migration',
        'context instance block_device_info network_info disk_info '
        'migrate_data',
    ),
    _driver('emit_event', 'event'),
    _driver(
        'post_live_migration_at_destination',
        'context instance',
        Parameters.FIRST,
    ),
    _driver(
        'live_migration',
        'context instance dest post_method recover_method block_migration '
        'migrate_data',
    ),
    _driver(
        '_live_migration_operation',
        'context instance dest block_migration migrate_data guest '
        'device_names',
    ),
    _driver('destroy', 'context instance', Parameters.FIRST),
    _driver('cleanup', 'context instance', Parameters.FIRST),
    _driver('post_live_migration_at_source', 'context instance network_info'),
    _driver('confirm_migration', 'context migration instance network_info'),
    _driver('delete_instance_files', 'instance'),
    _driver('get_available_resource', 'nodename'),
    _driver(
        'update_provider_tree', 'provider_tree nodename', Parameters.FIRST
    ),
)
"""The methods that the driver overrides, with the parameters that its own
have in their place."""

CALLED = (
    _driver(
        '_needs_suspend_resume_for_snapshot',
        'live_snapshot current_power_state',
    ),
    _driver('_get_volume_driver', 'connection_info'),
    _driver('_allow_native_luksv1', 'encryption', Parameters.FIRST),
    _driver('_resize_attached_volume', 'new_size block_device instance'),
    _driver('_can_quiesce', 'instance image_meta'),
    _driver('quiesce', 'context instance image_meta'),
    _driver('unquiesce', 'context instance image_meta'),
    _of(_HOST, 'get_guest', 'instance'),
    _of(_HOST, 'list_guests', 'only_running', Parameters.AMONG),
    _of(_HOST, 'get_connection'),
    _of(_GUEST, '__init__', 'domain'),
    _of(_GUEST, 'get_xml_desc', 'dump_inactive', Parameters.AMONG),
    _of(_GUEST, 'poweroff'),
    _of(_GUEST, 'resume'),
    _of(_GUEST, 'pause'),
    _of(_GUEST, 'is_active'),
    _of(_GUEST, 'launch', 'pause', Parameters.AMONG),
    _of(_GUEST, 'migrate', 'destination_xml', Parameters.AMONG),
    _of(_GUEST, 'get_block_device', 'disk'),
    _of(
        _GUEST,
        'snapshot',
        'conf no_metadata disk_only reuse_ext quiesce',
        Parameters.AMONG,
    ),
    _of(
        _BLOCK_DEVICE, 'copy', 'dest_xml reuse_ext transient', Parameters.AMONG
    ),
    _of(_BLOCK_DEVICE, 'abort_job'),
    _of(_BLOCK_DEVICE, 'is_job_complete'),
    _of(_BACKENDS + '.Image', 'create_image'),
    *(
        _of(
            f'{_BACKENDS}.{kind}', 'create_image', 'prepare_template base size'
        )
        for kind in ('Qcow2', 'Flat')
    ),
    _of(_BACKENDS + '.Image', '_get_lock_name', 'base', Parameters.ALL),
    _of(
        'nova.image.glance.GlanceClientWrapper',
        'call',
        'context version method args',
        Parameters.AMONG,
    ),
    _of('nova.virt.images', 'qemu_img_info', 'path'),
    _of('nova.virt.images', 'privileged_qemu_img_info', 'path format'),
    _of(
        'nova.objects.instance.InstanceList',
        'get_by_filters',
        'filters expected_attrs',
        Parameters.AMONG,
    ),
    _of(_BACKENDS + '.Image', 'resize_image', 'size', Parameters.ALL),
    _of(_BACKENDS + '.Image', 'cache', 'fetch_func filename'),
    _of(
        _BACKENDS + '.Image',
        'snapshot_extract',
        'target out_format',
        Parameters.ALL,
    ),
    _of('nova.virt.libvirt.imagecache.ImageCacheManager', '__init__'),
    _of(
        'nova.virt.libvirt.imagecache.ImageCacheManager',
        '_list_backing_images',
    ),
    _of(_BACKENDS + '.Flat', '_get_driver_format', '', Parameters.ALL),
    _of(_BACKENDS + '.Backend', '__init__', 'use_cow', Parameters.ALL),
    _of('nova.virt.libvirt.imagecache', 'get_cache_fname', 'image_id'),
    _of(
        'nova.privsep.fs', 'get_fs_type_for_os_type', 'os_type', Parameters.ALL
    ),
    _of(
        'nova.privsep.fs',
        'get_file_extension_for_os_type',
        'os_type default_ephemeral_format',
    ),
    _of('nova.objects.instance.Instance', 'get_flavor'),
    _of(
        'nova.objects.migration_context.MigrationContext',
        'is_cross_cell_move',
        '',
        Parameters.ALL,
    ),
    _of(_UTILS, 'get_disk_size', 'path format', Parameters.AMONG),
    _of(_UTILS, 'create_image', 'path disk_format disk_size'),
    _of(_UTILS, 'extract_snapshot', 'disk_path source_fmt out_path dest_fmt'),
    _of(_UTILS, 'get_instance_path', 'instance'),
    _of(
        'nova.virt.driver',
        'block_device_info_get_mapping',
        'block_device_info',
    ),
    _of('nova.virt.event.LifecycleEvent', 'get_transition'),
)
"""Other functions that the driver calls, with the parameters that it
passes."""

HOOKS = OVERRIDDEN + CALLED


def find(owner: str) -> Any:
    """A module, or a class in one, by its dotted name.

    :raises ImportError: there is no such module
    :raises AttributeError: there is no such class in it
    """
    try:
        return importlib.import_module(owner)
    except ModuleNotFoundError:
        module, _, name = owner.rpartition('.')
        return getattr(importlib.import_module(module), name)


def problems(find_owner: Callable[[str], Any] = find) -> list[str]:
    """Which hooks are not there, or not as they are relied on.

    :param find_owner: finds the class or module of a hook
    """
    return [*_problems(find_owner)]


def _problems(find_owner: Callable[[str], Any]) -> Iterator[str]:
    for hook in HOOKS:
        try:
            function = getattr(find_owner(hook.owner), hook.name)
        except (ImportError, AttributeError):
            yield f'there is no {hook}'
            continue
        found = _parameters(function)
        if found is not None and not hook.fits(found):
            yield f'{hook} has the parameters {", ".join(found) or "none"}'


def _parameters(function: Any) -> list[str] | None:
    """The names of the parameters of a function, without ``self``.

    :returns: None for one that takes whatever it is given, as a decorator
        may make it
    """
    found = [*inspect.signature(function).parameters.values()]
    if found and all(
        each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in found
    ):
        return None
    return [each.name for each in found if each.name != 'self']


def installed_release() -> str | None:
    """The release of Nova that is installed; None where nothing says it."""
    try:
        return importlib.metadata.version('nova')
    except importlib.metadata.PackageNotFoundError:
        return None


def untested() -> str | None:
    """What to tell of a Nova that the tests do not run beside.

    :returns: None for one of :data:`TESTED_RELEASES`
    """
    release = installed_release()
    if release is not None and release.split('.')[0] in TESTED_RELEASES:
        return None
    return (
        f'Nova {release or "of an unknown release"} is installed, and '
        f'svirt-nova is tested beside Nova {" and ".join(TESTED_RELEASES)}'
    )


def refusal(found: list[str]) -> str:
    """Say that hooks are missing, and what to do.

    :param found: what :func:`problems` found
    """
    return (
        f'svirt-nova does not fit Nova {installed_release() or ""}, so that '
        f'guests could start without their levels: {"; ".join(found)}. '
        f'Install releases of Nova and svirt-nova that fit each other'
    )
