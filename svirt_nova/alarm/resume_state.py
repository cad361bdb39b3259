# SPDX-License-Identifier: Apache-2.0
"""The file by which an alarm goes on where it ended."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from svirt_nova import exception
from svirt_nova import logs

LOG = logs.get_logger(__name__)

_VERSION = 1
_LARGEST = 64 << 20


class StateFile:
    """Reads and writes the state.

    :param path: see the option
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = pathlib.Path(path)
        self._is_failing = False

    def load(self) -> dict[str, Any]:
        """The state of the last run; empty if there is none.

        One that cannot be used is kept beside the file, and said so.

        :raises InvalidOption: the file cannot be read, so that it could not
            be written either
        """
        try:
            with self._path.open('rb') as file:
                data = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise exception.InvalidOption(
                f'[svirt_alarm] state_path = {self._path} cannot be read: '
                f'{error.strerror}'
            ) from error
        try:
            found = json.loads(data) if len(data) <= _LARGEST else None
            if isinstance(found, dict) and found.get('version') == _VERSION:
                return found
        except ValueError:
            pass
        self.reject('it is no state of this release')
        return {}

    def reject(self, reason: str) -> None:
        """Say that the state cannot be used, and begin anew."""
        LOG.error(
            '%s cannot be used: %s. Denials since the last run may be '
            'untold. It is kept as %s.bad',
            self._path,
            reason,
            self._path.name,
        )
        with contextlib.suppress(OSError):
            os.replace(self._path, f'{self._path}.bad')

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state, whole or not at all.

        An error is logged once, until it is over: alarms go on without.
        """
        try:
            self._write(json.dumps({**state, 'version': _VERSION}).encode())
        except OSError as error:
            if not self._is_failing:
                LOG.error(
                    '%s cannot be written: %s. After a restart, alarms may be '
                    'told again, or be missing',
                    self._path,
                    error,
                )
            self._is_failing = True
        else:
            self._is_failing = False

    def _write(self, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(
            dir=self._path.parent, prefix=f'.{self._path.name}.'
        )
        try:
            with open(descriptor, 'wb') as file:
                file.write(data)
            os.replace(name, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
