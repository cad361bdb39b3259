# SPDX-License-Identifier: Apache-2.0
"""Lines that show a label: of ``ls -Z`` and ``ps -Z``, and labels alone.

This module does no I/O.
"""

from __future__ import annotations

import re

from svirt_nova import exception
from svirt_nova.denials import sightings

_FIELD = re.compile(r'(?:scontext|tcontext|subj|obj|label)=(?=\S+$)')
_RANGE = re.compile(r'(?:s\d|c\d)[sc\d:.,-]*', re.ASCII)
_CONTEXT = re.compile(r'[A-Za-z][\w.-]*:[\w.-]+:[\w.-]+:s\d\S*', re.ASCII)
_ANY_CONTEXT = re.compile(
    r'[A-Za-z][\w.-]{0,60}:[\w.-]{1,60}:[\w.-]{1,60}:s\d', re.ASCII
)
_MODE = re.compile(r'[-bcdlpsDM][-rwxsStT]{9}[.+@]?', re.ASCII)
_INODE = re.compile(r'\d{1,20}', re.ASCII)
_SCANNED = 4_096
"""How far names are looked through: the longest path."""


def read(text: str) -> sightings.Sighting | None:
    """Read a line of ``ls -Z`` or ``ps -Z``, a context, or a range.

    :returns: None for every other line
    """
    line = text.strip(' \t\r\n\0')
    if len(line) > sightings.LONGEST_LINE:
        return None
    line = line[match.end() :] if (match := _FIELD.match(line)) else line
    if _RANGE.fullmatch(line):
        try:
            return sightings.Sighting(target=sightings.read_range(line))
        except (exception.InvalidLevel, exception.InvalidContext) as error:
            return sightings.Sighting(doubt=str(error))
    words = line.split()
    place = _place(words)
    if place is None:
        return None
    rest = words[place + 1 :]
    try:
        label = sightings.read_context(words[place])
    except exception.InvalidContext as error:
        return sightings.Sighting(doubt=str(error))
    if len(line) > _SCANNED + len(words[place]) or _ANY_CONTEXT.search(
        ' '.join(rest)
    ):
        return sightings.Sighting(
            doubt='it has more than one context: a name may have been made '
            'to look like one. "ls -1Z" and "ps -Z" show one in each line'
        )
    if rest == ['(enforcing)'] or rest == ['(permissive)']:
        # What virsh dominfo adds.
        rest = []
    if words[place].split(':')[1] == 'object_r':
        # In the long form, a size and a time come before the name.
        return sightings.Sighting(
            target=label,
            access=sightings.Access(path=' '.join(rest)) if rest else None,
        )
    pid = next((word for word in rest[:2] if word.isdecimal()), '')
    return sightings.Sighting(
        source=label,
        access=(
            sightings.Access(process=' '.join(rest), pid=pid) if rest else None
        ),
    )


def read_label(text: str) -> sightings.Label:
    """Read the one label of a text: what :func:`read` takes.

    :raises InvalidLevel: the text has none, or more than one
    """
    found = read(text)
    label = found and (found.source or found.target)
    if found is not None and label and not found.doubt:
        return label
    if found is not None:
        raise exception.InvalidLevel(found.doubt)
    if 'avc:' in text[: sightings.LONGEST_LINE]:
        raise exception.InvalidLevel(
            'a line of the audit log has two levels and a time: give it to '
            '"svirt-nova avc"'
        )
    raise exception.InvalidLevel(
        f'{text!r} is neither the UUID of an instance nor a level such as '
        f's0:c12,c900 nor a context'
    )


def _place(words: list[str]) -> int | None:
    """Which word is the context: names come after it only."""
    if not words:
        return None
    # ls -i writes the number of an inode before all else.
    first = 1 if _INODE.fullmatch(words[0]) else 0
    allowed = [first]
    if first < len(words) and _MODE.fullmatch(words[first]):
        # ls -lZ writes a mode, a number of links, an owner and a group
        # before; old releases wrote no number.
        allowed = [first + 3, first + 4]
    for place in allowed:
        if place < len(words) and _CONTEXT.fullmatch(words[place]):
            return place
        if words[place : place + 1] == ['?']:
            # There is no label, and the name of the file comes next.
            return None
    return None
