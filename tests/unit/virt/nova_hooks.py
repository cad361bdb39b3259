# SPDX-License-Identifier: Apache-2.0
"""The methods of Nova's driver that ours overrides."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nova.virt.libvirt import driver as libvirt_driver

from svirt_nova.virt import driver as svirt_driver


def overrides() -> dict[str, Callable[..., Any]]:
    """The methods of our driver that stand before Nova's, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for part in svirt_driver.SvirtLibvirtDriver.__mro__:
        if part is libvirt_driver.LibvirtDriver:
            return found
        for name, function in vars(part).items():
            if inspect.isfunction(function):
                found.setdefault(name, function)
    return found
