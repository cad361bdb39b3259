# SPDX-License-Identifier: Apache-2.0
"""The invented clouds and the lines of the directory ``corpus``.

Each file has lines in one form. What is expected of them stands before them::

    # expect: <verdict>: <instance> of <project> -> <instance> of <project>
    type=AVC msg=audit(...): avc:  denied ...

A dash is nobody. The verdict ``label`` is that of a line which only shows a
label, and ``nothing`` is expected of lines that the command passes over. The
lines up to the next expectation are one case; it has more than one answer if
there are several expectations before it.

The comments at the beginning of a file say what the lines are, and may have
options: ``zone`` and ``at`` are those of the command, ``cloud`` is one of
``clouds.yaml``, and ``each: alone`` lets each case be an input of its own.
"""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import re
import uuid
from typing import Any

import sqlalchemy as sa
import yaml

from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests import quick_store

DIRECTORY = pathlib.Path(__file__).with_name('corpus')
CLOUDS = yaml.safe_load((DIRECTORY / 'clouds.yaml').read_text())
NOW = CLOUDS['now'].replace(tzinfo=datetime.UTC)

_EXPECTED = re.compile(
    r'# expect: ([a-z-]+)(?:: (\S+)(?: of (\S+))? -> (\S+)(?: of (\S+))?)?'
)
_OPTION = re.compile(r'# (zone|at|cloud|each): (.*)')

Answer = tuple[str, str, str]
"""A verdict, and who the source and the target are: ``<instance> of
<project>``, or a dash."""


def uuid_of(name: str) -> str:
    """The UUID of an instance of these clouds."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}.example'))


def project_of(name: str) -> str:
    """The project of an instance: the first word of its name."""
    return name.partition('-')[0]


def instances() -> dict[str, str]:
    """The names of all instances, by their UUIDs."""
    return {
        uuid_of(each['instance']): each['instance']
        for cloud in CLOUDS['clouds'].values()
        for held in cloud['levels'].values()
        for each in held
        if 'instance' in each
    }


@dataclasses.dataclass(frozen=True)
class Case:
    """Lines, and the answers that are expected of them.

    :param number: of the first line in the file
    """

    number: int
    expected: tuple[Answer, ...]
    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Form:
    """A file with lines in one form."""

    path: pathlib.Path
    options: dict[str, str]
    cases: tuple[Case, ...]

    @property
    def is_apart(self) -> bool:
        """Whether each case is an input of its own."""
        return 'each' in self.options

    @property
    def arguments(self) -> list[str]:
        """Those of the command."""
        found = ['--timezone', self.options.get('zone', 'UTC')]
        if at := self.options.get('at'):
            found += ['--at', at]
        return found

    @property
    def cloud(self) -> str:
        """The name of the cloud that the lines are of."""
        return self.options.get('cloud', 'by-instance')


def _answers(match: re.Match[str]) -> list[Answer]:
    if match[1] == 'nothing':
        return []
    sides = []
    for name, project in (match.group(2, 3), match.group(4, 5)):
        if name != '-' and project != project_of(name):
            raise ValueError(f'{name} is not of the project {project}')
        sides.append(name if project is None else f'{name} of {project}')
    return [(match[1], sides[0], sides[1])]


def read(path: pathlib.Path) -> Form:
    """Read a file of lines.

    :raises ValueError: a line has no expectation, or one that is none
    """
    options: dict[str, str] = {}
    cases: list[tuple[int, list[Answer], list[str]]] = []
    # A line feed alone ends a line.
    text = path.read_bytes().decode()
    for number, line in enumerate(text.removesuffix('\n').split('\n'), 1):
        if expected := _EXPECTED.fullmatch(line):
            answers = _answers(expected)
            if cases and not cases[-1][2]:
                answers = cases.pop()[1] + answers
            cases.append((number + 1, answers, []))
        elif line.startswith('# expect'):
            raise ValueError(f'{path.name}:{number}: {line}')
        elif cases:
            cases[-1][2].append(line)
        elif option := _OPTION.fullmatch(line):
            options[option[1]] = option[2]
        elif line and not line.startswith('# '):
            raise ValueError(f'{path.name}:{number}: nothing is expected')
    return Form(
        path,
        options,
        tuple(
            Case(number, tuple(answers), tuple(lines))
            for number, answers, lines in cases
        ),
    )


def forms() -> list[Form]:
    """All files of lines."""
    return [read(path) for path in sorted(DIRECTORY.glob('*.txt'))]


def space(name: str) -> spaces.LevelSpace:
    """The level space of a cloud."""
    return spaces.LevelSpace.parse(**CLOUDS['clouds'][name]['space'])


def fill(store: quick_store.QuickStore, name: str) -> None:
    """Write what has happened in a cloud to a new store of its space.

    No call of an allocator makes what is in the past.
    """
    cloud = CLOUDS['clouds'][name]
    engine = sa.create_engine(store.url)
    with engine.begin() as connection:
        parts = {
            project: levels.Level.parse(f's0:{part}')
            for project, part in cloud.get('parts', {}).items()
        }
        for project, part in parts.items():
            connection.execute(
                schema.project.insert().values(
                    project_id=project,
                    level_rank=part,
                    created_at=_time(datetime.date(2026, 1, 1)),
                )
            )
        for text, held in cloud['levels'].items():
            for each in held:
                connection.execute(_row(text, each, parts))
    engine.dispose()


def _row(
    text: str, each: dict[str, Any], parts: dict[str, levels.Level]
) -> sa.Insert:
    level = levels.Level.parse(f's0:{text}')
    if note := each.get('reserved'):
        return schema.allocation.insert().values(
            level_rank=level,
            is_outside=False,
            created_at=_time(datetime.date(2026, 1, 1)),
            note=note,
        )
    name = each['instance']
    common = {
        'level_rank': level,
        'instance_uuid': uuid_of(name),
        'project_id': project_of(name),
        'created_at': _time(each['since']),
    }
    if until := each.get('until'):
        return schema.history.insert().values(
            **common, retired_at=_time(until)
        )
    cooling = each.get('cooling')
    return schema.allocation.insert().values(
        **common,
        project_rank=parts.get(project_of(name)),
        host=None if cooling else 'compute1',
        is_outside=each.get('outside', False),
        retired_at=cooling and _time(cooling),
        note='',
    )


def moment(value: datetime.date) -> datetime.datetime:
    """A time of ``clouds.yaml``, in UTC."""
    return _time(value).replace(tzinfo=datetime.UTC)


def _time(value: datetime.date) -> datetime.datetime:
    """A time as the database has it; the beginning of a day."""
    if isinstance(value, datetime.datetime):
        return value
    return datetime.datetime.combine(value, datetime.time())
