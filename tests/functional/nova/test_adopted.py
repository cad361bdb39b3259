# SPDX-License-Identifier: Apache-2.0
"""Nova's own tests, with our driver in the place of LibvirtDriver."""

from __future__ import annotations

import importlib
from typing import Any

from nova import test

from tests.functional.nova import confined

MODULES = (
    'nova.tests.functional.libvirt.test_evacuate',
    'nova.tests.functional.libvirt.test_live_migration',
    'nova.tests.functional.libvirt.test_rescue_deleted_base',
    'nova.tests.functional.libvirt.test_server_shares',
    'nova.tests.functional.libvirt.test_uefi',
)


def _adopt(namespace: dict[str, Any], name: str) -> None:
    module = importlib.import_module(name)
    for case, cls in vars(module).items():
        if (
            isinstance(cls, type)
            and issubclass(cls, test.TestCase)
            and cls.__module__ == name
        ):
            namespace[case] = type(
                case,
                (confined.ConfinedMixin, cls),
                {'__module__': namespace['__name__']},
            )


for _name in MODULES:
    _adopt(globals(), _name)
