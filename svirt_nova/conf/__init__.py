# SPDX-License-Identifier: Apache-2.0
"""The options of svirt-nova, a module for each group."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

from svirt_nova.conf import alarm_options
from svirt_nova.conf import caller_keys
from svirt_nova.conf import database
from svirt_nova.conf import scraping
from svirt_nova.conf import service
from svirt_nova.conf import svirt

_MODULES = (
    svirt,
    database,
    service,
    caller_keys,
    alarm_options,
    scraping,
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options that every part of svirt-nova reads.

    Those of [svirt_nova_api] are registered by what asks Nova:
    keystoneauth is slow to import.
    """
    for module in _MODULES:
        module.register_opts(conf)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """Every option by group, for oslo-config-generator."""
    from svirt_nova.conf import compute_api

    modules = (*_MODULES, compute_api)
    return [entry for module in modules for entry in module.list_opts()]
