# SPDX-License-Identifier: Apache-2.0
"""The same tests with two drivers, compared (pure)."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from tests.lab.progress import table

PASSED = 'passed'
FAILED = 'failed'
SKIPPED = 'skipped'

_FIXTURE = re.compile(r'(?:setUp|tearDown)Class \((?P<name>[\w.]+)\)')


@dataclass(frozen=True)
class Outcome:
    """How a test ended.

    :ivar status: PASSED, FAILED or SKIPPED
    :ivar detail: the last line of the error, or why it was skipped
    """

    status: str
    seconds: float = 0.0
    detail: str = ''


@dataclass(frozen=True)
class Comparison:
    """What a list of tests came to with Nova's driver and with ours.

    :ivar names: the tests of the list, in its order
    :ivar nova: outcomes with Nova's own driver, by name
    :ivar ours: outcomes with the project's driver, by name
    :ivar only_ours: tests that make sense with the project's driver alone
    """

    names: Sequence[str]
    nova: Mapping[str, Outcome]
    ours: Mapping[str, Outcome]
    only_ours: Sequence[str] = ()

    def pairs(self) -> dict[str, tuple[Outcome | None, Outcome]]:
        """Give both outcomes of each test, and of each fixture that failed.

        A test that no run speaks of has failed, or was skipped, as the
        fixture of its class was.
        """
        fixtures = [
            name
            for name in {**self.nova, **self.ours}
            if _FIXTURE.fullmatch(name)
            and FAILED
            in (_found(name, self.nova).status, _found(name, self.ours).status)
        ]
        found: dict[str, tuple[Outcome | None, Outcome]] = {
            name: (_found(name, self.nova), _found(name, self.ours))
            for name in self.names
        }
        # What made all tests of a class fail is told by these.
        for name in fixtures:
            if name.startswith('tearDown'):
                found[name] = (
                    _found(name, self.nova),
                    _found(name, self.ours),
                )
        found.update(
            (name, (None, _found(name, self.ours))) for name in self.only_ours
        )
        return found

    def regressions(self) -> list[str]:
        """Name what passes with Nova's driver and not with ours."""
        return [
            name
            for name, (nova, ours) in self.pairs().items()
            if nova is not None
            and nova.status == PASSED
            and ours.status != PASSED
        ]

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the tests of the list by outcome, for each driver."""
        pairs = self.pairs()
        counted: dict[str, dict[str, int]] = {}
        for driver, outcomes in (
            ('nova', [pairs[name][0] for name in self.names]),
            ('ours', [pairs[name][1] for name in self.names]),
            ('plugin', [pairs[name][1] for name in self.only_ours]),
        ):
            number = collections.Counter(
                each.status for each in outcomes if each is not None
            )
            counted[driver] = {
                status: number[status] for status in (PASSED, FAILED, SKIPPED)
            }
        return counted

    def faults(
        self, minimum: int, skippable: Set[str] = frozenset()
    ) -> list[str]:
        """Say what keeps the comparison from being a success.

        What Nova's driver fails at has to pass with ours all the same: that
        may be what the project is for.

        :param minimum: how many tests of the list must pass with each
        :param skippable: the project's own tests that may be skipped, by the
            names of their methods
        """
        counts = self.counts()
        pairs = self.pairs()
        regressions = self.regressions()
        faults = [
            f'passes with the driver of Nova alone: {short(name)}'
            for name in regressions
        ]
        faults += [
            f'passes with neither driver: {short(name)}'
            for name in self.names
            if name not in regressions and pairs[name][1].status != PASSED
        ]
        faults += [
            f'{title}: {counts[driver][PASSED]} tests passed, of at least '
            f'{minimum}'
            for driver, title in (
                ('nova', "Nova's own driver"),
                ('ours', "the project's driver"),
            )
            if counts[driver][PASSED] < minimum
        ]
        for name in self.only_ours:
            status = pairs[name][1].status
            if status == FAILED or (
                status == SKIPPED and name.rpartition('.')[2] not in skippable
            ):
                faults.append(
                    f"the project's own test {status}: {short(name)}"
                )
        return faults

    def table(self) -> str:
        """Lay out one row for each test, the totals, and why some failed."""
        pairs = self.pairs()
        worse = set(self.regressions())
        lines = [
            table(
                ['test', "Nova's driver", 's', 'ours', 's', ''],
                [
                    [
                        short(name),
                        '-' if nova is None else nova.status,
                        '' if nova is None else f'{nova.seconds:.0f}',
                        ours.status,
                        f'{ours.seconds:.0f}',
                        'REGRESSION' if name in worse else '',
                    ]
                    for name, (nova, ours) in pairs.items()
                ],
            )
        ]
        notes = [
            f'{short(name)}\n  {who}: {outcome.status}: {outcome.detail}'
            for name, pair in pairs.items()
            for who, outcome in zip(
                ("Nova's driver", 'ours'), pair, strict=True
            )
            if outcome is not None and outcome.status != PASSED
        ]
        if notes:
            lines += ['', *notes]
        counts = self.counts()
        lines += [
            '',
            table(
                ['', PASSED, FAILED, SKIPPED],
                [
                    [title, *(str(n) for n in counts[driver].values())]
                    for driver, title in (
                        ('nova', "Nova's driver"),
                        ('ours', 'ours'),
                        ('plugin', "the project's own tests"),
                    )
                    if driver != 'plugin' or self.only_ours
                ],
            ),
            f'regressions: {len(worse)}',
        ]
        return '\n'.join(lines)

    def figures(self) -> dict[str, Any]:
        """Give all of it as JSON may have it."""
        return {
            'tests': [
                {
                    'name': name,
                    'nova': None if nova is None else vars(nova),
                    'ours': vars(ours),
                }
                for name, (nova, ours) in self.pairs().items()
            ],
            'totals': self.counts(),
            'regressions': self.regressions(),
        }


def _found(name: str, outcomes: Mapping[str, Outcome]) -> Outcome:
    if name in outcomes:
        return outcomes[name]
    fixture = _FIXTURE.fullmatch(name)
    if fixture:
        # Where a fixture succeeds, nothing is said of it.
        return Outcome(PASSED)
    class_name = name.rpartition('.')[0]
    return outcomes.get(
        f'setUpClass ({class_name})', Outcome(FAILED, detail='did not run')
    )


def short(name: str) -> str:
    """Leave out what the names of tempest's tests have in common.

    The area, the class and the method name a test.
    """
    words = name.removeprefix('tempest.api.').split('.')
    if _FIXTURE.fullmatch(name) or len(words) < 4:
        return name
    return '.'.join([*words[:-3], *words[-2:]])


def without_attributes(identity: str) -> str:
    """Leave out the attributes that a test's id ends with.

    They are written in brackets: ``[id-…,smoke]``.
    """
    return identity.partition('[')[0]


def last_line(text: str) -> str:
    """Give the last line of a traceback that says something.

    Tempest's errors end with details, of which there may be none.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line not in ('', 'Details:')]
    return lines[-1][:300] if lines else ''
