# SPDX-License-Identifier: Apache-2.0
"""What a QEMU that was taken over writes into its disks, and what it gains.

Headers are forged in a host as each guest's QEMU could do it, and put back;
the files that they name are looked at, and the log of nova-compute is read.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shlex
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from tests.lab import cache
from tests.lab import forge
from tests.lab import guest
from tests.lab import preparation
from tests.lab.host import Host
from tests.lab.progress import LabError
from tests.lab.targets import Target

#: Where the script runs, and of what.
_PLACE = '/run/svirt-nova-forge'
_PACKAGE = f'{_PLACE}/tests/lab'
_MODULES = ('__init__.py', 'questions.py', 'census.py')
_SCRIPT = f'{_PLACE}/forge.py'
_STOP = f'{_PLACE}/stop'
_LOG = '/var/log/nova/nova-compute.log'
#: An NBD server would listen there.
PORT = 10809
_CONNECTIONS = f'{_PLACE}/connections'
_LISTENER = 'svirt-nova-forge-listener'


class Forger:
    """Forges headers on one host.

    The script is no part of a prepared host, which is saved and kept.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        host.run(
            f'umask 077; rm -rf {_PLACE}; mkdir -p {_PACKAGE}; '
            f'touch {_PLACE}/tests/__init__.py'
        )
        for name in _MODULES:
            host.write(f'{_PACKAGE}/{name}', (cache.HERE / name).read_text())
        host.write(_SCRIPT, (cache.HERE / 'forge.py').read_text())

    def _ask(self, *words: str, timeout: float = 180) -> Any:
        # From what systemd runs, the kernel lets processes into the contexts
        # of guests.
        answer = self._host.run(
            f'systemd-run -q --wait --pipe {preparation.python()} {_SCRIPT} '
            f'{shlex.join(words)}',
            timeout=timeout,
        )
        return json.loads(answer)

    def forge(self, forgeries: Mapping[tuple[str, str], Target]) -> None:
        """Write headers as the QEMUs of running guests.

        :param forgeries: what to name, by UUID and path
        :raises LabError: a QEMU could not write its own disk
        """
        wanted = [
            {'uuid': uuid, 'path': path, **target.names()}
            for (uuid, path), target in forgeries.items()
        ]
        outcomes = self._ask('write', json.dumps(wanted))
        for each, outcome in zip(wanted, outcomes, strict=True):
            if outcome != forge.WRITTEN:
                raise LabError(
                    f'the QEMU of {each["uuid"]} could not forge '
                    f'{each["path"]}: {outcome}'
                )

    def restore(self) -> list[str]:
        """Put all headers back; give the disks."""
        restored: list[str] = self._ask('restore')
        return restored

    def look(self, paths: Sequence[str]) -> dict[str, Any]:
        """Give labels, owners, sizes and contents; None for no file."""
        seen: dict[str, Any] = self._ask('look', *paths)
        return seen

    @contextlib.contextmanager
    def sampled(self, path: str) -> Iterator[dict[str, Any]]:
        """Sample the label and the owner of a file all the while.

        :returns: what ``forge.py`` has seen, afterwards
        """
        found: dict[str, Any] = {}
        self._host.run(f'rm -f {_STOP}')
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            job = pool.submit(self._ask, 'sample', _STOP, path, timeout=3600)
            try:
                yield found
            finally:
                self._host.run(f'touch {_STOP}')
            found.update(job.result())

    # Who connects

    def listen(self) -> None:
        """Note whoever connects to ``PORT``; one connection is our own."""
        self._host.run(
            f'rm -f {_CONNECTIONS}; systemd-run -q --unit={_LISTENER} '
            f'/usr/bin/python3 {_SCRIPT} listen {PORT} {_CONNECTIONS}'
        )
        connect = (
            'import socket, time\n'
            'for _ in range(100):\n'
            '    try:\n'
            f'        socket.create_connection(("127.0.0.1", {PORT}))\n'
            '        break\n'
            '    except OSError:\n'
            '        time.sleep(0.3)\n'
        )
        self._host.run(f'/usr/bin/python3 -c {shlex.quote(connect)}')

    def connections(self) -> int:
        """Count the connections, with our own."""
        return int(self._host.run(f'stat -c %s {_CONNECTIONS} || echo 0'))

    def stop_listening(self) -> None:
        """End what listens."""
        self._host.run(f'systemctl stop {_LISTENER} || true')

    # What nova-compute says

    def mark(self) -> int:
        """Give the end of nova-compute's log."""
        return int(self._host.run(f'stat -c %s {_LOG}'))

    def told(self, mark: int, server: Any) -> list[str]:
        """Give the errors of svirt-nova about an instance.

        :param mark: from where in the log
        """
        return self._host.run(
            f'tail -c +{mark + 1} {_LOG} | grep -F " ERROR svirt_nova." | '
            f'grep -F {server.id} || true'
        ).splitlines()

    # What a guest reads

    def reads(self, server: Any) -> tuple[int, int]:
        """Count what a guest has read from disks that stand on others.

        :returns: reads that succeeded, and that failed
        """
        command = shlex.quote(json.dumps({'execute': 'query-blockstats'}))
        answer = json.loads(
            self._host.run(
                f'virsh -q qemu-monitor-command {server.id} {command}'
            )
        )
        return guest.count_reads(answer['return'])

    def reset(self, server: Any) -> None:
        """Reset a guest, whose firmware then reads its disks anew."""
        self._host.run(f'virsh -q reset {server.id} >/dev/null')
