# SPDX-License-Identifier: Apache-2.0
"""What outlives a process: small files, in memory or on a disk.

Paths are absolute and the same for both; a test that really kills a process
needs a disk, and all others are faster without.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any
from typing import Protocol


class Storage(Protocol):
    """Directories and files, as several hosts have them.

    Reading what is not there raises FileNotFoundError.
    """

    def make_directory(self, path: str) -> None:
        """Make a directory, and those above it, unless it is there."""

    def write(self, path: str, text: str) -> None:
        """Replace a file at once, as a database or libvirtd would."""

    def read(self, path: str) -> str: ...

    def exists(self, path: str) -> bool: ...

    def names(self, path: str) -> list[str]:
        """What is in a directory, sorted."""

    def rename(self, old: str, new: str) -> None:
        """Rename a directory; the new name must be free."""

    def remove(self, path: str) -> None:
        """Remove a file or a directory with all that is in it."""


class Memory:
    """Files in memory.

    :ivar version: changes whenever a file does
    """

    def __init__(self) -> None:
        # By directory, what is in it: texts of files, None for directories.
        self._tree: dict[str, dict[str, str | None]] = {'/': {}}
        self.version = 0

    def save(self) -> dict[str, dict[str, str | None]]:
        """All that there is, for :meth:`load`."""
        return {path: {**found} for path, found in self._tree.items()}

    def load(self, saved: dict[str, dict[str, str | None]]) -> None:
        self._tree = {path: {**found} for path, found in saved.items()}
        self.version += 1

    def _parent(self, path: str) -> tuple[dict[str, str | None], str]:
        directory, _, name = path.rpartition('/')
        try:
            return self._tree[directory or '/'], name
        except KeyError:
            raise FileNotFoundError(directory) from None

    def make_directory(self, path: str) -> None:
        if path in self._tree:
            return
        above = path.rpartition('/')[0] or '/'
        self.make_directory(above)
        self._tree[path] = {}
        found, name = self._parent(path)
        found[name] = None
        self.version += 1

    def write(self, path: str, text: str) -> None:
        found, name = self._parent(path)
        found[name] = text
        self.version += 1

    def read(self, path: str) -> str:
        found, name = self._parent(path)
        text = found.get(name)
        if text is None:
            raise FileNotFoundError(path)
        return text

    def exists(self, path: str) -> bool:
        directory, _, name = path.rpartition('/')
        return name in self._tree.get(directory or '/', ())

    def names(self, path: str) -> list[str]:
        try:
            return sorted(self._tree[path])
        except KeyError:
            raise FileNotFoundError(path) from None

    def rename(self, old: str, new: str) -> None:
        if self.exists(new):
            raise FileExistsError(new)
        found = self._tree.pop(old, None)
        if found is None:
            raise FileNotFoundError(old)
        self._tree[new] = found
        parent, name = self._parent(old)
        del parent[name]
        parent, name = self._parent(new)
        parent[name] = None
        self.version += 1

    def remove(self, path: str) -> None:
        if self.exists(path):
            parent, name = self._parent(path)
            del parent[name]
            for each in [
                p for p in self._tree if f'{p}/'.startswith(f'{path}/')
            ]:
                del self._tree[each]
            self.version += 1


class Disk:
    """Files below a directory of a disk.

    :param root: the directory
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def _at(self, path: str) -> pathlib.Path:
        return self._root / path.lstrip('/')

    def make_directory(self, path: str) -> None:
        self._at(path).mkdir(parents=True, exist_ok=True)

    def write(self, path: str, text: str) -> None:
        # Nothing but what is written has such a name.
        temporary = self._root / 'written'
        temporary.write_text(text)
        temporary.rename(self._at(path))

    def read(self, path: str) -> str:
        return self._at(path).read_text()

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def names(self, path: str) -> list[str]:
        return sorted(os.listdir(self._at(path)))

    def rename(self, old: str, new: str) -> None:
        if self.exists(new):
            raise FileExistsError(new)
        self._at(old).rename(self._at(new))

    def remove(self, path: str) -> None:
        found = self._at(path)
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)


class StoredOs:
    """The module ``os`` of code that works on files of hosts.

    :param storage: answers where these files are
    """

    def __init__(self, storage: Callable[[], Storage]) -> None:
        self.path = _StoredPath(storage)
        self._storage = storage

    def listdir(self, path: str) -> list[str]:
        return self._storage().names(path)

    def lstat(self, path: str) -> None:
        if not self._storage().exists(path):
            raise FileNotFoundError(path)


class _StoredPath:
    def __init__(self, storage: Callable[[], Storage]) -> None:
        self._storage = storage

    def lexists(self, path: str) -> bool:
        return self._storage().exists(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(os.path, name)
