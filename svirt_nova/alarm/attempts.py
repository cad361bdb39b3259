# SPDX-License-Identifier: Apache-2.0
"""What is told of a denial, and which denials are told. No I/O is done."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from svirt_nova import printing
from svirt_nova.denials import sightings
from svirt_nova.denials import verdicts

_LONGEST_PATH = 4096
_LONGEST_NOTE = 1000
_PLAIN = re.compile(r'[\w.:@,+/-]+', re.ASCII)

ALARMING = (
    verdicts.Verdict.SAME_PROJECT,
    verdicts.Verdict.DOUBTFUL,
    verdicts.Verdict.CROSS_PROJECT,
)
"""The verdicts of alarms, the worst last."""

UNREADABLE = '?'
"""Stands for a level of a denial that cannot be read."""


_IDS = uuid.UUID('5d0e3f0a-7a52-4c3e-9a86-0d5c9d2f9b11')


def id_of(*parts: object) -> str:
    """The id of an alarm about something, which is always the same.

    What is told again after a crash is known by it.
    """
    return str(uuid.uuid5(_IDS, json.dumps([*map(str, parts)])))


@dataclasses.dataclass(frozen=True, slots=True)
class Party:
    """One of the two sides of a denial.

    :param level: its level, in the canonical form
    :param context: as the kernel wrote it
    :param instance: whose the level was then; None where nobody is named
    :param project: of the instance
    """

    level: str
    context: str = ''
    instance: str | None = None
    project: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm:
    """What is told.

    :param verdict: one of :data:`ALARMING`
    :param is_permissive: whether the access took place
    :param source: of the process
    :param target: what it wanted
    :param host: Nova's name for this host
    :param written: when the kernel wrote the record, ISO 8601 in UTC
    :param event: the number of the event in the audit log
    :param count: how many denials it tells of: the ones since the last alarm
        of the same level
    :param targets: at how many levels these were
    :param first_targets: the first of those
    :param notes: sentences
    :param id: of this alarm, by which it is known when it comes twice
    """

    verdict: verdicts.Verdict
    is_permissive: bool
    source: Party
    target: Party
    host: str
    written: str = ''
    event: str = ''
    process: str = ''
    pid: str = ''
    permissions: tuple[str, ...] = ()
    object_class: str = ''
    path: str = ''
    count: int = 1
    targets: int = 1
    first_targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    id: str = ''

    def line(self) -> str:
        """The alarm as ``key=value``, each value bounded and printable."""
        fields = {
            'verdict': self.verdict.value,
            'outcome': self._outcome,
            'source_level': self.source.level,
            'source_instance': self.source.instance,
            'source_project': self.source.project,
            'target_level': self.target.level,
            'target_instance': self.target.instance,
            'target_project': self.target.project,
            'host': self.host,
            'time': self.written,
            'event': self.event,
            'process': self.process,
            'pid': self.pid,
            'class': self.object_class,
            'permissions': ','.join(self.permissions),
            'path': self.path,
            'count': self.count,
            'targets': self.targets,
            'first_targets': ' '.join(self.first_targets),
            'id': self.id,
            'note': '; '.join(self.notes),
        }
        return ' '.join(
            f'{key}={_value(value)}'
            for key, value in fields.items()
            if value not in (None, '')
        )

    def payload(self) -> dict[str, Any]:
        """The alarm as a notification has it, each text bounded."""
        return {
            'id': self.id,
            'verdict': self.verdict.value,
            'outcome': self._outcome,
            'host': self.host,
            'subject': dataclasses.asdict(self.source),
            'object': dataclasses.asdict(self.target),
            'time': self.written or None,
            'event': self.event,
            'process': self.process,
            'pid': self.pid,
            'class': self.object_class,
            'permissions': [*self.permissions],
            'path': self.path,
            'count': self.count,
            'targets': self.targets,
            'first_targets': [*self.first_targets],
            'notes': [*self.notes],
        }

    def to_json(self) -> dict[str, Any]:
        """What the state file keeps of it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Alarm:
        """Read what :meth:`to_json` gave.

        :raises ValueError, TypeError, KeyError: it is something else
        """
        fields = dict(found)
        for name in ('permissions', 'first_targets', 'notes'):
            fields[name] = tuple(map(str, fields[name]))
        for name in ('source', 'target'):
            fields[name] = Party(**fields[name])
            if not isinstance(fields[name].level, str):
                raise TypeError(f'the level of the {name} is no text')
        fields['verdict'] = verdicts.Verdict(fields['verdict'])
        if fields['verdict'] not in ALARMING:
            raise ValueError(f'{fields["verdict"]} raises no alarm')
        return cls(**fields)

    @property
    def _outcome(self) -> str:
        return 'permissive' if self.is_permissive else 'denied'


