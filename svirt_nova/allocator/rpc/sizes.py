# SPDX-License-Identifier: Apache-2.0
"""How large messages may be.

A bus refuses a message that is too large, and closes the channel of who sends
it. What a call asks for must therefore be bounded here, and what it answers.
This module does no I/O.
"""

from __future__ import annotations

import json
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import types

PAGE = 5000
"""The most allocations that the client asks for in one call.

So many make an answer of about a megabyte. Where they make more than a bus
takes, the client asks for fewer.
"""

LARGEST_ANSWER = 8_000_000
"""The most bytes of an answer, as JSON.

oslo.messaging writes the JSON of an answer as a text into that of a message,
which makes it twice as long at most, and RabbitMQ takes 16 MiB by default
(``max_message_size``; 128 MiB before its version 4.0).
"""

MOST_ENTRIES = 50_000
"""The most entries of an answer; more are never as small as an answer."""

MOST_COUNTED = 1000
"""The most projects, and hosts, that the client asks to be counted.

It does so where all of them are too many for an answer.
"""

LONGEST_TEXT = 10_000
"""The most characters of a text in a message: a level of all categories has
about half of them."""

MOST_TEXTS = 50_000
"""The most texts of a list in a message, such as the hosts of a cloud."""


def check_entries(name: str, result: Any) -> None:
    """Check a result before it is written.

    :param name: of the call
    :raises AnswerTooLarge: it has too many entries
    """
    number = 0
    if isinstance(result, list):
        number = len(result)
    elif isinstance(result, types.Usage):
        number = len(result.by_project) + len(result.by_host)
    if number > MOST_ENTRIES:
        raise _too_large(name, f'more than {MOST_ENTRIES} entries')


def check_answer(name: str, message: Any) -> None:
    """Check a result as it is written.

    :param name: of the call
    :raises AnswerTooLarge: it has too many bytes
    """
    # Without spaces, as oslo.serialization writes it, it would be shorter.
    size = len(json.dumps(message))
    if size > LARGEST_ANSWER:
        raise _too_large(name, f'{size} bytes')


def _too_large(name: str, size: str) -> exception.AnswerTooLarge:
    return exception.AnswerTooLarge(
        f'the answer to the call {name} would have {size}, which is too much '
        f'for a message: ask for parts of it, as clients of this release do, '
        f'or ask the database (svirt-nova with [svirt] allocator = sql)'
    )
