# SPDX-License-Identifier: Apache-2.0
"""What a forged header names, and how it is refused (pure)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What a forged header names.

    :ivar told: what nova-compute may log when it refuses the disk; of some
        headers Nova tells svirt-nova no more than a name
    """

    told: tuple[str, ...]
    backing: str = ''
    backing_format: str = ''
    data_file: str = ''

    @classmethod
    def below(cls, path: str, image_format: str = 'raw') -> Target:
        """A backing file."""
        return cls(
            (
                f'names the backing file {path!r}',
                f'names a backing file called {os.path.basename(path)!r}',
            ),
            backing=path,
            backing_format=image_format,
        )

    @classmethod
    def beside(cls, path: str) -> Target:
        """An external data file."""
        return cls(('names an external data file',), data_file=path)

    def is_told_in(self, lines: Iterable[str]) -> bool:
        """Whether one of the lines refuses the disk because of this."""
        return any(told in line for told in self.told for line in lines)

    def names(self) -> dict[str, str]:
        """Give what ``forge.py`` is to write."""
        found = {
            'backing': self.backing,
            'backing_format': self.backing_format,
            'data_file': self.data_file,
        }
        return {name: value for name, value in found.items() if value}
