# SPDX-License-Identifier: Apache-2.0
"""Follows the log of auditd, over its rotations and our restarts.

auditd renames ``audit.log`` to ``audit.log.1``, that to ``audit.log.2`` and so
on (``rotate_logs`` in ``src/auditd-event.c``). A file is known by its inode
and by a checksum of its beginning, because the inode of a deleted file is soon
that of another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

from svirt_nova import logs
from svirt_nova.alarm import line_sources

LOG = logs.get_logger(__name__)

_PAUSE = 0.1
"""Seconds between two looks at a file that has nothing new."""

_HEAD = 1024
_CLOCK_ERROR = 1.0
"""Seconds that the time of a file may be behind the clock."""

_MOST_ROTATED = 1000
"""auditd keeps no more than 999 (``num_logs``)."""


@dataclasses.dataclass(slots=True)
class _Opened:
    """A file of the log."""

    file: io.FileIO
    inode: tuple[int, int]
    offset: int = 0

    @classmethod
    def open(cls, path: pathlib.Path) -> _Opened:
        file = io.FileIO(path)
        found = os.fstat(file.fileno())
        return cls(file, (found.st_dev, found.st_ino))

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    @property
    def written_at(self) -> float:
        return os.fstat(self.file.fileno()).st_mtime

    def head(self, length: int) -> str:
        """A checksum of the beginning."""
        data = os.pread(self.file.fileno(), length, 0)
        return hashlib.sha256(data).hexdigest()

    def read(self) -> bytes:
        data = os.pread(self.file.fileno(), line_sources.CHUNK, self.offset)
        self.offset += len(data)
        return data


class LogFiles:
    """Lines of a log and of what it is renamed to.

    :param path: of the log
    :param found: what :meth:`position` gave; empty to begin at the end
    :raises TypeError, ValueError: it gave something else
    """

    def __init__(
        self, path: str | os.PathLike[str], found: Mapping[str, Any]
    ) -> None:
        self._path = pathlib.Path(path)
        self._splitter = line_sources.Splitter()
        self._current: _Opened | None = None
        self._next: list[_Opened] = []
        self._problem = ''
        self._unplaced: dict[str, Any] | None = None
        if found:
            self._unplaced = {
                'inode': (int(found['device']), int(found['inode'])),
                'offset': int(found['offset']),
                'head': line_sources.text_of(found, 'head') or '',
                'saved_at': float(found['saved_at']),
            }
        self._is_first = not found
        self._was_missing = False

    def read(self, seconds: float) -> list[bytes]:
        """The next lines, as :class:`line_sources.LineSource` has it."""
        deadline = time.monotonic() + seconds
        while True:
            if lines := self._read():
                return lines
            if time.monotonic() >= deadline:
                return []
            time.sleep(min(_PAUSE, max(0.0, deadline - time.monotonic())))

    def position(self) -> dict[str, Any]:
        """What the state file keeps."""
        current = self._current
        if current is None:
            found = self._unplaced
            if found is None:
                return {}
            device, inode = found['inode']
            return {
                'device': device,
                'inode': inode,
                'offset': found['offset'],
                'head': found['head'],
                'saved_at': found['saved_at'],
            }
        offset = current.offset - len(self._splitter.kept)
        return {
            'device': current.inode[0],
            'inode': current.inode[1],
            'offset': offset,
            'head': current.head(min(_HEAD, offset)),
            'saved_at': time.time() - _CLOCK_ERROR,
        }

    def close(self) -> None:
        """Let go of what is open."""
        for each in (self._current, *self._next):
            if each is not None:
                each.file.close()
        self._current, self._next = None, []

    def _read(self) -> list[bytes]:
        try:
            if self._current is None and not self._begin():
                return []
            return self._read_on()
        except OSError as error:
            self._say(f'{self._path} cannot be read: {error}')
            return []

    def _read_on(self) -> list[bytes]:
        current = self._current
        assert current is not None
        if current.size < current.offset:
            LOG.warning(
                '%s was cut off at its beginning: lines of it may be lost',
                self._path,
            )
            current.offset = 0
            self._splitter = line_sources.Splitter()
        if data := current.read():
            self._problem = ''
            return self._splitter.split(data)
        if not self._next and not self._is_replaced(current):
            return []
        # auditd may have written between our last look and its renaming.
        if data := current.read():
            return self._splitter.split(data)
        if not self._next:
            self._next = self._behind(current)
            if not self._next:
                return []
        current.file.close()
        self._current = self._next.pop(0)
        return self._splitter.finish()

    def _is_replaced(self, current: _Opened) -> bool:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            # auditd renames the file, and then makes the next.
            return False
        return (found.st_dev, found.st_ino) != current.inode

    def _behind(self, current: _Opened) -> list[_Opened]:
        """The files that were begun after one, the oldest first."""
        files = self._open_all()
        for number, each in enumerate(files):
            if each.inode == current.inode:
                self._close(files[: number + 1])
                return files[number + 1 :]
        if files:
            LOG.warning(
                '%s was rotated away while it was read: lines may be lost',
                self._path,
            )
        newer = [
            each for each in files if each.written_at >= current.written_at
        ]
        self._close([each for each in files if each not in newer])
        return newer

    def _begin(self) -> bool:
        """Open the file to read next; whether there is one."""
        files = self._open_all()
        if not files:
            self._was_missing = True
            self._say(f'there is no {self._path} yet')
            return False
        if self._unplaced is None:
            self._close(files[:-1])
            self._current = files[-1]
            if self._is_first:
                self._is_first = False
                # A log that is made after our start is read from its start.
                if not self._was_missing:
                    self._current.offset = self._current.size
                LOG.info(
                    'There is no state of an earlier run: denials are told '
                    'from byte %d of %s on',
                    self._current.offset,
                    self._path,
                )
            return True
        place = self._place(files, self._unplaced)
        self._close(files[:place])
        self._current, *self._next = files[place:]
        self._unplaced = None
        return True

    def _place(self, files: list[_Opened], found: Mapping[str, Any]) -> int:
        """Find where we stopped: the number of the file, with its offset."""
        offset = found['offset']
        for number, each in enumerate(files):
            if (
                each.inode == found['inode']
                and each.size >= offset >= 0
                and each.head(min(_HEAD, offset)) == found['head']
            ):
                each.offset = offset
                return number
        LOG.warning(
            'What of %s was read last is not there any more: lines between '
            'then and its oldest file may be lost',
            self._path,
        )
        for number, each in enumerate(files):
            if each.written_at >= found['saved_at']:
                return number
        files[-1].offset = files[-1].size
        return len(files) - 1

    def _open_all(self) -> list[_Opened]:
        """Open all files of the log, the oldest first."""
        for _ in range(10):
            rotated = {}
            pattern = re.compile(re.escape(self._path.name) + r'\.(\d{1,3})')
            for name in os.listdir(self._path.parent):
                if match := pattern.fullmatch(name):
                    rotated[int(match[1])] = self._path.with_name(name)
            names = [rotated[each] for each in sorted(rotated, reverse=True)]
            opened: list[_Opened] = []
            try:
                for path in (*names[-_MOST_ROTATED:], self._path):
                    opened.append(_Opened.open(path))
                if not self._is_replaced(opened[-1]):
                    return opened
            except FileNotFoundError as error:
                # While it is renamed, a name is missing for a moment.
                if os.fspath(error.filename) == str(self._path) and not names:
                    return []
            except OSError:
                self._close(opened)
                raise
            self._close(opened)
            time.sleep(0.01)
        return []

    @staticmethod
    def _close(files: list[_Opened]) -> None:
        for each in files:
            each.file.close()

    def _say(self, problem: str) -> None:
        """Warn once of what keeps the log from being read."""
        if problem != self._problem:
            LOG.warning('No denial is seen: %s', problem)
            self._problem = problem
