# SPDX-License-Identifier: Apache-2.0
"""Nova's own tests, with our driver in the place of LibvirtDriver."""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

import fixtures
import nova.conf
from nova import test
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils

from tests import samples
from tests.functional.nova import confined

CONF = nova.conf.CONF
_LIBVIRT = 'nova.tests.functional.libvirt'
MODULES = {
    'test_evacuate': '',
    'test_live_migration': '',
    'test_machine_type': r'.*\.test_machine_type_after_server_.*',
    # The others of this module and the next are about placing guests.
    'test_numa_live_migration': r'NUMALiveMigrationPositiveTests\.'
    r'test_numa_live_migration|NUMALiveMigrationRollbackTests\.test_rollback',
    'test_numa_servers': r'NUMAServersTest\.test_resize_'
    r'(revert_server_with_numa|(confirm|revert)_bug_1944759)|'
    r'NUMAServersRebuildTests\.'
    r'test_rebuild_server_with_numa|.*\.test_cold_migrate_with_physnet',
    'test_rescue_deleted_base': '',
    'test_server_shares': '',
    'test_stateless_firmware': '',
    'test_uefi': '',
    # Of many, those in which a guest starts, moves or goes.
    'test_vtpm': r'.*\.test_(create_server|suspend_resume_server|'
    r'(soft|hard)_reboot_server|migrate_server|shelve_server|'
    r'live_migrate_server|'
    r'live_migrate_server_secret_security_host(_rollback)?|'
    r'resize_revert_server__vtpm_to_vtpm_same_config)',
}
"""Modules, and which of their tests, by class and name; empty for all."""

FOREIGN_DIRECTORIES = {
    'test_cold_migrate_with_share_mount_failure': 'the destination fails '
    'before its driver is called',
}
"""See :class:`tests.functional.nova.confined.ConfinedMixin`."""


class _OwnDirectories:
    """Gives instances directories of their own.

    In the adopted tests they share one, with which the first of them that
    is deleted removes those of all others.
    """

    def setUp(self) -> None:
        path = libvirt_utils.get_instance_path
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.utils.get_instance_path', path
            )
        )

    def _wait_for_state_change(
        self, server: Any, state: str, *args: Any, **kwargs: Any
    ) -> Any:
        server = super()._wait_for_state_change(server, state, *args, **kwargs)
        if state == 'ACTIVE' and 'rescue' in self.id():
            # Which Nova's driver makes, had it to create an image.
            path = os.path.join(CONF.instances_path, server['id'])
            os.makedirs(path, exist_ok=True)
        return server


class _VolumesOnDevices:
    """Has volumes on block devices, as those of an iSCSI target are.

    The adopted tests give each volume a file of a name that is nowhere, and
    such a file is refused: it belongs to no volume.
    """

    def setUp(self) -> None:
        super().setUp()
        driver = libvirt_driver.LibvirtDriver
        driver._get_volume_config.return_value.source_type = 'block'


class _WholeDisks(_VolumesOnDevices):
    """Makes disks that begin as qcow2 files do.

    Those of the adopted tests are empty, and such a disk is refused.
    """

    def setUp(self) -> None:
        super().setUp()

        def create_image(image: Any, *args: Any, **kwargs: Any) -> None:
            with open(image.path, 'ab') as file:
                if not file.tell():
                    file.write(samples.qcow2_header())

        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.imagebackend.Qcow2.create_image',
                create_image,
            )
        )


_MIXINS: dict[str, tuple[type, ...]] = {
    'LibvirtStatelessFirmwareTest': (_OwnDirectories,),
    'RescueServerTestWithDeletedBaseImage': (_OwnDirectories,),
    'LibvirtQcowEvacuateTest': (_WholeDisks,),
    **dict.fromkeys(
        (
            'LibvirtFlatEvacuateTest',
            'LibvirtRbdEvacuateTest',
            'LibvirtLVMEvacuateTest',
        ),
        (_VolumesOnDevices,),
    ),
}


def _adopt(namespace: dict[str, Any], name: str, wanted: str) -> None:
    module = importlib.import_module(f'{_LIBVIRT}.{name}')
    for case, cls in vars(module).items():
        if (
            isinstance(cls, type)
            and issubclass(cls, test.TestCase)
            and cls.__module__ == module.__name__
        ):
            # What is no function, unittest does not take for a test.
            unwanted = {
                method: None
                for method in dir(cls)
                if method.startswith('test_')
                and not re.fullmatch(wanted or '.*', f'{case}.{method}')
            }
            namespace[case] = type(
                case,
                (confined.ConfinedMixin, *_MIXINS.get(case, ()), cls),
                {
                    '__module__': namespace['__name__'],
                    'FOREIGN_DIRECTORIES': FOREIGN_DIRECTORIES,
                    **unwanted,
                },
            )


for _name, _wanted in MODULES.items():
    _adopt(globals(), _name, _wanted)
