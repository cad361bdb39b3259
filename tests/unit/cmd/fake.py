# SPDX-License-Identifier: Apache-2.0
"""An allocator of a few fixed rows, and a way to run the program on it."""

import contextlib
import datetime
import io
from typing import Any
from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.cmd import manage
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

SPACE = spaces.LevelSpace.parse('c0.c99', 2, 'c5')
BORN = datetime.datetime(2026, 11, 1, 12, 30, 5, 999, datetime.UTC)
EARLIER = BORN - datetime.timedelta(days=3)
MOVED = BORN - datetime.timedelta(days=1)
FULL = BORN + datetime.timedelta(days=9000)
GONE_UUID = 'aaaaaaaa-0000-4000-8000-000000000009'
GONE = BORN + datetime.timedelta(hours=1)

WEB = types.Allocation(
    levels.Level.parse('s0:c1,c2'),
    'aaaaaaaa-0000-4000-8000-000000000001',
    'p1',
    frozenset({'host2', 'host1'}),
    BORN,
)
OLD = types.Allocation(
    levels.Level.parse('s0:c3,c4'),
    'aaaaaaaa-0000-4000-8000-000000000002',
    'p2',
    frozenset(),
    BORN,
    GONE,
)
KEPT = types.Allocation(
    levels.Level.parse('s0:c7,c8'),
    None,
    None,
    frozenset(),
    BORN,
    note='a container',
)


class Allocator(base.Allocator):
    """Answers from the rows above; takes no orders."""

    rows = (WEB, OLD, KEPT)

    def acquire(self, *args: Any) -> types.Allocation:
        raise AssertionError('a command that reads must not write')

    adopt = unclaim = retire = give_back = reserve = acquire
    give_back_last = acquire
    release = set_space = tidy = acquire
    meet = doubt = report = distrust = trust = meet_cloud = acquire

    def get(self, instance_uuid):
        for row in self.rows:
            if row.instance_uuid == instance_uuid:
                return row
        raise exception.UnknownInstance(f'{instance_uuid} holds no level')

    def find(self, level):
        SPACE.check(level)
        return next((row for row in self.rows if row.level == level), None)

    def list(
        self,
        *,
        host=None,
        project_id=None,
        states=None,
        after=None,
        limit=None,
    ):
        return [
            row
            for row in self.rows
            if (host is None or host in row.hosts)
            and (project_id is None or row.project_id == project_id)
            and (states is None or row.state in states)
        ]

    def space(self):
        return SPACE

    def stats(self):
        return types.Stats(SPACE.size, 1, 0, 1, 1)

    def show_trust(self):
        return types.Trust(42)

    def show_cloud(self):
        return clouds.KnownCloud()

    def usage(self, most=None):
        return types.Usage({'p2': 1, 'p1': 2}, {'host1': 1}, 0.5, FULL)

    def history(
        self,
        level=None,
        begun_after=None,
        limit=None,
        instance_uuid=None,
        project_id=None,
        at=None,
    ):
        if level is not None:
            SPACE.check(level)
        found = (
            types.Holding(
                GONE_UUID,
                'p3',
                EARLIER,
                BORN,
                WEB.level,
                (
                    types.ClaimPeriod('host2', EARLIER, MOVED),
                    types.ClaimPeriod('host3', MOVED, BORN),
                ),
            ),
            types.Holding(
                WEB.instance_uuid,
                'p1',
                BORN,
                None,
                WEB.level,
                (types.ClaimPeriod('host1', None, None),),
            ),
        )
        return [
            each
            for each in found
            if level in (None, each.level)
            and instance_uuid in (None, each.instance_uuid)
            and project_id in (None, each.project_id)
            and (begun_after is None or begun_after < each.since)
        ][:limit]


class ProgramTestCase(testtools.TestCase):
    """Runs ``svirt-nova`` in this process."""

    allocator = Allocator

    def setUp(self) -> None:
        super().setUp()
        load = mock.patch.object(base, 'load', self.allocator)
        load.start()
        self.addCleanup(load.stop)

    def program(self, *args: str) -> tuple[int, str, str]:
        """The exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                status = manage.main(args)
            except SystemExit as stop:
                status = int(stop.code or 0)
        return status, out.getvalue(), err.getvalue()
