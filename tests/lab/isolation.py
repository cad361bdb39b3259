# SPDX-License-Identifier: Apache-2.0
"""What was seen on a host, as categories; and what it must be.

Pure: takes what ``probe.py``, the operator's command and the audit log
said. Reads levels by itself, so that it does not repeat a mistake of
svirt_nova's own parser. Whether levels are as they must be is judged by the
audit of svirt_nova; see ``views``.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from tests.lab.progress import table

OPENED = 'opened'
DENIED = 'denied'

#: What was refused to a guest: accesses, the target's type, its class.
Kind = tuple[tuple[str, ...], str, str]


def level_of(context: str) -> str:
    """Give the level of a context, the upper one of a range."""
    return context.split(':', 3)[3].split('-')[-1]


def type_of(context: str) -> str:
    """Give the type of a context."""
    return context.split(':', 3)[2]


def brief(context: str) -> str:
    """Leave out a context's user and role, the same for all guests."""
    return (
        context.removeprefix('system_u:')
        .removeprefix('system_r:')
        .removeprefix('object_r:')
    )


def categories(level: str) -> frozenset[int]:
    """Give the categories of a level such as s0:c1,c4.c7."""
    found: set[int] = set()
    for part in filter(None, level.partition(':')[2].split(',')):
        first, _, last = part.partition('.')
        found.update(range(int(first[1:]), int((last or first)[1:]) + 1))
    return frozenset(found)


def free_pair(taken: Iterable[frozenset[int]]) -> str:
    """Give a level with two categories that none of the sets has."""
    used = frozenset().union(*taken)
    one, two = [number for number in range(1024) if number not in used][:2]
    return f's0:c{one},c{two}'


def kind_of(denial: Mapping[str, Any]) -> Kind:
    """Give what a denial of ``probe.py denials`` is of, but for levels."""
    return (
        tuple(denial['access']),
        type_of(denial['target']),
        denial['kind'],
    )


@dataclass(frozen=True)
class Confined:
    """One instance: its level in the store, on its process, on its files.

    :ivar files: file names with their contexts
    """

    name: str
    uuid: str
    level: str
    process: str
    files: Mapping[str, str]

    @property
    def categories(self) -> frozenset[int]:
        """The categories of the allocator's level."""
        return categories(self.level)


def confined(
    names: Mapping[str, str],
    allocations: Iterable[Mapping[str, Any]],
    seen: Iterable[Mapping[str, Any]],
) -> list[Confined]:
    """Put together what the store, the host and the files say.

    :param names: instance names by UUID
    :param allocations: rows of ``svirt-nova label list``
    :param seen: the answer of ``probe.py look``
    """
    levels = {
        row['Instance']: row['Level']
        for row in allocations
        if row['State'] == 'held'
    }
    domains = {domain['uuid']: domain for domain in seen}
    return [
        Confined(
            name=name,
            uuid=uuid,
            level=levels.get(uuid, ''),
            process=domains[uuid]['process'] if uuid in domains else ':::',
            files={
                file['path'].rpartition('/')[2]: file['context']
                for file in domains[uuid]['files']
            }
            if uuid in domains
            else {},
        )
        for uuid, name in names.items()
    ]


def levels_table(
    instances: Sequence[Confined], violated: Set[str] = frozenset()
) -> str:
    """Draw what carries which level.

    :param violated: the UUIDs of instances that an audit found at fault
    """
    files = list(
        dict.fromkeys(short(name) for each in instances for name in each.files)
    )
    return table(
        ['instance', 'level (allocator)', 'QEMU process', *files, 'agree'],
        [
            [
                each.name,
                each.level,
                brief(each.process),
                *(
                    brief(
                        {
                            short(name): context
                            for name, context in each.files.items()
                        }.get(file, '-')
                    )
                    for file in files
                ),
                'NO' if each.uuid in violated else 'yes',
            ]
            for each in instances
        ],
    )


def short(path: str) -> str:
    """Name a file for a table: a volume without its UUID."""
    name = path.rpartition('/')[2]
    return 'volume' if name.startswith('volume-') else name


