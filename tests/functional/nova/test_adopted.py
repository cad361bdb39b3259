# SPDX-License-Identifier: Apache-2.0
"""Nova's own tests, with our driver in the place of LibvirtDriver."""

from __future__ import annotations

import importlib
import re
from typing import Any

from nova import test

from tests.functional.nova import confined

_LIBVIRT = 'nova.tests.functional.libvirt'
MODULES = {
    'test_evacuate': '',
    'test_live_migration': '',
    'test_rescue_deleted_base': '',
    'test_server_shares': '',
    'test_uefi': '',
    # Of many, those in which a guest starts, moves or goes.
    'test_vtpm': r'test_(create_server|suspend_resume_server|'
    r'hard_reboot_server|migrate_server|shelve_server|live_migrate_server|'
    r'live_migrate_server_secret_security_host(_rollback)?|'
    r'resize_revert_server__vtpm_to_vtpm_same_config)',
}
"""Modules, and which of their tests; empty for all."""


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
                and not re.fullmatch(wanted or '.*', method)
            }
            namespace[case] = type(
                case,
                (confined.ConfinedMixin, cls),
                {'__module__': namespace['__name__'], **unwanted},
            )


for _name, _wanted in MODULES.items():
    _adopt(globals(), _name, _wanted)
