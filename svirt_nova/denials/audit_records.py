# SPDX-License-Identifier: Apache-2.0
"""Records of the audit system, in the forms that tools write them in.

A record counts only behind what auditd, the kernel or journald put before it:
any program may log a text that looks like a record. This module does no I/O.
"""

from __future__ import annotations

import dataclasses
import datetime
import re

from svirt_nova import exception
from svirt_nova.denials import audit_fields
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings

_AUDITD = re.compile(
    r'(?:node=(?P<node>[\w.:-]{1,255}) )?'
    r'type=(?:AVC|USER_AVC|1400|1107) '
    r'msg=audit\((?P<event>[^()]{1,80})\) ?: ',
    re.ASCII,
)
"""As ``/var/log/audit/audit.log`` and ``ausearch`` have it."""

_CLOCK = r'\d{2}:\d{2}:\d{2}(?:[.,]\d{1,6})?'
_UPTIME = r'\[ *\d{1,12}\.\d{1,9}\](?:\[ *[TC]\d{1,10}\])?'
"""With the thread or the processor where the kernel writes them
(``CONFIG_PRINTK_CALLER``)."""
_SYSLOG = re.compile(
    r'(?:<\d{1,3}>)?'
    r'(?:(?P<stamp>\d{4}-\d{2}-\d{2}T\S{8,40}|\d{9,12}\.\d{6})'
    rf'|(?:[A-Z][a-z]{{2}} )?\d{{4}}-\d{{2}}-\d{{2}} {_CLOCK} [\w+-]{{1,9}}'
    rf'|[A-Z][a-z]{{2}} [ \d]\d (?:\d{{4}} )?{_CLOCK}|{_UPTIME})'
    r' (?P<node>[\w.:-]{1,255}) '
    r'(?P<tag>kernel|(?:audit|auditd|audispd|audisp-syslog)'
    r'(?:\[\d{1,10}\])?): ',
    re.ASCII,
)
"""As journalctl and syslog have it: a time, a host, a program. What says that
it is the kernel, and has a number of a process, is a program."""

_DMESG = re.compile(
    rf'(?:<\d{{1,3}}>|kern +:\w+ *: )?'
    rf'(?:{_UPTIME}|\[(?: *\+\d{{1,12}}\.\d{{1,9}}'
    r'|[A-Z][a-z]{2} ?\d{1,2} \d{2}:\d{2})\]'
    rf'|\[(?:[A-Z][a-z]{{2}} ){{2}}[ \d]\d {_CLOCK} \d{{4}}\]'
    r'|(?P<stamp>\d{4}-\d{2}-\d{2}T\S{8,40})) ',
    re.ASCII,
)
_KERNEL = re.compile(
    r'(?:audit: )?type=(?:1400|1107) audit\((?P<event>[^()]{1,80})\): ',
    re.ASCII,
)
_JOURNALD = re.compile(
    r'(?:(?:AVC|USER_AVC)|<audit-(?:1400|1107)>) (?=avc: |pid=\d)'
)
"""journald asks the kernel for records itself, and writes no ``audit(...)``
(``src/journal/journald-audit.c``). Old releases write the record's number."""

_USER = re.compile(
    r'pid=\d{1,10} uid=\S{1,64} auid=\S{1,64} ses=\S{1,20} '
    r"(?:subj=\S{1,8192} )?msg='(?=avc: )",
    re.ASCII,
)
_LONGEST_USER_TEXT = 1_000
"""libselinux cuts what it writes at 1023 characters (``AVC_AUDIT_BUFSIZE`` in
``src/avc_internal.h``). The command line of a caller can be as long, and then
its end looks like the contexts."""

_ESCAPED_SEPARATOR = re.compile(r'(?<= permissive=[01])#035[A-Z].*')
"""rsyslog escapes control characters. No name in a raw record has a space."""

_DECISION = re.compile(
    r'avc: +(?P<outcome>denied|granted) +\{(?P<permissions>[\w ]{0,2000})\}'
    r' +for +',
    re.ASCII,
)
_LOOKS_LIKE = re.compile(r'\bavc: +(?:denied|granted)\b.*\bscontext=', re.S)

_CUT_BY_LIBRARY = (
    'the program that asked SELinux may have cut it off, so that its end may '
    'be what a caller has chosen'
)
_TOO_LONG = (
    f'the line has more than {sightings.LONGEST_LINE} characters: the kernel '
    f'writes none of that length'
)