def by_labels(sighting: sightings.Sighting) -> verdicts.Verdict | None:
    """The verdict on a denial that is not told, by its labels alone.

    :returns: None for one that may be told, for which the store is asked
    """
    source, target = sighting.source, sighting.target
    if source is None or target is None:
        # It is a record of the kernel, but not whole. Who can make such ones
        # must not go unseen by that.
        return None
    if not verdicts.is_guest_type(source.type):
        return verdicts.Verdict.NOT_OURS
    if not target.level.categories or not verdicts.is_guest_type(target.type):
        return verdicts.Verdict.HOST
    if source.level == target.level:
        return verdicts.Verdict.OWN
    return None


def judged(
    sighting: sightings.Sighting,
    judgement: verdicts.Judgement | None,
    host: str,
    note: str = '',
) -> Alarm | None:
    """What is to be told of a denial for which :func:`by_labels` gave None.

    :param judgement: what the store made of it; None if it did not answer
    :param note: why it did not
    :returns: None for an instance at what is its own
    """
    verdict = verdicts.Verdict.DOUBTFUL
    notes = [note] if note else []
    if judgement is not None and judgement.verdict is not None:
        if judgement.verdict is verdicts.Verdict.OWN:
            return None
        if judgement.verdict in ALARMING:
            verdict = judgement.verdict
            notes[:0] = judgement.notes
        else:
            # A compute may not know the claims of other hosts.
            notes.insert(0, 'not both levels are of instances known here')
    access = sighting.access or sightings.Access()
    accounts = (
        (None, None)
        if judgement is None
        else (judgement.source, judgement.target)
    )
    source, target = sighting.source, sighting.target
    return Alarm(
        id=id_of(
            host,
            sighting.event,
            source and source.text,
            target and target.text,
            access,
        ),
        verdict=verdict,
        is_permissive=access.outcome is sightings.Outcome.PERMISSIVE,
        source=_party(source, accounts[0]),
        target=_party(target, accounts[1]),
        host=host,
        written=_written(sighting),
        event=_bounded(sighting.event),
        process=_bounded(access.process),
        pid=_bounded(access.pid),
        permissions=tuple(map(_bounded, access.permissions[:64])),
        object_class=_bounded(access.object_class),
        path=printing.printable(access.path, _LONGEST_PATH),
        notes=tuple(printing.printable(n, _LONGEST_NOTE) for n in notes[:8]),
    )


def level_of(label: sightings.Label | None) -> str:
    """The level of a side, as text."""
    return UNREADABLE if label is None else str(label.level)


def moment(sighting: sightings.Sighting) -> datetime.datetime | None:
    """When the kernel wrote the record; None if that cannot be read."""
    written = sighting.written
    return None if written is None else written.moments[-1]


def _party(
    label: sightings.Label | None, account: verdicts.Account | None
) -> Party:
    held = account.holding if account is not None else None
    return Party(
        level=level_of(label),
        context='' if label is None else printing.printable(label.text, 1000),
        instance=held.instance_uuid if held is not None else None,
        project=held.project_id if held is not None else None,
    )


def _written(sighting: sightings.Sighting) -> str:
    found = moment(sighting)
    return '' if found is None else found.isoformat(timespec='milliseconds')


def _bounded(text: str) -> str:
    return printing.printable(text, printing.LONGEST_NAME)


def _value(value: object) -> str:
    """A value in which no other key can seem to be.

    It stands in quotes as JSON has them, and without an equals sign, unless
    it needs none.
    """
    text = printing.printable(value, printing.LONGEST_NAME)
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text).replace('=', r'\u003d')
