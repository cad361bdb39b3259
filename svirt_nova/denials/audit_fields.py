# SPDX-License-Identifier: Apache-2.0
"""The fields of an audit record, of which none is taken from a value.

Guests choose the names of processes and files. The kernel writes such a name
in quotes or, if it has a quote, a space or another unusual byte, as
hexadecimal digits (``audit_log_n_untrustedstring`` in ``kernel/audit.c``), so
that a raw record can be read in one way only. ``ausearch -i`` undoes that and
writes names as they are. Such a record is read only if its known fields stand
where the kernel writes them, each of them once. This module does no I/O.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

_RAW_FIELD = re.compile(
    r'\s*([A-Za-z_][\w-]*)=(?:"([^"]*)"|([^\s"]*))(?=\s|$)', re.ASCII
)

_ORDER = (
    ('pid', 'spid'),
    ('comm',),
    ('path', 'name'),
    ('scontext',),
    ('tcontext',),
    ('tclass',),
    ('permissive',),
)
"""Where fields stand (``avc_audit_pre_callback``, ``dump_common_audit_data``
and ``avc_audit_post_callback`` of the kernel): of one entry, only one does."""

_KNOWN = (
    'pid|comm|capability|path|name|dev|ino|ioctlcmd|key|opid|ocomm|kmod|netif|'
    'laddr|lport|faddr|fport|saddr|src|daddr|dest|lockdown_reason|trusted|'
    'srawcon|trawcon|scontext|tcontext|tclass|permissive|'
    # What writers of USER_AVC add: systemd and dbus.
    'auid|uid|gid|cmdline|function|msgtype|error_name|interface|member|spid|'
    'tpid|exe|sauid|hostname|addr|terminal'
)
_KNOWN_FIELD = re.compile(rf'(?:^|(?<=\s))({_KNOWN})=')

_FREE_TEXTS = ('comm', 'path', 'name', 'exe', 'cmdline', 'trawcon', 'srawcon')
_HEXADECIMAL = re.compile(r'(?:[0-9A-F]{2})+')

_LONGEST_COMM = re.compile(r'"?(?:\\[0-7]{3}|.){0,15}', re.S)
"""As much as the name of a process can have (``TASK_COMM_LEN`` of the kernel,
less one); ausearch writes control characters as octal numbers."""

_NEVER_SO_NEAR = frozenset(
    {'pid', 'comm', 'tcontext', 'tclass', 'permissive', 'srawcon', 'trawcon'}
)
"""What the kernel never writes within so many characters behind ``comm=``."""

REQUIRED = ('scontext', 'tcontext', 'tclass')
"""What each decision of the kernel is about."""


class AmbiguousRecord(ValueError):
    """A record can be read in several ways, or in none; the text says why."""


def split_raw(text: str) -> dict[str, str]:
    """The fields of a record as the kernel wrote it.

    :param text: what comes after ``for``
    :raises AmbiguousRecord: the kernel does not write it so
    """
    found: dict[str, str] = {}
    is_quoted: set[str] = set()
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _RAW_FIELD.match(text, position)
        if match is None:
            raise AmbiguousRecord(
                'the record is cut off, or was changed after the kernel '
                'wrote it'
            )
        key = match[1]
        _add(found, key, match[3] if match[2] is None else match[2])
        if match[2] is not None:
            is_quoted.add(key)
        position = match.end()
    for key in _FREE_TEXTS:
        if key in found and key not in is_quoted:
            found[key] = _decode(found[key])
    _check(found)
    return found


def split_interpreted(text: str) -> dict[str, str]:
    """The fields of a record as ``ausearch -i`` shows it.

    :param text: what comes after ``for``
    :raises AmbiguousRecord: a name may have been taken for a field
    """
    matches = _without_comm(text, [*_KNOWN_FIELD.finditer(text)])
    if not matches or text[: matches[0].start()].strip():
        raise AmbiguousRecord('the record does not begin with a field')
    found: dict[str, str] = {}
    for number, match in enumerate(matches):
        is_last = number + 1 == len(matches)
        end = len(text) if is_last else matches[number + 1].start()
        value = text[match.end() : end].strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        _add(found, match[1], value)
    _check_behind_names(found)
    for key in (*REQUIRED, 'permissive'):
        if re.search(r'\s', found.get(key, '')):
            raise AmbiguousRecord(f'there is a text after {key}')
    _check(found)
    return found


def _without_comm(
    text: str, matches: list[re.Match[str]]
) -> list[re.Match[str]]:
    """Leave out what stands in the name of the process, and is no field.

    Each process may choose that name, and could else make all that is written
    of it ambiguous. It is too short for a context.
    """
    keys = [match[1] for match in matches]
    if keys[:2] != ['pid', 'comm']:
        return matches
    place = 1
    begin = matches[place].end()
    longest = _LONGEST_COMM.match(text, begin)
    end = longest.end() if longest else begin
    groups = [{'path': 'name'}.get(key, key) for key in keys]
    return [
        match
        for number, match in enumerate(matches)
        if number <= place
        or match.start() > end
        or (
            match[1] not in _NEVER_SO_NEAR
            and groups[number] not in groups[number + 1 :]
            # A device stands behind the name of a file, never before it.
            and (
                match[1] not in ('dev', 'ino')
                or 'name' not in groups[number + 1 :]
            )
        )
    ]


def _check_behind_names(found: Mapping[str, str]) -> None:
    """Check that what comes behind the name of a file is no part of it.

    The kernel writes a device and an inode there, except for sockets.
    """
    keys = [*found]
    behind = {'name': {'dev'}, 'path': {'dev'}, 'dev': {'ino'}}
    if 'socket' in found.get('tclass', ''):
        behind['path'].add('scontext')
    if keys[0] == 'auid':
        # systemd writes a command line behind the path of a unit.
        behind['path'].add('cmdline')
    for key, following in itertools.pairwise(keys):
        if following not in behind.get(key, {following}):
            raise AmbiguousRecord(
                f'the field {following} comes behind {key}, and may be a '
                f'part of the name of a file'
            )


def _add(found: dict[str, str], key: str, value: str) -> None:
    if key in found:
        raise AmbiguousRecord(
            f'the field {key[:20]} comes twice: a name may have been made to '
            f'look like it'
        )
    found[key] = value


def _check(found: Mapping[str, str]) -> None:
    """Check that the known fields are there, and in the kernel's order."""
    missing = [key for key in REQUIRED if not found.get(key)]
    if missing:
        raise AmbiguousRecord(f'the record has no {missing[0]}: it is cut off')
    if found.get('permissive', '0') not in ('0', '1', 'no', 'yes'):
        raise AmbiguousRecord('there is a text after permissive')
    order = {key: n for n, keys in enumerate(_ORDER) for key in keys}
    places = [order[key] for key in found if key in order]
    if any(b <= a for a, b in itertools.pairwise(places)):
        raise AmbiguousRecord(
            'the fields do not stand where the kernel writes them: a name '
            'may have been made to look like one'
        )


def _decode(text: str) -> str:
    """A value that the kernel did not put into quotes."""
    if _HEXADECIMAL.fullmatch(text) is None:
        return text
    return bytes.fromhex(text).decode('utf-8', 'backslashreplace')
