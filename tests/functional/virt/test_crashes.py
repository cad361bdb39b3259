# SPDX-License-Identifier: Apache-2.0
"""Whatever step a process dies at, the promise holds.

Each operation runs once to see its steps: calls to the store, to Nova, to
libvirt and to files. Then, for each of them, it runs again and dies there.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

from testtools import content

from tests.fakes import processes as fake_processes
from tests.fakes import steps as fake_steps
from tests.functional.virt import case
from tests.functional.virt import operations

KILLED = ('spawn', 'delete', 'cold migration')


class _Base(case.CrashTestCase):
    def _record(
        self, operation: operations.Operation, world: Any
    ) -> list[str]:
        """The steps of an operation that nothing interrupts."""
        self.prepare(operation, world)
        steps = fake_steps.Countdown(watch=self.judge)
        script = self.open(steps)
        getattr(script, operation.run)()
        self.close()
        self.recover(operation)
        return steps.names

    def die_everywhere(
        self, operation: operations.Operation, is_shared: bool
    ) -> None:
        self.is_shared = is_shared
        world = self.make_world()
        names = self._record(operation, world)
        self.assertGreater(len(names), 0)
        results = []
        for number, step in enumerate(names):
            world.rewind()
            self.interrupt(operation, number)
            try:
                self.recover(operation)
            except (AssertionError, *fake_processes.FAILURES) as error:
                results.append((step, f'{type(error).__name__}: {error}'))
            else:
                results.append((step, 'holds'))
        self._report(operation, results)

    def _report(
        self, operation: operations.Operation, results: list[tuple[str, str]]
    ) -> None:
        storage = 'shared' if self.is_shared else 'local'
        table = ''.join(
            f'{operation.name} | {storage} | {self.how} | {number} | {step} '
            f'| {result}\n'
            for number, (step, result) in enumerate(results)
        )
        self.addDetail(
            f'{operation.name}, {storage}', content.text_content(table)
        )
        path = os.environ.get('SVIRT_NOVA_REPORT')
        if path:
            with open(path, 'a', encoding='utf-8') as file:
                file.write(table)
        self.assertEqual([], [r for r in results if r[1] != 'holds'])


class CrashTest(_Base):
    """An exception that nothing may catch ends the process."""

    how = 'exception'
    interrupt = case.CrashTestCase.raise_at


class KillTest(_Base):
    """A process of its own is killed, beside a store in a file."""

    how = 'SIGKILL'
    interrupt = case.CrashTestCase.kill_at
    make_world = case.CrashTestCase.make_world_on_disk


def _add(
    test_case: type, operation: operations.Operation, is_shared: bool
) -> None:
    def test(self: Any) -> None:
        self.die_everywhere(operation, is_shared)

    storage = 'shared' if is_shared else 'local'
    name = f'test_{operation.name} on {storage} storage'
    setattr(test_case, name.replace(' ', '_'), test)


for _operation, _is_shared in itertools.product(
    operations.OPERATIONS, (False, True)
):
    _add(CrashTest, _operation, _is_shared)
    if _operation.name in KILLED:
        _add(KillTest, _operation, _is_shared)
