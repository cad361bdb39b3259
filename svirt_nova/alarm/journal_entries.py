# SPDX-License-Identifier: Apache-2.0
"""Follows the journal, by means of journalctl.

Where no auditd runs, journald asks the kernel for audit records itself, and
the kernel writes them into its log, which journald reads, too. The same record
may then be there twice, and is taken once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from svirt_nova import logs
from svirt_nova.alarm import line_sources

LOG = logs.get_logger(__name__)

_FIELDS = (
    'MESSAGE',
    '_TRANSPORT',
    'SYSLOG_FACILITY',
    '_AUDIT_TYPE',
    '_AUDIT_ID',
    '_SOURCE_REALTIME_TIMESTAMP',
)
_AVC = '1400'
_KERNEL = '0'
"""The facility of the kernel's own messages: what programs write to
``/dev/kmsg`` gets another one (``devkmsg_write``)."""

_PRINTED = re.compile(r'audit: type=1400 (audit\([^()]{1,80}\): .*)', re.S)
_LOST = re.compile(r'audit: (audit_lost=\d.*)')
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_MOST_EVENTS = 10_000
_PATIENCE = 3
"""How often a cursor may end journalctl at once before it is given up."""


class Entries:
    """Entries of the journal, as lines of auditd.

    :param found: what :meth:`position` gave; empty to begin at the end
    :param program: what shows the journal
    :raises TypeError: it gave something else
    """

    def __init__(
        self, found: Mapping[str, Any], program: str = 'journalctl'
    ) -> None:
        self._program = program
        self._cursor = line_sources.text_of(found, 'cursor')
        self._since = line_sources.text_of(found, 'since')
        self._process: subprocess.Popen[bytes] | None = None
        self._splitter = line_sources.Splitter()
        self._pause = _FIRST_PAUSE
        self._next_start = 0.0
        self._failures = 0
        self._transports: dict[str, str] = {}
        if self._cursor is None and self._since is None:
            self._since = f'@{int(time.time())}'
            LOG.info(
                'There is no state of an earlier run: denials are told from '
                'now on'
            )

    def read(self, seconds: float) -> list[bytes]:
        """The next lines, as :class:`line_sources.LineSource` has it."""
        if self._process is None and not self._start(seconds):
            return []
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], seconds)
        if not ready:
            return []
        data = os.read(descriptor, line_sources.CHUNK)
        if not data:
            self._restart()
            return []
        self._pause, self._failures = _FIRST_PAUSE, 0
        lines = map(self._read_entry, self._splitter.split(data))
        return [each for each in lines if each is not None]

    def position(self) -> dict[str, Any]:
        """What the state file keeps."""
        if self._cursor is not None:
            return {'cursor': self._cursor}
        return {'since': self._since}

    def close(self) -> None:
        """Let go of what is open."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _start(self, seconds: float) -> bool:
        wait = self._next_start - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, seconds))
            return False
        begin = (
            f'--since={self._since}'
            if self._cursor is None
            else f'--after-cursor={self._cursor}'
        )
        command = [
            self._program,
            '--follow',
            '--no-tail',
            '--quiet',
            '--no-pager',
            '--all',
            '--output=json',
            f'--output-fields={",".join(_FIELDS)}',
            begin,
            '_TRANSPORT=audit',
            '_TRANSPORT=kernel',
        ]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
        except OSError as error:
            LOG.error('No denial is seen: journalctl cannot run: %s', error)
            self._postpone()
            return False
        return True

    def _restart(self) -> None:
        """Follow anew: journalctl has ended, and never does by itself."""
        assert self._process is not None
        # It has closed its output.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        status = self._process.poll()
        self.close()
        self._splitter = line_sources.Splitter()
        self._failures += 1
        if self._failures >= _PATIENCE and self._cursor is not None:
            LOG.warning(
                'journalctl does not find the place in the journal where the '
                'alarm stopped: denials are told from now on, and lines may '
                'be lost'
            )
            self._cursor, self._since = None, f'@{int(time.time())}'
        LOG.warning(
            'journalctl has ended with %s, and is started again in %.1f s',
            status,
            self._pause,
        )
        self._postpone()

    def _postpone(self) -> None:
        self._next_start = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _read_entry(self, line: bytes) -> bytes | None:
        """An entry as a line of auditd; None if it is of no denial."""
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        if not isinstance(entry, dict):
            return None
        if cursor := _text(entry.get('__CURSOR')):
            self._cursor = cursor
        fields = {name: _text(entry.get(name)) for name in _FIELDS}
        found = _as_line(fields)
        if found is None:
            return None
        event = found.partition('(')[2].partition(')')[0]
        transport = fields['_TRANSPORT'] or ''
        if found.startswith('type=AVC'):
            # The first of the two ways tells of the event.
            if self._transports.setdefault(event, transport) != transport:
                return None
            if len(self._transports) > _MOST_EVENTS:
                del self._transports[next(iter(self._transports))]
        return found.encode('utf-8', 'surrogateescape')


def _as_line(fields: Mapping[str, str | None]) -> str | None:
    message = fields['MESSAGE']
    if message is None:
        return None
    if fields['_TRANSPORT'] == 'audit':
        if fields['_AUDIT_TYPE'] != _AVC:
            return None
        seconds = (fields['_SOURCE_REALTIME_TIMESTAMP'] or '').zfill(7)
        return (
            f'type=AVC msg=audit({seconds[:-6]}.{seconds[-6:-3]}:'
            f'{fields["_AUDIT_ID"]}): {message.removeprefix("AVC ")}'
        )
    if fields['_TRANSPORT'] == 'kernel' and (
        fields['SYSLOG_FACILITY'] == _KERNEL
    ):
        if match := _PRINTED.fullmatch(message):
            return f'type=AVC msg={match[1]}'
        if match := _LOST.fullmatch(message):
            return f'type=KERNEL msg=audit(0.0:0): {match[1]}'
    return None


def _text(value: object) -> str | None:
    """A field: a text, or the bytes of one that is not UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        # A field that an entry has twice is a list of them.
        if isinstance(value[0], str | list):
            return _text(value[0])
        with contextlib.suppress(ValueError, TypeError):
            return bytes(value).decode('utf-8', 'surrogateescape')
    return None
