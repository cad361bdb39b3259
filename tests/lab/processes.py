# SPDX-License-Identifier: Apache-2.0
"""Commands that end, and daemons that the lab starts and stops."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from tests.lab.progress import LabError

Command = Sequence[str | os.PathLike[str]]

_CLIENTS_PORTS = Path('/proc/sys/net/ipv4/ip_local_port_range')
_FIRST_PORT = 10_000
_TRIES = 1000

_commands: set[int] = set()


def run(
    command: Command,
    *,
    log: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Run a command to its end and return its standard output.

    Standard error, and the command line, go to ``log``. The command gets a
    session of its own, so that a time-out or Ctrl-C ends all its children.

    :param timeout: seconds
    :raises LabError: on a non-zero exit or a time-out; names the log
    """
    words = [os.fspath(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('a') as err:
        err.write('$ ' + ' '.join(words)[:2000] + '\n')
        err.flush()
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            env=None if env is None else dict(env),
            start_new_session=True,
            errors='replace',
        )
        _commands.add(process.pid)
        try:
            out, _ = process.communicate(stdin, timeout=timeout)
        except BaseException as error:
            _end_group(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(
                    f'{words[0]} did not end within {timeout:.0f} s; see {log}'
                ) from None
            raise
        finally:
            _commands.discard(process.pid)
        err.write(out)
    if process.returncode:
        raise LabError(
            f'{" ".join(words)[:120]} failed with status '
            f'{process.returncode}; {log} ends with:\n' + tail(log)
        )
    return out


def end_commands() -> None:
    """End the commands that other threads run, so that those return."""
    for pid in list(_commands):
        _end_group(pid, signal.SIGKILL)


def tail(path: Path, lines: int = 12) -> str:
    """Give the last lines of a text file, indented."""
    if not path.exists():
        return '  (no such file)'
    text = path.read_text(errors='replace').splitlines()
    return '\n'.join('  ' + line[:300] for line in text[-lines:])


def wait_for(
    what: str, ready: Callable[[], bool], timeout: float, interval: float = 0.5
) -> None:
    """Poll until ``ready`` is true.

    :param timeout: seconds, after which LabError names ``what``
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f'{what}: not there after {timeout:.0f} s')
        time.sleep(interval)


def port_is_open(port: int) -> bool:
    """Say whether something listens on a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(('127.0.0.1', port)) == 0


def free_ports(count: int) -> list[int]:
    """Find TCP ports of 127.0.0.1 that nobody uses at the moment.

    None of those that the kernel gives to clients, if it leaves others: a
    connection could take it before its server does, or while that one
    starts again.
    """
    last = int(_CLIENTS_PORTS.read_text().split()[0])
    if last < _FIRST_PORT + _TRIES:
        last = 1 << 16
    found: list[int] = []
    # Not the generator that tests seed: others would find the same.
    for port in random.SystemRandom().sample(range(_FIRST_PORT, last), _TRIES):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(('127.0.0.1', port))
            found.append(port)
    return found


class Daemons:
    """The lab's own background processes, each a process group.

    Every group is written to ``directory`` before it counts as started, so
    that a later run can end what a killed run left behind.

    :ivar abandoned: whether every wait for them fails at once
    """

    def __init__(self, directory: Path, logs: Path) -> None:
        self.directory = directory
        self.logs = logs
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._on_trial: set[str] = set()
        self.abandoned = False
        directory.mkdir(parents=True, exist_ok=True)
        logs.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        name: str,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_trial: bool = False,
    ) -> None:
        """Start a daemon; its output goes to NAME.log.

        :param on_trial: whether its end is an error only to those who name
            it, until ``rely_on`` is called for it
        """
        with (self.logs / f'{name}.log').open('ab') as log:
            process = subprocess.Popen(
                [os.fspath(word) for word in command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=cwd,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        with self._lock:
            self._running[name] = process
            if on_trial:
                self._on_trial.add(name)
        (self.directory / f'{name}.pid').write_text(
            f'{process.pid} {_start_time(process.pid)}'
        )

    def abandon(self) -> None:
        """Let no thread wait any longer for a daemon."""
        self.abandoned = True

    def rely_on(self, name: str) -> None:
        """From here on, let the end of a daemon be an error to everybody."""
        with self._lock:
            self._on_trial.discard(name)

    def check(self, *names: str) -> None:
        """Raise LabError when a daemon has ended by itself.

        :param names: daemons whose end is an error even if they are on trial
        """
        if self.abandoned:
            raise LabError('given up')
        with self._lock:
            counting = [
                (name, process)
                for name, process in self._running.items()
                if name not in self._on_trial or name in names
            ]
        for name, process in counting:
            if process.poll() is not None:
                log = self.logs / f'{name}.log'
                raise LabError(
                    f'{name} ended with status '
                    f'{process.returncode}; {log} ends with:\n' + tail(log)
                )

    def wait_for(
        self,
        what: str,
        ready: Callable[[], bool],
        timeout: float,
        *names: str,
    ) -> None:
        """Poll as ``wait_for``, but give up at once when a daemon dies.

        :param names: as for ``check``
        """

        def alive_and_ready() -> bool:
            self.check(*names)
            return ready()

        wait_for(what, alive_and_ready, timeout)

    def stop(self, name: str) -> None:
        """End one daemon, if it was started, and wait for it."""
        with self._lock:
            process = self._running.pop(name, None)
            self._on_trial.discard(name)
        if process is not None:
            _stop_group(process.pid)
            process.wait()
            (self.directory / f'{name}.pid').unlink(missing_ok=True)

    def stop_all(self) -> None:
        """End every daemon at once: nothing they hold is kept."""
        with self._lock:
            running, self._running = self._running, {}
            self._on_trial = set()
        for name, process in running.items():
            _end_group(process.pid, signal.SIGKILL)
            process.wait()
            (self.directory / f'{name}.pid').unlink(missing_ok=True)


def end_leftovers(directory: Path) -> list[str]:
    """End daemons that an earlier run left, told by their start time.

    Returns their names. A process number used again by somebody else's
    process is left alone.
    """
    found = []
    for record in sorted(directory.glob('*.pid')):
        words = record.read_text().split()
        if len(words) == 2:
            pid = int(words[0])
            if _start_time(pid) == words[1]:
                _end_group(pid, signal.SIGKILL)
                found.append(record.stem)
        record.unlink()
    return found


def _start_time(pid: int) -> str:
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return 'gone'
    return stat.rpartition(')')[2].split()[19]


def _end_group(pgid: int, number: signal.Signals) -> bool:
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return False
    return True


def _group_runs(pgid: int) -> bool:
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        if fields[2] == str(pgid) and fields[0] not in 'ZX':
            return True
    return False


def _stop_group(pgid: int, patience: float = 8) -> None:
    _end_group(pgid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while _group_runs(pgid) and time.monotonic() < deadline:
        time.sleep(0.1)
    _end_group(pgid, signal.SIGKILL)
