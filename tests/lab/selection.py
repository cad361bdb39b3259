# SPDX-License-Identifier: Apache-2.0
"""Which tests of tempest run where, and why others do not."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.progress import LabError

_HERE = Path(__file__).resolve().parent
#: What the project's own tests begin with.
PLUGIN = 'svirt_nova.tempest.'
#: Tests that make a driver do things: each of them is in a list, or left
#: out for a reason.
SCOPE = re.compile(
    r'tempest\.api\.('
    r'compute\.(servers|volumes|images)\.'
    r'|compute\.admin\.test_(assisted_volume_snapshots|create_server'
    r'|delete_server|live_migration|live_migration_negative|migrations'
    r'|server_diagnostics|servers|servers_on_multinodes|volume|volume_swap'
    r'|volumes_negative)\.'
    r'|volume\.test_volumes_(actions|extend|snapshots)\.'
    r'|volume\.admin\.test_(volumes_actions|volume_retype'
    r'|encrypted_volumes_extend)\.'
    r')'
)


@dataclass(frozen=True)
class Selection:
    """The lists in the tree.

    :ivar lists: names of tests, by place
    :ivar left_out: why tests are in none, by a pattern of their names
    """

    lists: Mapping[str, Sequence[str]]
    left_out: Mapping[str, str]

    def faults(self, known: Collection[str]) -> list[str]:
        """Say where the lists and the tests that there are disagree.

        :param known: the names of all tests that tempest finds
        """
        listed = [name for names in self.lists.values() for name in names]
        faults = [
            f'{name}: tempest has no such test'
            for name in listed
            if name not in known
        ]
        patterns = {text: re.compile(text) for text in self.left_out}
        faults += [
            f'{text}: leaves nothing out'
            for text, pattern in patterns.items()
            if not any(pattern.search(name) for name in known)
        ]
        faults += [
            f'{name}: neither in a list nor left out for a reason'
            for name in sorted(set(known) - set(listed))
            if SCOPE.match(name)
            and not any(each.search(name) for each in patterns.values())
        ]
        return faults

    def contradictions(self) -> list[str]:
        """Name the tests that are both in a list and left out."""
        return sorted(
            {
                name
                for names in self.lists.values()
                for name in names
                if any(re.search(text, name) for text in self.left_out)
            }
        )


def read(places: Sequence[str]) -> Selection:
    """Read the lists of the tree."""
    lists = {
        place: list(entries(_text(f'tempest-{place}.list')))
        for place in places
    }
    return Selection(lists, entries(_text('tempest-left-out.list')))


def entries(text: str) -> dict[str, str]:
    """Parse a list: one entry a line, a comment after #.

    A comment on lines of its own is that of the entries below, up to the
    next such comment.

    :returns: the comment of each entry
    """
    found: dict[str, str] = {}
    heading = ''
    in_heading = False
    for line in text.splitlines():
        entry, _, comment = (part.strip() for part in line.partition('#'))
        if entry:
            found[entry] = comment or heading
        elif comment:
            heading = f'{heading} {comment}' if in_heading else comment
        in_heading = not entry and bool(comment)
    return found


def checked(
    place: str, places: Sequence[str], known: Collection[str]
) -> list[str]:
    """Give the tests of a place.

    :raises LabError: the lists do not fit the tests that tempest has
    """
    selection = read(places)
    faults = selection.faults(known)
    if faults:
        raise LabError('\n  '.join(['the lists of tests:', *faults]))
    return list(selection.lists[place])


def own(prefix: str, known: Collection[str]) -> list[str]:
    """Give the project's own tests whose names begin with a prefix.

    :raises LabError: there are none
    """
    found = sorted(name for name in known if name.startswith(prefix))
    if not found:
        raise LabError(f'tempest finds no test below {prefix}')
    return found


def _text(name: str) -> str:
    return (_HERE / name).read_text()
