# SPDX-License-Identifier: Apache-2.0
"""The columns of ``svirt-nova avc``: for people, and for a SIEM."""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Iterable
from typing import Any

from cliff import columns

from svirt_nova import printing
from svirt_nova.allocator import types
from svirt_nova.cmd import command
from svirt_nova.cmd import instance_names
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings
from svirt_nova.denials import verdicts

NAMES = ('Line', 'Time', 'Verdict', 'Access', 'Source', 'Target', 'Note')

_WIDTH = 44
_NOTE_WIDTH = 36
_LONGEST_PATH = 4096


class Cell(columns.FormattableColumn[dict[str, Any]]):
    """Some fields: a map for machines, and a few lines for people."""

    def __init__(
        self, fields: dict[str, Any], lines: Iterable[str] = ()
    ) -> None:
        super().__init__(fields)
        self._lines = [*lines]

    def human_readable(self) -> str:
        """Lines in which all characters can be seen."""
        return _wrap(self._lines, _WIDTH)

    def machine_readable(self) -> dict[str, Any] | None:  # type: ignore[override]
        """The fields; None if there are none."""
        return self._value or None


class Notes(columns.FormattableColumn[tuple[str, ...]]):
    """Sentences."""

    def human_readable(self) -> str:
        """All of them, in short lines."""
        return _wrap(['; '.join(self._value)], _NOTE_WIDTH)

    def machine_readable(self) -> list[str]:  # type: ignore[override]
        """A list of them."""
        return [*self._value]


class Instant(columns.FormattableColumn[line_times.Written | None]):
    """The moment of a line, to the millisecond."""

    def human_readable(self) -> str:
        """In UTC, or a dash if it is not known for certain."""
        moment = self._moment()
        if moment is None:
            return '-'
        text = moment.strftime('%Y-%m-%d %H:%M:%S.%f')
        return text[:-3]

    def machine_readable(self) -> str | None:  # type: ignore[override]
        """ISO 8601, in UTC."""
        moment = self._moment()
        if moment is None:
            return None
        return moment.isoformat(timespec='milliseconds')

    def _moment(self) -> datetime.datetime | None:
        written = self._value
        if written is None or len(written.moments) != 1:
            return None
        return written.moments[0]


def row(
    number: int,
    sighting: sightings.Sighting,
    judgement: verdicts.Judgement,
    names: instance_names.InstanceNames,
) -> tuple[Any, ...]:
    """A row of the answer.

    :param number: of the line
    """
    verdict = judgement.verdict
    return (
        number,
        Instant(sighting.written),
        command.Text(None if verdict is None else verdict.value),
        _access(sighting),
        _side(judgement.source, names, sighting.written),
        _side(judgement.target, names, sighting.written),
        Notes(judgement.notes),
    )


def _access(sighting: sightings.Sighting) -> Cell:
    access = sighting.access or sightings.Access()
    outcome = access.outcome and access.outcome.value
    fields = {
        'outcome': outcome,
        'process': _bounded(access.process),
        'pid': _bounded(access.pid),
        'permissions': [*map(_bounded, access.permissions)],
        'class': _bounded(access.object_class),
        'path': _bounded(access.path, _LONGEST_PATH),
        'host': _bounded(sighting.host),
        'event': _bounded(sighting.event),
    }
    if not any(fields.values()):
        return Cell({})
    wanted = f'{{ {" ".join(access.permissions)} }} {access.object_class}'
    lines = [
        ' '.join(filter(None, [outcome, wanted])) if outcome else '',
        _named('process', access.process),
        _named('path', access.path),
        _named('on', sighting.host),
    ]
    return Cell(fields, filter(None, lines))


def _named(name: str, text: str) -> str:
    return f'{name} {text}' if text else ''


def _side(
    account: verdicts.Account | None,
    names: instance_names.InstanceNames,
    written: line_times.Written | None,
) -> Cell:
    if account is None:
        return Cell({})
    held, now = account.holding, account.present
    fields: dict[str, Any] = {
        'context': _bounded(account.label.text, _LONGEST_PATH),
        'level': str(account.label.level),
        'then': None,
        'now': None,
    }
    lines = [fields['level']]
    if held is None:
        return Cell(fields, lines)
    is_same = now is not None and now.instance_uuid == held.instance_uuid
    name = names.of(held.instance_uuid)
    fields['then'] = _then(held, name, account.is_cooling, written)
    lines += _for_people('then', held.instance_uuid, held.project_id, name)
    if hosts := fields['then']['hosts']:
        lines.append('  on ' + ', '.join(hosts))
    if held.until is not None:
        lines.append(f'  until {held.until:%Y-%m-%d %H:%M:%S}')
    if now is None:
        fields['now'] = {'state': 'free'}
        lines.append('now free')
        return Cell(fields, lines)
    now_name = now.instance_uuid and names.of(now.instance_uuid)
    fields['now'] = _now(now, now_name)
    if is_same:
        lines.append(f'now the same, {now.state.value}')
    else:
        lines += _for_people(
            f'now {now.state.value}',
            now.instance_uuid,
            now.project_id,
            now_name,
        )
    if now.hosts:
        lines.append('  on ' + ', '.join(sorted(now.hosts)))
    return Cell(fields, lines)


def _then(
    held: types.Holding,
    name: str | None,
    is_cooling: bool,
    written: line_times.Written | None,
) -> dict[str, Any]:
    return {
        'state': 'cooling' if is_cooling else 'held',
        'instance': held.instance_uuid,
        'project': held.project_id,
        'name': name,
        'hosts': _hosts_then(held, written),
        'since': _iso(held.since),
        'until': _iso(held.until),
    }


def _hosts_then(
    held: types.Holding, written: line_times.Written | None
) -> list[str]:
    """The hosts that may have had the instance, as far as that is known."""
    if written is None:
        return []
    return held.hosts_at(
        min(written.moments), max(written.moments) + written.span
    )


def _now(now: types.Allocation, name: str | None) -> dict[str, Any]:
    return {
        'state': now.state.value,
        'instance': now.instance_uuid,
        'project': now.project_id,
        'name': name,
        'hosts': sorted(now.hosts),
        'since': _iso(now.created_at),
        'retired': _iso(now.retired_at),
    }


def _for_people(
    when: str, uuid: str | None, project: str | None, name: str | None
) -> list[str]:
    lines = [f'{when} {uuid}' if uuid else when]
    if name:
        lines.append(f'  {printing.quote(name)}')
    if project:
        lines.append(f'  project {project}')
    return lines


def _iso(moment: datetime.datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(datetime.UTC).isoformat(timespec='seconds')


def _bounded(text: str, longest: int = printing.LONGEST_NAME) -> str | None:
    """A text as it is, unless it is too long to be shown whole."""
    if not text:
        return None
    return text if len(text) <= longest else printing.printable(text, longest)


def _wrap(lines: Iterable[str], width: int) -> str:
    """Lines of bounded length, in which all characters can be seen."""
    return '\n'.join(
        piece
        for line in lines
        for piece in textwrap.wrap(
            printing.printable(line, 1000),
            width,
            subsequent_indent='  ',
            break_on_hyphens=False,
        )
    )
