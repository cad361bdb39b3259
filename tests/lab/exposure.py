# SPDX-License-Identifier: Apache-2.0
"""What guests' QEMU processes could open on a host, judged.

Pure: takes the answer of ``census.py``. What opens must be the instance's
own, its project's, or match a pattern of ``census-allowed.list``, which says
why the thing holds no tenant's data. All else is foreign.
"""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from tests.lab import isolation
from tests.lab import selection

OWN = 'own'
PROJECT = 'of the project'
ALLOWED = 'allowed by pattern'
FOREIGN = 'foreign'

# A program that runs is not opened for writing, but permission came first.
_OPENED = (0, errno.ETXTBSY)
_REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    # There is nobody, or nobody any more.
    errno.ENOENT,
    errno.ESRCH,
    errno.ECONNREFUSED,
    errno.ENXIO,
    errno.ENODEV,
    # Who listens says nothing, or hangs up.
    errno.ENOMSG,
    errno.ECONNRESET,
    errno.EPIPE,
)
#: What names an instance, a volume, an image in a path: a UUID, the name of
#: a domain of Nova's, the hash of an image's UUID.
_TOKEN = re.compile(
    r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
    r'|instance-[0-9a-f]{8}'
    r'|(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])'
)


@dataclass(frozen=True)
class Pattern:
    """Things that may open to every guest.

    :ivar ways: how they may be tried
    :ivar path: matches the whole path
    :ivar reason: why they hold no tenant's data
    """

    ways: frozenset[str]
    path: re.Pattern[str]
    reason: str

    def matches(self, path: str, way: str) -> bool:
        """Whether something is one of these things."""
        return way in self.ways and self.path.fullmatch(path) is not None


def patterns(text: str) -> list[Pattern]:
    """Parse a list: ways and a path on each line, the reason as comment.

    :raises ValueError: an entry has no reason
    """
    found = []
    for entry, reason in selection.entries(text).items():
        ways, path = entry.split(maxsplit=1)
        if not reason:
            raise ValueError(f'{entry}: the list does not say why')
        found.append(
            Pattern(frozenset(ways.split(',')), re.compile(path), reason)
        )
    return found


@dataclass(frozen=True)
class Opening:
    """Something that opened to a guest.

    :ivar guest: the UUID of its instance
    :ivar verdict: whose it is
    :ivar pattern: the pattern that allows it
    """

    guest: str
    way: str
    path: str
    context: str
    verdict: str
    pattern: Pattern | None = None


