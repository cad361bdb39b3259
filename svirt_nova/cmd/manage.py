# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova``: the operator's view of levels and their store."""

from __future__ import annotations

import argparse
import functools
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cliff import app
from cliff import commandmanager
from oslo_config import cfg

from svirt_nova.cmd import config

NAMESPACE = 'svirt_nova.cli'
"""The entry point namespace of the commands."""


class SvirtNova(app.App):
    """The program: its global options and what its commands share."""

    NAME = 'svirt-nova'
    # Log warnings and errors; -v adds what libraries log of their work.
    DEFAULT_VERBOSE_LEVEL = 0

    def __init__(self) -> None:
        super().__init__(
            description='Levels of instances, and the store that holds them.',
            version=config.version(),
            command_manager=commandmanager.CommandManager(NAMESPACE),
            # --help after the name of a command is about that command.
            deferred_help=True,
        )

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        """The global options."""
        parser = super().build_option_parser(
            description, version, argparse_kwargs
        )
        parser.add_argument(
            '--config-file',
            action='append',
            default=[],
            metavar='FILE',
            help='A configuration file; may be repeated, the last one goes '
            'first. Default: those that nova-compute reads, such as '
            '/etc/nova/nova.conf.',
        )
        parser.add_argument(
            '--config-dir',
            action='append',
            default=[],
            metavar='DIR',
            help='A directory of *.conf files, read after the files; may '
            'be repeated.',
        )
        return parser

    def configure_logging(self) -> None:
        """Log as cliff does, but each failure only once."""
        super().configure_logging()
        if self.options.verbose_level == self.DEFAULT_VERBOSE_LEVEL:
            # stevedore logs an error that it also raises.
            logging.getLogger('stevedore').setLevel(logging.CRITICAL)

    def initialize_app(self, argv: list[str]) -> None:
        """Refuse to be started without a command."""
        if not argv and not self.options.deferred_help:
            self.parser.error('no command given; see svirt-nova --help')

    @functools.cached_property
    def conf(self) -> cfg.ConfigOpts:
        """The configuration, read when a command first needs it.

        :raises InvalidOption: it cannot be used
        """
        return config.load(self.options.config_file, self.options.config_dir)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``svirt-nova``.

    :returns: the exit status: 0, 1 when the command failed, or 2 when it
        was called wrongly
    """
    # What libraries warn their developers of is no part of an answer.
    if not sys.warnoptions:
        warnings.simplefilter('ignore')
    return SvirtNova().run(list(sys.argv[1:] if argv is None else argv))
