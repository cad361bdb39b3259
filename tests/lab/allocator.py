# SPDX-License-Identifier: Apache-2.0
"""The levels' store of a lab with several hosts, behind its service.

The hosts ask over the message bus; only the service and the operator's
command have the database's password.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab import cache
from tests.lab import processes
from tests.lab.configuration import Configuration
from tests.lab.configuration import ini
from tests.lab.processes import Daemons

#: How compute nodes are told to ask the service.
FOR_COMPUTES: Mapping[str, Mapping[str, object]] = {
    'svirt': {'allocator': 'rpc'}
}


class AllocatorService:
    """``svirt-nova-allocator`` on the machine itself."""

    def __init__(
        self, run: Path, daemons: Daemons, configuration: Configuration
    ) -> None:
        self._daemons = daemons
        self._configuration = configuration
        self._file = run / 'etc/svirt-nova.conf'
        self._log = daemons.logs / 'svirt-nova-commands.log'

    def start(self) -> None:
        """Create the store and start the service."""
        self._file.touch(0o600)
        self._file.write_text(ini(self._configuration.allocator()))
        self._command('db', 'sync')
        self._daemons.start(
            'svirt-nova-allocator',
            [
                cache.VENV / 'bin/svirt-nova-allocator',
                '--config-file',
                self._file,
            ],
            env=self._configuration.environment(),
        )

    def ask(self, *words: str) -> Any:
        """Run the operator's command with -f json and parse the answer."""
        return json.loads(self._command(*words, '-f', 'json'))

    def _command(self, *words: str) -> str:
        return processes.run(
            [
                cache.VENV / 'bin/svirt-nova',
                '--config-file',
                self._file,
                *words,
            ],
            log=self._log,
            timeout=120,
            env=self._configuration.environment(),
        )