@dataclass(frozen=True)
class Exposure:
    """The census of one host.

    :ivar seen: the answer of ``census.py``
    :ivar names: instance names by UUID
    :ivar holders: who may have what a token in a path names, by token
    :ivar public: tokens of what everybody may read
    """

    seen: Mapping[str, Any]
    names: Mapping[str, str]
    holders: Mapping[str, frozenset[str]]
    allowed: Sequence[Pattern]
    public: frozenset[str] = field(default_factory=frozenset)

    @property
    def tried(self) -> int:
        """How many tries there were, of all guests."""
        return len(self.seen['tries']) * len(self.seen['guests'])

    def _outcomes(
        self,
    ) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], str, int]]:
        for guest in self.seen['guests']:
            for (number, way), outcome in zip(
                self.seen['tries'], guest['outcomes'], strict=True
            ):
                yield guest, self.seen['objects'][number], way, outcome

    def _holders(self, thing: Mapping[str, Any]) -> list[frozenset[str]]:
        """Give who may have a thing: an instance must be in all of these."""
        tokens = set(_TOKEN.findall(thing['path']))
        found = [self.holders[each] for each in tokens & self.holders.keys()]
        if thing.get('of'):
            found.append(frozenset([thing['of']]))
        return found

    def judge(
        self, guest: str, thing: Mapping[str, Any], way: str
    ) -> tuple[str, Pattern | None]:
        """Say whose a thing is, as an instance sees it."""
        holders = self._holders(thing)
        if holders and all(guest in each for each in holders):
            is_own = all(each == {guest} for each in holders)
            return (OWN if is_own else PROJECT), None
        path = thing['path']
        if not holders:
            for token in self.public.intersection(_TOKEN.findall(path)):
                if way == 'read':
                    return ALLOWED, Pattern(
                        frozenset([way]), re.compile(token), 'public image'
                    )
        for pattern in self.allowed:
            if pattern.matches(path, way):
                return ALLOWED, pattern
        return FOREIGN, None

    def openings(self) -> list[Opening]:
        """Give all that opened."""
        return [
            Opening(
                guest['uuid'],
                way,
                thing['path'],
                thing.get('context', ''),
                *self.judge(guest['uuid'], thing, way),
            )
            for guest, thing, way, outcome in self._outcomes()
            if outcome in _OPENED
        ]

    def counts(self) -> dict[str, int]:
        """Count tries, and what opened by whose it is."""
        found = Counter(each.verdict for each in self.openings())
        return {
            'tried': self.tried,
            **{
                verdict: found[verdict]
                for verdict in (OWN, PROJECT, ALLOWED, FOREIGN)
            },
        }

    def missing(self) -> list[str]:
        """Say what a guest must open for its domain to run, and could not."""
        numbers = {
            thing['path']: number
            for number, thing in enumerate(self.seen['objects'])
        }
        places = {
            tuple(each): place for place, each in enumerate(self.seen['tries'])
        }
        found = []
        for guest in self.seen['guests']:
            for file in guest['files']:
                for way in (
                    ('read', 'write') if file['writable'] else ('read',)
                ):
                    place = places.get((numbers.get(file['path']), way))
                    if place is None:
                        found.append(
                            f'{self._name(guest["uuid"])} has '
                            f'{file["path"]}, which nobody tried to {way}'
                        )
                    elif guest['outcomes'][place] not in _OPENED:
                        found.append(
                            f'{self._name(guest["uuid"])} could not {way} '
                            f'its own {file["path"]}: '
                            f'{_error(guest["outcomes"][place])}'
                        )
        return found

    def undecided(self) -> list[str]:
        """Say which tries neither opened a thing nor were refused."""
        return [
            f'{self._name(guest["uuid"])}: {way} {thing["path"]}: '
            f'{_error(outcome)}'
            for guest, thing, way, outcome in self._outcomes()
            if outcome not in (*_OPENED, *_REFUSED)
            and self.judge(guest['uuid'], thing, way)[0] not in (OWN, PROJECT)
        ]

    def stale(self) -> list[str]:
        """Name the patterns that nothing matched which opened."""
        used = {id(each.pattern) for each in self.openings()}
        return [
            f'{",".join(sorted(each.ways))} {each.path.pattern}'
            for each in self.allowed
            if id(each) not in used
        ]

    def foreign(self) -> list[str]:
        """Say what opened and must not."""
        return [
            f'{self._name(each.guest)} could {each.way} {each.path} '
            f'({each.context})'
            for each in self.openings()
            if each.verdict == FOREIGN
        ]

    def faults(self) -> list[str]:
        """Say what is not as it must be, but for refusals without a trace."""
        found = self.foreign() + self.missing() + self.undecided()
        if not self.seen['guests']:
            found.append('the census found no guest')
        if self.seen['root_asked']:
            found.append(
                'root asked libvirt, and was not answered: '
                f'{_error(self.seen["root_asked"])}'
            )
        return found

    def _name(self, guest: str) -> str:
        return self.names.get(guest, guest)

    # Refusals

    def refusals(self) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """Give guests, and files of others that only SELinux refused them.

        The user and the mode of these files, and of the directories above,
        would have let the guest in.
        """
        return [
            (guest, thing)
            for guest, thing, way, outcome in self._outcomes()
            if way == 'read'
            and outcome == errno.EACCES
            and thing['kind'] == 'file'
            and any(guest['uuid'] not in each for each in self._holders(thing))
            and all(
                _lets_in(guest, each, 4 if each is thing else 1)
                for each in self._above(thing)
            )
        ]

    def _above(self, thing: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Give a thing and the directories that lead to it."""
        yield thing
        while (parent := thing.get('parent')) is not None:
            thing = self.seen['objects'][parent]
            yield thing

    def unproven(self, denials: Iterable[Mapping[str, Any]]) -> list[str]:
        """Say which of these refusals the kernel's audit log does not have.

        A denial counts when it was enforced, and names the guest's
        categories and the file, or a directory above it.

        :param denials: of ``probe.py denials``
        """
        told = {
            (
                isolation.categories(isolation.level_of(row['source'])),
                row['inode'],
            )
            for row in denials
            if row['permissive'] == '0'
        }
        return [
            f'{self._name(guest["uuid"])} on {thing["path"]}'
            for guest, thing in self.refusals()
            if not any(
                (
                    isolation.categories(isolation.level_of(guest['process'])),
                    each['inode'],
                )
                in told
                for each in self._above(thing)
            )
        ]


def _lets_in(
    guest: Mapping[str, Any], thing: Mapping[str, Any], right: int
) -> bool:
    """Whether user and mode of a file let a guest's QEMU in."""
    if thing['uid'] == guest['uid']:
        return bool(thing['mode'] >> 6 & right)
    if thing['gid'] in guest['groups']:
        return bool(thing['mode'] >> 3 & right)
    return bool(thing['mode'] & right)


def _error(number: int) -> str:
    return errno.errorcode.get(number, f'error {number}')
