# SPDX-License-Identifier: Apache-2.0
"""What the tests of the contract have in common."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing
import uuid
from typing import Any
from unittest import mock

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

if typing.TYPE_CHECKING:
    from testtools import TestCase
else:
    # Only the tests of a driver are found and run, not the contract itself.
    TestCase = object

SPACE = spaces.LevelSpace.parse('c0.c9')
"""The level space of a store when a test begins: 45 levels."""

PROJECT_SPACE = spaces.LevelSpace.parse('c14.c17', 2, '', 'c10.c13')
"""One of the scheme ``project``: 6 projects with 6 levels each."""


def new_uuid() -> str:
    """The UUID of an instance that nobody knows yet."""
    return str(uuid.uuid4())


class ContractCase(TestCase):
    """Makes the allocators that the tests ask.

    :ivar allocator: one whose levels cool for an hour
    :ivar warm: one on the same store whose levels do not cool
    :ivar uuid: a new instance
    """

    allocator: base.Allocator
    warm: base.Allocator
    uuid: str

    def make(self, cooling_time: int, **options: Any) -> base.Allocator:
        """Make another allocator on the store of this test.

        :param cooling_time: seconds, as ``[svirt] cooling_time``
        :param options: others of ``[svirt]``
        """
        raise NotImplementedError

    def wait_a_tick(self) -> None:
        """Wait until the store's clock has another time."""
        time.sleep(0.01)

    def setUp(self) -> None:
        """Make two allocators that differ in their cooling time."""
        super().setUp()
        self.allocator = self.make(3600)
        self.warm = self.make(0)
        self.uuid = new_uuid()

    def fill(
        self, number: int, project: str = 'p', host: str = 'a'
    ) -> list[types.Allocation]:
        """Give levels to so many new instances."""
        return [
            self.allocator.acquire(new_uuid(), project, host)
            for _ in range(number)
        ]

    def refuse_new(self, project: str = 'p') -> str:
        """Check that a project gets no further level; what is said."""
        return str(
            self.assertRaises(exception.SpaceFull, self.fill, 1, project)
        )

    def later(self) -> contextlib.AbstractContextManager[object]:
        """Let a distrust have lasted for as long as it must."""
        return mock.patch.object(types, 'LEAST_DISTRUST', datetime.timedelta())

    def free_level(self) -> levels.Level:
        """Some level of the space that is free."""
        taken = {found.level for found in self.allocator.list()}
        return next(
            level for level in self.allocator.space() if level not in taken
        )
