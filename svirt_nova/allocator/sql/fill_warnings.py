# SPDX-License-Identifier: Apache-2.0
"""Warns when the level space, or a project's part of it, fills up."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from svirt_nova import logs
from svirt_nova.mcs import spaces

LOG = logs.get_logger(__name__)

_HYSTERESIS = 5
"""Per cent below a threshold at which its warning is armed again."""


class FillWarnings:
    """Warns once each time that a fill passes a threshold.

    :param thresholds: fills in per cent, as in ``[svirt] fill_marks``
    """

    def __init__(self, thresholds: Sequence[int]) -> None:
        self._thresholds = sorted(thresholds)
        self._lock = threading.Lock()
        self._space: spaces.LevelSpace | None = None
        # The highest threshold that was warned of. What candidates suggest
        # and what the store has counted may differ by much, and one must
        # not arm the other's warnings again.
        self._warned: dict[tuple[str | None, bool], int] = {}

    def check(
        self,
        space: spaces.LevelSpace,
        fill: float,
        project: str | None = None,
        *,
        is_counted: bool = False,
    ) -> None:
        """Log a warning if a fill has passed a threshold.

        :param fill: the share of levels that are not free, from 0 to 1
        :param project: the project whose levels these are, in the scheme
            ``project``; None for the whole space
        :param is_counted: whether the store has counted the levels, rather
            than candidates suggesting it
        """
        with self._lock:
            if space != self._space:
                # Warnings about another space do not count.
                self._space = space
                self._warned.clear()
            passed = self._newly_passed((project, is_counted), 100 * fill)
        if passed is None:
            return
        LOG.warning(
            'The level space "%s" is %d %% full%s: %d levels in all. See '
            '"svirt-nova label usage"; at 100 %% new instances are refused',
            space,
            passed,
            '' if project is None else f' for project {project}',
            space.size if project is None else space.per_owner,
        )

    def _newly_passed(
        self, what: tuple[str | None, bool], per_cent: float
    ) -> int | None:
        passed = [each for each in self._thresholds if per_cent >= each]
        highest = passed[-1] if passed else -1
        warned = self._warned.get(what, -1)
        if highest > warned or per_cent < warned - _HYSTERESIS:
            self._warned[what] = highest
        return highest if highest > warned else None