def read(text: str, zone: datetime.tzinfo | None) -> sightings.Sighting | None:
    """Read a decision of the kernel, or of a program that asks SELinux.

    :param text: a line
    :param zone: of the machine that interpreted times; None for this one's
    :returns: None for every other line
    """
    if len(text) > sightings.LONGEST_LINE:
        head = text[: sightings.LONGEST_LINE]
        is_record = _LOOKS_LIKE.search(head) or _DECISION.search(head)
        return sightings.in_doubt(_TOO_LONG) if is_record else None
    # Not of separators: ausearch shows them as escapes.
    line = text.rstrip(' \t\r\n')
    start, header = _read_header(line)
    written, is_raw = _read_time(header or {}, zone)
    body = '' if header is None else line[start:]
    if is_raw:
        # auditd puts the names of users behind a group separator.
        body = _ESCAPED_SEPARATOR.sub('', body.partition('\x1d')[0])
    is_cut = False
    if user := _USER.match(body):
        inner, quote, _ = body[user.end() :].rpartition("'")
        body = inner if quote else body[user.end() :]
        is_cut = len(body.rpartition(' exe=')[0] or body) >= _LONGEST_USER_TEXT
    decision = _DECISION.match(body)
    if header is None or decision is None:
        if _LOOKS_LIKE.search(line):
            return sightings.in_doubt(
                'it does not begin as a record of the kernel does: whoever '
                'may write to that log can have made it up'
            )
        return None
    found = _read_body(body, decision, header, written, is_raw)
    if is_cut and not found.doubt:
        return dataclasses.replace(found, doubt=_CUT_BY_LIBRARY)
    return found


def _read_header(line: str) -> tuple[int, dict[str, str] | None]:
    """What stands before a record.

    :returns: where the record begins, and the parts of its header; None if
        it has none that is known
    """
    if match := _AUDITD.match(line):
        return match.end(), _parts(match)
    if _DECISION.match(line):
        return 0, {}
    if match := _JOURNALD.match(line):
        # As "journalctl -o cat" has it.
        return match.end(), {}
    found: dict[str, str] = {}
    position = 0
    if match := _SYSLOG.match(line):
        found, position = _parts(match), match.end()
        tag = found['tag'].partition('[')[0]
        if tag != 'kernel':
            record = _AUDITD.match(line, position)
            if record is None and tag == 'audit':
                record = _JOURNALD.match(line, position)
            if record is None:
                return 0, None
            return record.end(), {**found, **_parts(record)}
    if match := _DMESG.match(line, position):
        found, position = {**_parts(match), **found}, match.end()
    if match := _KERNEL.match(line, position):
        return match.end(), {**found, **_parts(match)}
    return 0, None


def _parts(match: re.Match[str]) -> dict[str, str]:
    return {key: text for key, text in match.groupdict().items() if text}


def _read_time(
    header: dict[str, str], zone: datetime.tzinfo | None
) -> tuple[line_times.Written | None, bool]:
    """When a record was written, and whether it is as the kernel wrote it."""
    if event := header.get('event'):
        return line_times.read_event(event, zone)
    if stamp := header.get('stamp'):
        return (
            line_times.read_iso(stamp) or line_times.read_seconds(stamp),
            True,
        )
    return None, True


def _read_body(
    body: str,
    decision: re.Match[str],
    header: dict[str, str],
    written: line_times.Written | None,
    is_raw: bool,
) -> sightings.Sighting:
    access = sightings.Access(
        permissions=tuple(decision['permissions'].split()),
        outcome=sightings.Outcome(decision['outcome']),
    )
    rest = body[decision.end() :]
    try:
        _check_characters(rest, is_raw)
        split = (
            audit_fields.split_raw
            if is_raw
            else audit_fields.split_interpreted
        )
        fields = split(rest)
        labels = [
            sightings.read_context(fields[key])
            for key in ('scontext', 'tcontext')
        ]
    except (audit_fields.AmbiguousRecord, exception.InvalidContext) as error:
        return sightings.Sighting(
            access=access,
            written=written,
            event=header.get('event', ''),
            host=header.get('node', ''),
            doubt=str(error),
        )
    if access.outcome is sightings.Outcome.DENIED and fields.get(
        'permissive', '0'
    ) not in ('0', 'no'):
        outcome = sightings.Outcome.PERMISSIVE
    else:
        outcome = sightings.Outcome(decision['outcome'])
    return sightings.Sighting(
        source=labels[0],
        target=labels[1],
        access=sightings.Access(
            process=fields.get('comm') or fields.get('exe', ''),
            pid=fields.get('pid', ''),
            permissions=access.permissions,
            object_class=fields['tclass'],
            path=fields.get('path') or fields.get('name', ''),
            outcome=outcome,
        ),
        written=written,
        event=header.get('event', ''),
        host=header.get('node', ''),
        doubt=_invalid_label(fields),
    )


def _check_characters(text: str, is_raw: bool) -> None:
    """Check that no character of a record was added to it.

    :raises AmbiguousRecord: the kernel, or ausearch, escapes one of them
    """
    if not text.isprintable() or (is_raw and not text.isascii()):
        raise audit_fields.AmbiguousRecord(
            'it has characters that the kernel never writes as they are'
        )


def _invalid_label(fields: dict[str, str]) -> str:
    if 'srawcon' in fields or 'trawcon' in fields:
        return (
            'a label in it is none that the policy of the host knows, so that '
            'the kernel took another in its place'
        )
    return ''
