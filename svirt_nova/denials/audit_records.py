# SPDX-License-Identifier: Apache-2.0
"""Records of the audit system, in the forms that tools write them in.

A record counts only behind what auditd, the kernel or journald put before it:
any program may log a text that looks like a record. This module does no I/O.
"""

from __future__ import annotations

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
_UPTIME = r'\[ *\d{1,12}\.\d{1,9}\]'
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
    rf'(?:{_UPTIME}|\[(?:[A-Z][a-z]{{2}} ){{2}}[ \d]\d {_CLOCK} \d{{4}}\]'
    r'|(?P<stamp>\d{4}-\d{2}-\d{2}T\S{8,40})) ',
    re.ASCII,
)
_KERNEL = re.compile(
    r'(?:audit: )?type=(?:1400|1107) audit\((?P<event>[^()]{1,80})\): ',
    re.ASCII,
)
_JOURNALD = re.compile(r'(?:AVC|USER_AVC) (?=avc: |pid=\d)')
"""journald asks the kernel for records itself, and writes no ``audit(...)``
(``src/journal/journald-audit.c``)."""

_USER = re.compile(
    r'pid=\d{1,10} uid=\S{1,64} auid=\S{1,64} ses=\S{1,20} '
    r"(?:subj=\S{1,8192} )?msg='(?=avc: )",
    re.ASCII,
)
_DECISION = re.compile(
    r'avc: +(?P<outcome>denied|granted) +\{(?P<permissions>[\w ]{0,2000})\}'
    r' +for +',
    re.ASCII,
)
_LOOKS_LIKE = re.compile(r'\bavc: +(?:denied|granted)\b.*\bscontext=', re.S)

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
    # auditd puts the names of users behind a group separator.
    line = text.rstrip().partition('\x1d')[0]
    start, header = _read_header(line)
    body = '' if header is None else line[start:]
    if user := _USER.match(body):
        inner, quote, _ = body[user.end() :].rpartition("'")
        body = inner if quote else body[user.end() :]
    decision = _DECISION.match(body)
    if header is None or decision is None:
        if _LOOKS_LIKE.search(line):
            return sightings.in_doubt(
                'it does not begin as a record of the kernel does: whoever '
                'may write to that log can have made it up'
            )
        return None
    return _read_body(body, decision, header, zone)


def _read_header(line: str) -> tuple[int, dict[str, str] | None]:
    """What stands before a record.

    :returns: where the record begins, and the parts of its header; None if
        it has none that is known
    """
    if match := _AUDITD.match(line):
        return match.end(), _parts(match)
    if _DECISION.match(line):
        return 0, {}
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


def _read_body(
    body: str,
    decision: re.Match[str],
    header: dict[str, str],
    zone: datetime.tzinfo | None,
) -> sightings.Sighting:
    written, is_raw = None, True
    if event := header.get('event'):
        written, is_raw = line_times.read_event(event, zone)
    elif stamp := header.get('stamp'):
        written = line_times.read_iso(stamp) or line_times.read_seconds(stamp)
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
