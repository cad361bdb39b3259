# SPDX-License-Identifier: Apache-2.0
"""Everything that must stand before a lab can start; standard library only.

Runs with the machine's Python and goes on, by ``exec``, with that of the
environment that it built.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from tests.lab import cache
from tests.lab import image
from tests.lab import prerequisites
from tests.lab import processes
from tests.lab import wheels
from tests.lab.progress import complain
from tests.lab.progress import LabError
from tests.lab.progress import Progress


def ensure(
    module: str,
    arguments: list[str],
    *,
    hosts: int = 1,
    packages: Sequence[str] = (),
) -> Progress:
    """Return in the lab's own environment, with all parts built.

    :param module: what to go on with when another interpreter is needed
    :param arguments: its command line
    :param hosts: how many will be booted, from an image
    :param packages: Debian packages needed beside those of every lab
    :returns: the progress of the run so far
    """
    progress = _begin()
    if sys.prefix == str(cache.VENV):
        cache.lock()
        return progress
    _prepare(progress, hosts, packages)
    cache.hand_lock_over()
    os.environ.update(progress.export())
    os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
    os.chdir(cache.CHECKOUT)
    python = cache.VENV / 'bin/python3'
    os.execv(python, [str(python), '-m', module, *arguments])
    raise AssertionError('not reached')


def prepare(hosts: int) -> None:
    """Build all parts of a lab, for one that starts later."""
    _prepare(_begin(), hosts, ())


def _begin() -> Progress:
    # SIGINT too: a shell starts what it puts in the background without it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return Progress()


def _prepare(progress: Progress, hosts: int, packages: Sequence[str]) -> None:
    prerequisites.check(hosts)
    cache.lock()
    ended = cache.clear_run()
    if ended:
        progress.say(f'ended what an earlier run left: {", ".join(ended)}')
    logs = cache.root() / 'build-logs'
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    prerequisites.install(progress, logs / 'apt.log', packages)
    _build(progress, with_image=hosts > 0)


def _build(progress: Progress, *, with_image: bool) -> None:
    logs = cache.root() / 'build-logs'
    wanted = image.current()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        try:
            tree = (
                None
                if wanted.present or not with_image
                else pool.submit(
                    image.build_tree, progress, logs / 'image.log'
                )
            )
            if not wheels.present():
                with progress.step('OpenStack from wheels'):
                    wheels.build(logs / 'wheels.log')
            if tree is not None:
                image.assemble(
                    tree.result(), wanted, progress, logs / 'image.log'
                )
        except BaseException:
            processes.end_commands()
            raise


def main_guard(error: BaseException) -> int:
    """Turn what ended a run into an exit status and a line for people.

    :raises BaseException: the error itself, when it is the lab's own fault
    """
    if isinstance(error, KeyboardInterrupt):
        complain(LabError('interrupted; all is stopped and cleaned up'))
        return 130
    if isinstance(error, (LabError, OSError)) or type(
        error
    ).__module__.startswith(('openstack.', 'keystoneauth1.')):
        complain(error)
        return 1
    raise error


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
