# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt_nova_api]: those of keystoneauth."""

from __future__ import annotations

from collections.abc import Sequence

from keystoneauth1 import loading
from oslo_config import cfg

GROUP = 'svirt_nova_api'
_TIMEOUT = 60


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt_nova_api]."""
    loading.register_auth_conf_options(conf, GROUP)
    loading.register_session_conf_options(conf, GROUP)
    loading.register_adapter_conf_options(conf, GROUP)
    conf.set_default('service_type', 'compute', group=GROUP)
    conf.set_default('timeout', _TIMEOUT, group=GROUP)


def is_configured(conf: cfg.ConfigOpts) -> bool:
    """Whether there are credentials for Nova's API."""
    register_opts(conf)
    options = conf[GROUP]
    # With a section of its own, the kind of credentials is an option there.
    return bool(options.auth_section or options.auth_type)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt_nova_api], for the usual kinds of credentials."""
    opts: list[cfg.Opt] = [
        *loading.get_auth_common_conf_options(),
        *loading.get_session_conf_options(),
        *loading.get_adapter_conf_options(),
        *loading.get_auth_plugin_conf_options('password'),
    ]
    return [(GROUP, sorted(opts, key=lambda opt: str(opt.name)))]
