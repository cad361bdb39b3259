# SPDX-License-Identifier: Apache-2.0
"""Installed as ``nova.virt.svirt_nova``, where Nova looks for drivers.

Nova imports ``nova.virt.<compute_driver>`` and has no entry point for
drivers (``nova.virt.driver.load_compute_driver``); the driver itself is
``svirt_nova.virt.driver``.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == 'SvirtLibvirtDriver':
        from svirt_nova.virt import driver

        return driver.SvirtLibvirtDriver
    raise AttributeError(name)
