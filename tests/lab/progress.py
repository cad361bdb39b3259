# SPDX-License-Identifier: Apache-2.0
"""What the lab tells its user while it works: steps and their times."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_START_VARIABLE = 'SVIRT_NOVA_LAB_START'
_STEPS_VARIABLE = 'SVIRT_NOVA_LAB_STEPS'


class LabError(Exception):
    """Something the lab needs is missing or failed; the text says what."""


class Progress:
    """Prints steps with times; keeps their durations in seconds.

    Steps may overlap, from several threads. ``export`` and a later
    ``Progress()`` in a process started by ``exec`` carry on the same clock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.started = float(os.environ.get(_START_VARIABLE, time.time()))
        self.steps: dict[str, float] = json.loads(
            os.environ.get(_STEPS_VARIABLE, '{}')
        )

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.time() - self.started

    def export(self) -> dict[str, str]:
        """Environment that lets a successor process go on counting."""
        return {
            _START_VARIABLE: repr(self.started),
            _STEPS_VARIABLE: json.dumps(self.steps),
        }

    def say(self, text: str) -> None:
        """Print one line with the time since the run began."""
        minutes, seconds = divmod(int(self.elapsed), 60)
        with self._lock:
            print(f'[{minutes:3d}:{seconds:02d}] {text}', flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step, and its duration or failure when it ends."""
        self.say(f'{name} ...')
        begin = time.time()
        try:
            yield
        except BaseException:
            self.say(f'{name}: FAILED after {time.time() - begin:.0f} s')
            raise
        took = time.time() - begin
        with self._lock:
            self.steps[name] = round(took, 1)
        self.say(f'{name}: {took:.1f} s')


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out rows under a header in aligned columns."""
    widths = [
        max(len(line[i]) for line in [header, *rows])
        for i in range(len(header))
    ]

    def line(cells: list[str]) -> str:
        return '  '.join(
            c.ljust(w) for c, w in zip(cells, widths, strict=True)
        ).rstrip()

    rule = ['-' * width for width in widths]
    return '\n'.join(line(cells) for cells in [header, rule, *rows])


def say(text: str) -> None:
    """Print a result, indented and set off."""
    print(
        '\n' + '\n'.join('  ' + line for line in text.splitlines()) + '\n',
        flush=True,
    )


def complain(error: BaseException) -> None:
    """Print an error for people, on standard error."""
    sys.stdout.flush()
    print(f'error: {error}', file=sys.stderr, flush=True)


def place_json(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    """Make the option --json FILE absolute, from where the caller stands."""
    if options.json is None:
        return
    caller = Path(os.environ.get('SVIRT_NOVA_LAB_CALLER', '.'))
    options.json = (caller / options.json).absolute()
    if not options.json.parent.is_dir():
        parser.error(f'{options.json.parent} is no directory')


def write_json(path: Path, figures: object) -> None:
    """Keep figures in a file, readable by people as well."""
    path.write_text(json.dumps(figures, indent=2, sort_keys=True) + '\n')
