# SPDX-License-Identifier: Apache-2.0
"""The newest generation of the store that this host has seen.

It is kept in a file, because a store may be restored from a backup while
nova-compute does not run.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import urllib.parse

from svirt_nova import logs

LOG = logs.get_logger(__name__)


class SeenGeneration:
    """Remembers the newest generation that was seen.

    :param directory: where the file is kept, on storage of this host
    :param host_name: the name of the host, as Nova has it: several may share
        the directory
    """

    def __init__(self, directory: str, host_name: str) -> None:
        name = urllib.parse.quote(host_name, safe='')
        self._path = pathlib.Path(directory, f'svirt-nova-{name}.generation')
        self._number: int | None = None

    @property
    def number(self) -> int | None:
        """The newest generation; None if there is none."""
        if self._number is None:
            self._number = self._read()
        return self._number or None

    def _read(self) -> int:
        try:
            return int(self._path.read_text())
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            LOG.warning(
                'The file %s, with the newest generation of the store that '
                'this host has seen, cannot be read: %s',
                self._path,
                error,
            )
            return 0

    def learn(self, number: int | None) -> None:
        """Remember a generation, if it is newer than what was seen."""
        if number is None or number <= (self.number or 0):
            return
        self._number = number
        try:
            self._write(f'{number}\n')
        except OSError as error:
            LOG.warning(
                'The generation %d of the store is forgotten when '
                'nova-compute ends, because it cannot be written to %s: %s',
                number,
                self._path,
                error,
            )

    def _write(self, text: str) -> None:
        """Replace the file at once, so that no half of a number is read."""
        descriptor, path = tempfile.mkstemp(
            prefix=f'.{self._path.name}.', dir=self._path.parent
        )
        try:
            with os.fdopen(descriptor, 'w') as stream:
                stream.write(text)
            os.replace(path, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
