# SPDX-License-Identifier: Apache-2.0
"""Where the lab keeps what the next run can use again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from tests.lab import processes
from tests.lab.progress import LabError

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent

#: Both the machine and the hosts have the venv here: its scripts name it.
VENV = Path('/opt/svirt-nova-lab/venv')

_LOCK_VARIABLE = 'SVIRT_NOVA_LAB_LOCK'


def root() -> Path:
    """Give the cache directory."""
    return Path(
        os.environ.get('SVIRT_NOVA_LAB_CACHE', '/var/cache/svirt-nova-lab')
    ).absolute()


def key(*parts: str | Path) -> str:
    """Hash texts and the contents of files into a short name."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(b'%d:' % len(data) + data)
    return digest.hexdigest()[:12]


def lock() -> None:
    """Keep other labs off this machine until the process ends.

    The lock outlives ``exec``: the descriptor is inherited and its number
    handed on in the environment.
    """
    if _LOCK_VARIABLE in os.environ:
        os.set_inheritable(int(os.environ[_LOCK_VARIABLE]), False)
        return
    path = root() / 'lock'
    try:
        root().mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LabError(
            f'{root()} cannot be the cache directory: '
            f'{error.strerror}; set SVIRT_NOVA_LAB_CACHE to '
            'another'
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LabError(
            f'another lab runs on this machine (it holds {path});'
            f' wait for its end'
        ) from None
    os.environ[_LOCK_VARIABLE] = str(descriptor)


def hand_lock_over() -> None:
    """Let the program that ``exec`` starts next inherit the lock."""
    os.set_inheritable(int(os.environ[_LOCK_VARIABLE]), True)


def run_directory() -> Path:
    """Give the directory of the one run there can be."""
    return root() / 'run'


def clear_run() -> list[str]:
    """Remove what an earlier run left, processes first; name those."""
    ended = processes.end_leftovers(run_directory() / 'pids')
    shutil.rmtree(run_directory(), ignore_errors=True)
    return ended


def drop_others(pattern: str, keep: Path) -> None:
    """Remove cache entries of other keys, which nothing uses any more."""
    for path in root().glob(pattern):
        if path != keep:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
