# SPDX-License-Identifier: Apache-2.0
"""Guru Meditation Reports: what a process does, told at SIGUSR2.

Such a report has the stack of each thread, the processes, and the options
with their values; values of secret options are left out.
"""

from __future__ import annotations

import os

from oslo_config import cfg
from oslo_reports import guru_meditation_report
from oslo_reports import opts
from oslo_reports.generators import conf as conf_generator

from svirt_nova.cmd import config

_VENDOR = 'svirt-nova'


class _Version:
    """What a report says of the program; oslo.reports asks for it."""

    def vendor_string(self) -> str:
        """Who makes it."""
        return _VENDOR

    def product_string(self) -> str:
        """Its name."""
        return _VENDOR

    def version_string_with_package(self) -> str:
        """Its release."""
        return config.version()


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [oslo_reports]."""
    opts.set_defaults(conf)


def install(conf: cfg.ConfigOpts, name: str) -> None:
    """Let this process, in its main thread, write a report at SIGUSR2.

    It is written into a file in ``[oslo_reports] log_dir`` or, if that is not
    set, in the directory of the log, or else to standard error.

    :param name: of the process, for the name of the file
    """
    report = guru_meditation_report.TextGuruMeditation
    if not getattr(report, 'persistent_sections', None):
        # oslo.reports shows the global configuration, which we do not use.
        report.register_section(
            'Configuration of the service',
            conf_generator.ConfigReportGenerator(conf),
        )
    report.setup_autorun(
        _Version(),
        service_name=f'{name}-{os.getpid()}',
        log_dir=conf.oslo_reports.log_dir or conf.log_dir,
        conf=conf,
    )
