# SPDX-License-Identifier: Apache-2.0
"""The options of svirt-nova, a module for each group."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

from svirt_nova.conf import database
from svirt_nova.conf import svirt

_MODULES = (svirt, database)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register every option of svirt-nova."""
    for module in _MODULES:
        module.register_opts(conf)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """Every option by group, for oslo-config-generator."""
    return [entry for module in _MODULES for entry in module.list_opts()]