@dataclass(frozen=True)
class Attack:
    """The outcome of each guest's try at each guest's files.

    :ivar attempts: rows of ``probe.py attack``; where several hosts were
        attacked from, each with its ``host``
    :ivar names: instance names by UUID
    """

    attempts: Sequence[Mapping[str, Any]]
    names: Mapping[str, str]

    def on(self, host: str) -> Attack:
        """Give what was tried on one host."""
        rows = [row for row in self.attempts if row['host'] == host]
        return Attack(rows, self.names)

    def _by(self, row: Mapping[str, Any]) -> str:
        """Name the attacker, and its host where there are several."""
        name = self.names[row['attacker']]
        several = len({each.get('host') for each in self.attempts}) > 1
        return f'{name} on {row["host"]}' if several else name

    def _where(self, *, own: bool) -> list[Mapping[str, Any]]:
        return [
            row
            for row in self.attempts
            if (row['attacker'] == row['owner']) is own
        ]

    def counts(self) -> dict[str, int]:
        """Count attempts, opens and refusals: own and foreign."""
        return {
            f'{whose}_{what}': sum(
                1
                for row in self._where(own=whose == 'own')
                if what == 'attempts' or row['outcome'] == what
            )
            for whose in ('own', 'foreign')
            for what in ('attempts', OPENED, DENIED)
        }

    def errors(self) -> list[str]:
        """Say which attempts failed for a reason that is not a refusal."""
        return [
            f'{self._by(row)} on {row["path"]}: {row["outcome"]}'
            for row in self.attempts
            if row['outcome'] not in (OPENED, DENIED)
        ]

    def faults(self) -> list[str]:
        """Say what is not as it must be: own opened, foreign denied."""
        wrong = [
            f'{self._by(row)} opened {row["path"]} of '
            f'{self.names[row["owner"]]}'
            for row in self._where(own=False)
            if row['outcome'] == OPENED
        ]
        wrong += [
            f'{self._by(row)} could not open its own {row["path"]}'
            for row in self._where(own=True)
            if row['outcome'] == DENIED
        ]
        if not self._where(own=True) or not self._where(own=False):
            wrong.append('the attack had nothing to try')
        return wrong + self.errors()

    def matrix(self) -> str:
        """Draw attackers against files."""
        columns = list(
            dict.fromkeys((row['owner'], row['path']) for row in self.attempts)
        )
        outcomes = {
            (self._by(row), row['path']): row['outcome']
            for row in self.attempts
        }
        return table(
            [
                'QEMU of \\ opens',
                *(
                    f'{self.names[owner]}/{short(path)}'
                    for owner, path in columns
                ),
            ],
            [
                [
                    attacker,
                    *(
                        outcomes[attacker, path].partition(':')[0]
                        for _, path in columns
                    ),
                ]
                for attacker in dict.fromkeys(map(self._by, self.attempts))
            ],
        )

    def usual(self, denials: Iterable[Mapping[str, Any]]) -> frozenset[Kind]:
        """Give the kinds of denials that have nothing to do with levels.

        Those that a guest has with any driver, since the policy does not
        know what its QEMU tries (rings of io_uring, the memory of the
        host); never what is about categories, or about an instance's file.
        """
        inodes = {row['inode'] for row in self.attempts}
        return frozenset(
            kind_of(row)
            for row in denials
            if type_of(row['source']).startswith('svirt_')
            and row['inode'] not in inodes
            and categories(level_of(row['target']))
            <= categories(level_of(row['source']))
        )

    def beside(
        self,
        denials: Iterable[Mapping[str, Any]],
        uuid: str,
        own: frozenset[int],
        usual: Set[Kind] = frozenset(),
    ) -> list[Mapping[str, Any]]:
        """Give an instance's denials that are no attempts of the attack.

        :param own: the instance's categories
        :param usual: kinds of denials to leave out
        """
        tried = {
            row['inode']
            for row in self.attempts
            if row['attacker'] == uuid and row['outcome'] == DENIED
        }
        found = []
        for row in denials:
            target = categories(level_of(row['target']))
            if (
                categories(level_of(row['source'])) == own
                and not (target <= own and kind_of(row) in usual)
                and not (target != own and row['inode'] in tried)
            ):
                found.append(row)
        return found

    def unproven(
        self,
        seen: Iterable[Mapping[str, Any]],
        denials: Iterable[Mapping[str, Any]],
    ) -> list[str]:
        """Say which refusals the kernel's audit log does not tell of.

        A denial counts when it was enforced and names the categories of
        both sides and the file's inode.
        """
        domains = {domain['uuid']: domain for domain in seen}
        contexts = {
            file['path']: file['context']
            for domain in domains.values()
            for file in domain['files']
        }
        told = {
            (
                categories(level_of(row['source'])),
                categories(level_of(row['target'])),
                row['inode'],
            )
            for row in denials
            if row['kind'] == 'file' and row['permissive'] == '0'
        }
        return [
            f'{self._by(row)} on {row["path"]}'
            for row in self.attempts
            if row['outcome'] == DENIED
            and (
                categories(level_of(domains[row['attacker']]['process'])),
                categories(level_of(contexts[row['path']])),
                row['inode'],
            )
            not in told
        ]
