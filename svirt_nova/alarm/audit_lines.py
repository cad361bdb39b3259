# SPDX-License-Identifier: Apache-2.0
"""Tells lines apart quickly: a guest can make a million of them.

A line is read in full once, and others of the same end are only counted. That
end says who was refused what: the kernel writes both contexts, the class and
whether it enforced behind everything else, and a name before them has no
space, or else it is written as hexadecimal digits
(``audit_log_n_untrustedstring`` in ``kernel/audit.c``). This module does no
I/O.
"""

from __future__ import annotations

import datetime
import re

from svirt_nova.denials import audit_records
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings

_DENIAL = re.compile(
    rb'(?:node=[\w.:-]{1,255} )?type=(?:AVC|1400) '
    rb'msg=audit\(\d{1,12}\.\d{1,9}:\d{1,20}\) ?: avc:  denied  \{',
)
"""As the kernel and auditd begin a denial. Programs that ask SELinux
themselves (USER_AVC) are not guests."""

_LOST = re.compile(rb'\baudit_lost=(\d{1,20})\b')
_KERNEL_MESSAGE = re.compile(
    rb'(?:node=[\w.:-]{1,255} )?type=KERNEL msg=audit\([^()]{1,80}\)'
)
_LONGEST_TAIL = 1000


def tail_of(line: bytes) -> bytes | None:
    """The end of a denial, from the first context on.

    :param line: without its line end
    :returns: None for every other line; empty for a denial that must be read
        in full each time
    """
    if _DENIAL.match(line) is None:
        return None
    if len(line) > sightings.LONGEST_LINE:
        return b''
    # auditd puts the names of users behind a group separator.
    record = line.partition(b'\x1d')[0]
    start = record.rfind(b' scontext=')
    if start < 0 or len(record) - start > _LONGEST_TAIL:
        return b''
    return record[start:]


def read(line: bytes) -> sightings.Sighting:
    """Read a line in full that :func:`tail_of` takes for a denial."""
    text = line.decode('utf-8', 'backslashreplace')
    found = audit_records.read(text, datetime.UTC)
    if found is None:
        return sightings.in_doubt('the record is cut off')
    return found


def event_of(line: bytes) -> tuple[str, str]:
    """When a denial was written, ISO 8601 in UTC, and the event's number.

    :param line: one that :func:`tail_of` takes for a denial
    :returns: an empty text for a time of no calendar
    """
    event = line.partition(b'msg=audit(')[2].partition(b')')[0].decode()
    written, _ = line_times.read_event(event, datetime.UTC)
    if written is None:
        return '', event
    return written.moments[-1].isoformat(timespec='milliseconds'), event


def lost(line: bytes) -> int | None:
    """How many records the kernel has lost since its start.

    :returns: None for a line that does not say it (``audit_log_lost`` in
        ``kernel/audit.c``)
    """
    if b'audit_lost=' not in line or not _KERNEL_MESSAGE.match(line):
        return None
    match = _LOST.search(line)
    return None if match is None else int(match[1])
