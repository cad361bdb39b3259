# SPDX-License-Identifier: Apache-2.0
"""What the configuration files of a compute host's services say (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab import cache
from tests.lab import preparation
from tests.lab.configuration import Configuration
from tests.lab.configuration import INSIDE
from tests.lab.configuration import OUTSIDE
from tests.lab.configuration import Sections


@dataclass(frozen=True)
class Access:
    """How a compute service finds the control plane.

    :ivar address: where it listens
    :ivar interface: which of the catalog's endpoints have that address
    :ivar python: the command that runs a Python script beside it
    """

    address: str
    interface: str
    python: str


#: In a host, behind QEMU's user-mode network.
FROM_HOST = Access(INSIDE, 'internal', preparation.python())
#: The same for cinder, whose helpers import eventlet, and Nova's must not.
CINDER_FROM_HOST = Access(INSIDE, 'internal', preparation.python('cinder'))
#: On the machine itself.
FROM_MACHINE = Access(OUTSIDE, 'public', f'{cache.VENV}/bin/python3')


def compute(
    configuration: Configuration,
    name: str,
    address: str,
    access: Access = FROM_HOST,
) -> dict[str, dict[str, object]]:
    """Give the nova.conf of a compute host, without its driver.

    :param address: the host's own, for migrations
    """
    sections = configuration.nova_sections(access.address, access.interface)
    sections['DEFAULT'].update(
        {
            'host': name,
            'my_ip': address,
            'force_config_drive': True,
            'state_path': '/var/lib/nova',
            # The image of a host has no mkfs.vfat, which is the default.
            'default_ephemeral_format': 'ext4',
            'vif_plugging_timeout': 600,
            # The guests do not listen when asked to power off.
            'shutdown_timeout': 2,
            # The hosts' times are an emulator's.
            'resize_confirm_window': 0,
            'reserved_host_memory_mb': 512,
            # Guests that do nothing can be many.
            'cpu_allocation_ratio': 64,
            'update_resources_interval': 60,
            'heal_instance_info_cache_interval': -1,
        }
    )
    sections['libvirt'] = {
        'virt_type': 'qemu',
        'cpu_mode': 'none',
        'images_type': 'qcow2',
        'num_pcie_ports': 8,
        'wait_soft_reboot_seconds': 5,
        'live_migration_scheme': 'tcp',
        'live_migration_inbound_addr': address,
    }
    sections['vnc'] = {'enabled': False}
    # Neutron's ports are active without an agent that could tell.
    sections['compute'] = {'live_migration_wait_for_vif_plug': False}
    sections['workarounds'] = {'skip_cpu_compare_on_dest': True}
    # Without sudo: nova-compute is root on a lab's host.
    for group in (
        'nova_sys_admin',
        'vif_plug_linux_bridge_privileged',
        'vif_plug_ovs_privileged',
        'privsep_osbrick',
        'svirt_nova_privileged',
    ):
        sections[group] = {
            'helper_command': _privsep_command(access, '/etc/nova/nova.conf')
        }
    return sections


def volumes(
    configuration: Configuration,
    address: str,
    access: Access = CINDER_FROM_HOST,
) -> Sections:
    """Give the cinder.conf of the host that serves volumes.

    :param address: the host's own
    """
    sections = configuration.cinder_sections(access.address, access.interface)
    sections['DEFAULT'].update(
        {
            'enabled_backends': 'nfs',
            'host': 'volumes',
            'my_ip': address,
            'state_path': '/var/lib/cinder',
        }
    )
    sections['oslo_concurrency'] = {'lock_path': '/var/lib/cinder'}
    sections['coordination'] = {'backend_url': 'file:///var/lib/cinder'}
    sections['nfs'] = {
        'volume_driver': 'shareable.NfsDriver',
        'volume_backend_name': 'nfs',
        'nfs_shares_config': '/etc/cinder/shares',
        'nfs_mount_point_base': '/var/lib/cinder/mnt',
        'nfs_snapshot_support': True,
        'nas_secure_file_operations': False,
        'nas_secure_file_permissions': False,
    }
    # Without sudo: cinder-volume is root on a lab's host.
    for group in ('cinder_sys_admin', 'privsep_osbrick'):
        sections[group] = {
            'helper_command': _privsep_command(
                access, '/etc/cinder/cinder.conf'
            )
        }
    return sections


def _privsep_command(access: Access, configuration: str) -> str:
    """Give the command that starts a privileged helper."""
    return (
        f'{access.python} {cache.VENV}/bin/privsep-helper '
        f'--config-file {configuration}'
    )
