# SPDX-License-Identifier: Apache-2.0
"""The labels that the kernel keeps of files."""

from __future__ import annotations

import os
from collections.abc import Iterable

from svirt_nova import exception
from svirt_nova.host import file_labels
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from tests import samples
from tests.fakes import steps as fake_steps
from tests.fakes import storage as fake_storage

DEFAULT = 'system_u:object_r:virt_image_t:s0'
"""What the policy gives a new file."""


class Files:
    """Labels as the contents of the files that carry them.

    It stands in for :mod:`svirt_nova.host.file_labels`.

    :ivar was_read: the files whose labels somebody has read; who wants to
        know it takes them out before
    :ivar refused: the names of files that take no label
    :ivar headers: how files begin, by their path, where that is neither the
        header of a disk that stands alone nor, outside of the directories of
        instances, a raw one's
    """

    def __init__(
        self, storage: fake_storage.Storage, steps: fake_steps.Steps
    ) -> None:
        self._storage = storage
        self._steps = steps
        self.was_read: set[str] = set()
        self.refused: set[str] = set()
        self.headers: dict[str, bytes] = {}

    def make(self, path: str) -> None:
        """Make a file, which gets the policy's label."""
        self._storage.write(path, DEFAULT)

    def label(
        self,
        root: str,
        path: str,
        level: levels.Level,
        replaced: Iterable[levels.Level] = (),
    ) -> None:
        self._check(root, path)
        with self._steps.changes(f'label {os.path.basename(path)}'):
            if not self._storage.exists(path):
                raise exception.LabelNotApplied(f'{path} is gone')
            found = contexts.Context.parse(self._storage.read(path))
            if (
                found.type == samples.IMAGE.type
                and found.level.categories
                and found.level not in [level, *replaced]
            ):
                raise exception.ForeignFile(f'{path} carries {found}')
            self.put(path, level)

    def share(self, root: str, path: str, level: levels.Level) -> None:
        self._check(root, path)
        with self._steps.changes(f'share {os.path.basename(path)}'):
            if not self._storage.exists(path):
                raise exception.LabelNotApplied(f'{path} is gone')
            self._storage.write(path, str(samples.CONTENT.at(level)))

    def read_header(self, root: str, path: str) -> bytes:
        self._check(root, path, header=True)
        if not self._storage.exists(path):
            raise exception.LabelNotApplied(f'{path} is gone')
        name = os.path.basename(path)
        is_disk = name.startswith('disk') and 'config' not in name
        return self.headers.get(
            path, samples.qcow2_header() if is_disk else bytes(512)
        )

    def _check(self, root: str, path: str, header: bool = False) -> None:
        if not path.startswith(f'{root}/'):
            raise exception.UnsafeFile(path)
        if os.path.basename(path) in self.refused and not header:
            raise file_labels.unlabeled(path)

    def put(self, path: str, level: levels.Level) -> None:
        """As libvirt: it says nothing of storage that takes no label."""
        if os.path.basename(path) not in self.refused:
            self._storage.write(path, str(samples.IMAGE.at(level)))

    def restore(
        self, root: str, path: str, given: Iterable[levels.Level]
    ) -> None:
        if not self._storage.exists(path):
            return
        if contexts.Context.parse(self._storage.read(path)).level in given:
            with self._steps.changes(f'restore {os.path.basename(path)}'):
                if self._storage.exists(path):
                    self.make(path)

    def read(self, path: str) -> contexts.Context | None:
        try:
            text = self._storage.read(path)
        except FileNotFoundError as error:
            raise exception.LabelError(f'{path} is gone') from error
        if os.path.basename(path) in self.refused:
            return None
        self.was_read.add(path)
        return contexts.Context.parse(text)
