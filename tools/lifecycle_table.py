# SPDX-License-Identifier: Apache-2.0
"""The lifecycle table of the contributors' guide."""

from __future__ import annotations

from svirt_nova.lifecycle import table

_HEAD = """\
.. Made by "tox -e genconfig": change svirt_nova/lifecycle/table.py instead.

.. list-table::
   :header-rows: 1
   :widths: 34 26 24 8 8

   * - Nova does
     - call
     - instance at the call
     - claim
     - files
"""


def state_of(row: table.Row) -> str:
    """The state of the instance at a call, in one line."""
    instance = row.instance
    parts = [str(instance.vm_state)]
    if instance.task_state is not None:
        parts.append(instance.task_state)
    parts.append(f'host: {instance.host or "none"}')
    if instance.deleted:
        parts.append('record deleted')
    return ', '.join(parts)


def render() -> str:
    """The table as reStructuredText."""
    lines = [_HEAD]
    for row in table.ROWS:
        call = row.call if row.call.startswith('(') else f'``{row.call}``'
        lines.append(
            f'   * - {row.operation}\n'
            f'     - {call}\n'
            f'     - {state_of(row)}\n'
            f'     - {row.claim}\n'
            f'     - {row.files}\n'
        )
    return ''.join(lines)
