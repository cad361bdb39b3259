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
    """

    def __init__(
        self, storage: fake_storage.Storage, steps: fake_steps.Steps
    ) -> None:
        self._storage = storage
        self._steps = steps
        self.was_read: set[str] = set()
        self.refused: set[str] = set()

    def make(self, path: str) -> None:
        """Make a file, which gets the policy's label."""
        self._storage.write(path, DEFAULT)

    def label(self, root: str, path: str, level: levels.Level) -> None:
        if not path.startswith(f'{root}/'):
            raise exception.UnsafeFile(path)
        if os.path.basename(path) in self.refused:
            raise file_labels.unlabeled(path)
        with self._steps.changes(f'label {os.path.basename(path)}'):
            if not self._storage.exists(path):
                raise exception.LabelNotApplied(f'{path} is gone')
            self.put(path, level)

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
