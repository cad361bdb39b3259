# SPDX-License-Identifier: Apache-2.0
"""The entry point by which tempest finds the tests and the options."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from oslo_config import cfg
from tempest.test_discover import plugins

import svirt_nova
from svirt_nova.tempest import options


class SvirtNovaTempestPlugin(plugins.TempestPlugin):
    """The entry point ``svirt_nova`` of ``tempest.test_plugins``."""

    def load_tests(self) -> tuple[str, str]:
        """Where the tests are.

        :returns: the directory of the tests, and the one that the package
            is in
        """
        package = pathlib.Path(svirt_nova.__file__).parent
        return str(package / 'tempest' / 'api'), str(package.parent)

    def register_opts(self, conf: cfg.ConfigOpts) -> None:
        """Register [svirt_nova] and [service_available] svirt_nova."""
        options.register_opts(conf)

    def get_opt_lists(self) -> list[tuple[str, Sequence[cfg.Opt]]]:
        """The options by group, for a sample of tempest.conf."""
        return options.list_opts()
