# SPDX-License-Identifier: Apache-2.0
"""How texts from outside are shown to people.

A text that a caller, a guest, a tenant or another program wrote may hold line
ends, which forge lines of a log or rows of a table, codes that a terminal
obeys, and letters that nobody sees; and it may be of any length. This module
does no I/O.
"""

from __future__ import annotations

import re

LONGEST = 10_000
"""The most characters of a text that are shown."""

LONGEST_NAME = 300
"""The most characters of a name that are shown: all of a valid one."""

_PLAIN = re.compile(r'[\w.:@-]+', re.ASCII)


def printable(text: object, longest: int = LONGEST) -> str:
    """A text in which every character can be seen, on one line.

    Characters that cannot be printed are shown as Python escapes them, and
    the middle of a long text is left out. What can be shown as it is stays
    the same, so that a text can be made printable twice.

    :param longest: the most characters that are shown, 100 or more
    """
    found = _cut(str(text), longest)
    if found.isprintable():
        return found
    return _cut(''.join(map(_escape, found)), longest)


def quote(value: object, longest: int = LONGEST_NAME) -> str:
    """A value as Python writes it, a text in quotes, of bounded length."""
    return printable(repr(value), longest)


def name(text: object) -> str:
    """A name that nobody takes for another one that looks alike.

    Names of letters, digits and a few signs are shown as they are, and others
    in quotes, with an escape for each character that is not ASCII.
    """
    found = str(text)
    if len(found) <= LONGEST_NAME and _PLAIN.fullmatch(found):
        return found
    return ascii(_cut(found, LONGEST_NAME))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode('unicode_escape').decode()


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    # The end may say what to do.
    end = longest // 4
    # The note has room in the last quarter of what is left for the beginning.
    note = f' [{len(text)} characters, the middle is left out] '
    return text[: longest - end - len(note)] + note + text[-end:]
