# SPDX-License-Identifier: Apache-2.0
"""Reads the configuration again, at SIGHUP."""

from __future__ import annotations

import logging
from collections.abc import Callable

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs

LOG = logs.get_logger(__name__)

_TELLS = 'oslo_config.cfg'
"""The logger that tells each option that has changed, or cannot."""


class Reloader:
    """Gives changed options to those parts of the service that can take them.

    Options that are marked as mutable change; oslo.config logs which, and
    warns of others that need a restart.

    :param conf: the configuration of this process
    :param read: reads the files anew into a configuration of its own
    :param is_first: whether this process tells what has changed; the others
        do the same
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        read: Callable[[], cfg.ConfigOpts],
        is_first: bool = True,
    ) -> None:
        self._conf = conf
        self._read = read
        self._is_first = is_first

    def for_worker(self) -> Reloader:
        """The same, for a process whose log need not say it again."""
        return Reloader(self._conf, self._read, is_first=False)

    def reload(self) -> None:
        """Read the files again; those that are not valid change nothing."""
        if not self._is_first:
            logging.getLogger(_TELLS).setLevel(logging.ERROR)
        try:
            # Once oslo.config has read a value that is not valid, each use
            # of the option fails.
            self._read()
            changed = self._conf.mutate_config_files()
        except (exception.InvalidOption, cfg.Error) as error:
            if self._is_first:
                LOG.error(
                    'Nothing was changed, and the service goes on as it '
                    'was: %s',
                    error,
                )
            return
        if self._is_first:
            LOG.info(
                'The configuration was read again. Changed: %s',
                ', '.join(
                    f'[{group or "DEFAULT"}] {name}'
                    for group, name in sorted(
                        changed, key=lambda each: (each[0] or '', each[1])
                    )
                )
                or 'nothing that can change without a restart',
            )
