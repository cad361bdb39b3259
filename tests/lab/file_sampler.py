# SPDX-License-Identifier: Apache-2.0
"""Runs inside the storage server with its own Python: samples files.

    file_sampler.py STOP INTERVAL PLACE...

Looks at the places every INTERVAL seconds, until the file STOP is there. A
place is a file, or a directory of which all files are looked at. Of each file
it notes the context, the owner, the group and the mode: the first time, and
whenever one of them is another than before. Prints one JSON document at the
end.

It is given to an interpreter on its own, so it imports nothing of the lab.
"""

import bisect
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

#: Seconds: gaps are counted by the first of these that they do not exceed.
BOUNDS = [0.1, 0.2, 0.5, 1.0, 2.0]

#: What a file carries: its context, its owner, its group, its mode.
State = tuple[str, int, int, int]


def state_of(path: str) -> State | None:
    """Give what a file carries; None if there is no such file.

    The context of a file that has none is empty.
    """
    try:
        seen = os.lstat(path)
        try:
            context = os.getxattr(
                path, 'security.selinux', follow_symlinks=False
            )
        except FileNotFoundError:
            raise
        except OSError:
            context = b''
    except FileNotFoundError:
        return None
    return (
        context.rstrip(b'\0').decode(),
        seen.st_uid,
        seen.st_gid,
        seen.st_mode,
    )


def files_of(places: list[str]) -> Iterator[str]:
    """Give the places that are files, and the files of the others."""
    for place in places:
        try:
            names = os.listdir(place)
        except (NotADirectoryError, FileNotFoundError):
            yield place
        else:
            for name in names:
                yield f'{place}/{name}'


class Sampler:
    """What was seen so far.

    :ivar files: by path, each state with the time of the clock at which it
        was first seen; null for a file that was gone
    """

    def __init__(self, places: list[str]) -> None:
        self._places = places
        self.files: dict[str, list[tuple[float, State | None]]] = {}
        self.rounds = 0
        self._gaps = [0] * (len(BOUNDS) + 1)
        self._longest = 0.0
        self._longest_at = 0.0
        self._begin = self._last = time.monotonic()

    def look(self) -> None:
        """Look at all files once."""
        now = time.monotonic()
        if self.rounds:
            self._note_gap(now - self._last)
        else:
            self._begin = now
        self._last = now
        self.rounds += 1
        # One that was seen before may be gone.
        for path in {*files_of(self._places), *self.files}:
            state = state_of(path)
            states = self.files.setdefault(path, [])
            if not states or states[-1][1] != state:
                states.append((time.time(), state))

    def _note_gap(self, gap: float) -> None:
        self._gaps[bisect.bisect_left(BOUNDS, gap)] += 1
        if gap > self._longest:
            self._longest, self._longest_at = gap, time.time()

    def answer(self) -> dict[str, Any]:
        """Give all that was seen."""
        return {
            'rounds': self.rounds,
            'seconds': self._last - self._begin,
            'processor_seconds': time.process_time(),
            'gaps': self._gaps,
            'longest_gap': self._longest,
            'longest_gap_at': self._longest_at,
            'files': self.files,
        }


def main(stop: str, interval: str, *places: str) -> None:
    """Do what the command line says."""
    # Otherwise a busy host lets it wait while files change.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    sampler = Sampler(list(places))
    while not os.path.exists(stop):
        due = time.monotonic() + float(interval)
        sampler.look()
        time.sleep(max(0.0, due - time.monotonic()))
    json.dump(sampler.answer(), sys.stdout)


if __name__ == '__main__':
    main(*sys.argv[1:])
