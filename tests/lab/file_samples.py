# SPDX-License-Identifier: Apache-2.0
"""What files carried, sample after sample, where they are stored; judged.

Pure: takes the answer of ``file_sampler.py``.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab import file_sampler
from tests.lab import isolation

#: Samples a second that there must be at least, over the whole time.
RATE = 10.0
#: Seconds without a sample that a machine may need at most for something
#: else. It is emulated, and so are those whose programs change labels. What
#: libvirt takes off when a domain ends is put on again by another program, if
#: at all, which has to learn of it, ask Nova and start a helper: seconds.
LONGEST_GAP = 2.0

_GROUP = stat.S_IRGRP | stat.S_IWGRP


@dataclass(frozen=True)
class Wanted:
    """What a file must carry all the time.

    :ivar type: of its context
    :ivar group: the number of the group that QEMU runs as
    :ivar bits: what the mode must have at least
    """

    categories: frozenset[int]
    type: str
    group: int
    bits: int = _GROUP


@dataclass(frozen=True)
class FileSamples:
    """The samples of a time.

    :ivar seen: the answer of ``file_sampler.py``
    """

    seen: Mapping[str, Any]

    def __str__(self) -> str:
        return (
            f'{self.seen["rounds"]} samples of {len(self.seen["files"])} '
            f'files, {self.rate:.1f} a second, '
            f'{self.late} of them more than {file_sampler.BOUNDS[0]} s '
            f'after the one before, {self.longest_gap:.2f} s at most, '
            f'{self.cost * 1000:.1f} ms of processor time each'
        )

    @property
    def count(self) -> int:
        """How often all files were looked at."""
        return int(self.seen['rounds'])

    @property
    def rate(self) -> float:
        """How often they were looked at in a second."""
        seconds: float = self.seen['seconds']
        return (self.count - 1) / seconds if seconds else 0.0

    @property
    def cost(self) -> float:
        """What one look at all files cost, in seconds of a processor."""
        return float(self.seen['processor_seconds']) / max(1, self.count)

    @property
    def late(self) -> int:
        """How many looks were more than a tenth of a second late."""
        return int(sum(self.seen['gaps'][1:]))

    @property
    def longest_gap(self) -> float:
        """The longest time between two looks, in seconds."""
        return float(self.seen['longest_gap'])

    def figures(self) -> dict[str, Any]:
        """Give the figures for a report, without the files."""
        return {
            'samples': self.count,
            'rate': round(self.rate, 1),
            'late': self.late,
            'gaps': dict(
                zip(
                    [*map(str, file_sampler.BOUNDS), 'more'],
                    self.seen['gaps'],
                    strict=True,
                )
            ),
            'longest_gap': round(self.longest_gap, 2),
        }

    def faults(
        self, wanted: Mapping[str, Wanted], holders: Mapping[str, Wanted]
    ) -> list[str]:
        """Say which file was ever without what it must carry.

        :param wanted: by path, what must carry it all the time
        :param holders: by directory, whose files all others in it are: such
            a file may have no categories, but none of another instance
        """
        return [*self._gaps(), *self._wrong(wanted, holders)]

    def _gaps(self) -> Iterator[str]:
        if self.rate < RATE:
            yield (
                f'there were {self.rate:.1f} samples a second, and '
                f'{RATE:.0f} are needed'
            )
        if self.longest_gap > LONGEST_GAP:
            yield (
                f'for {self.longest_gap:.1f} s, until '
                f'{self.seen["longest_gap_at"]:.1f}, there was no sample'
            )

    def _wrong(
        self, wanted: Mapping[str, Wanted], holders: Mapping[str, Wanted]
    ) -> Iterator[str]:
        files: Mapping[str, Sequence[Any]] = self.seen['files']
        for path in wanted.keys() - files.keys():
            yield f'{path} was never seen'
        for path, states in sorted(files.items()):
            must = wanted.get(path)
            holder = holders.get(path.rpartition('/')[0])
            owners = {state[1] for _, state in states if state is not None}
            if must is not None and len(owners) > 1:
                yield f'{path} had the owners {sorted(owners)}'
            for time, state in states:
                if must is not None:
                    found = _problems(state, must)
                elif holder is not None and state is not None:
                    found = _foreign(state, holder)
                else:
                    found = []
                for problem in found:
                    yield f'{path} at {time:.2f}: {problem}'


def _categories(context: str) -> frozenset[int] | None:
    """Give the categories of a context; None of one that makes no sense."""
    if context.count(':') < 3:  # user, role, type, level
        return None
    return isolation.categories(isolation.level_of(context))


def _problems(state: Sequence[Any] | None, must: Wanted) -> list[str]:
    """Say what is wrong with what a file carried."""
    if state is None:
        return ['there was no such file']
    context, _, group, mode = state
    found = []
    if (
        _categories(context) != must.categories
        or isolation.type_of(context) != must.type
    ):
        found.append(f'it carried {context or "no label"}')
    if group != must.group:
        found.append(f'it was of the group {group}, not {must.group}')
    if mode & must.bits != must.bits:
        found.append(f'its mode was {stat.filemode(mode)}')
    return found


def _foreign(state: Sequence[Any], holder: Wanted) -> list[str]:
    """Say whether a file carried another instance's level."""
    categories = _categories(state[0])
    if not categories or categories == holder.categories:
        return []
    return [f'it carried {state[0]}, of another instance']
