# SPDX-License-Identifier: Apache-2.0
"""Random walks of a whole cloud: at each step the promise holds.

``SVIRT_NOVA_CLUSTER_STEPS`` says how many actions are done at least
(default: 5,000).
"""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import tempfile
from collections.abc import Collection
from typing import Any

import hypothesis
import nova.conf
import testtools
from hypothesis import stateful
from hypothesis import strategies as st

import svirt_nova.conf
from tests.fakes import level_stores
from tests.fakes import patches
from tests.functional.virt import walk
from tests.functional.virt import walk_rest

CONF = nova.conf.CONF
IS_LONG = 'SVIRT_NOVA_CLUSTER_STEPS' in os.environ
STEPS = int(os.environ.get('SVIRT_NOVA_CLUSTER_STEPS', '5000'))
STEPS_ON_SQL = STEPS // 20
WALK = 100
MOST_RUNS = 100
TRIES = 200

# By how often each is tried.
ACTIONS = {
    'operations_go_on': 60,
    'boot': 8,
    'spawn_again': 10,
    'reboot': 6,
    'stop_or_start': 4,
    'suspend_or_resume': 4,
    'pause_or_unpause': 8,
    'rescue_or_unrescue': 3,
    'rebuild': 3,
    'snapshot': 2,
    'change_volumes': 6,
    'delete': 4,
    'delete_softly_or_restore': 3,
    'reclaim': 1,
    'shelve': 7,
    'resize': 8,
    'confirm_or_revert': 10,
    'live_migrate': 10,
    'evacuate': 6,
    'archive': 1,
    'a_call_comes_late': 4,
    'the_store_goes_away': 1,
    'the_store_is_back': 6,
    'crash': 2,
    'files_cannot_be_deleted': 1,
    'restart': 8,
    'reconcile': 5,
    'clean_up': 2,
    'an_operator_fences': 1,
    'an_operator_tidies': 2,
    'an_operator_resets': 4,
    'the_reaper_asks': 6,
    'the_reaper_retires': 6,
    'time_passes': 4,
}


class CloudMachine(stateful.RuleBasedStateMachine):
    """Nova, its hosts, the reaper and the operator, in any order."""

    below: patches.BelowTheDriver

    done: collections.Counter[str] = collections.Counter()
    """How often each action could be done."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()

    def make_levels(self) -> level_stores.LevelStore:
        return level_stores.MemoryLevels()

    @stateful.initialize(is_shared=st.booleans())
    def begin(self, is_shared: bool) -> None:
        levels = self.make_levels()
        self.stack.callback(levels.close)
        self.walk = walk_rest.Resting(levels, is_shared)
        self.below.cloud = self.walk.cloud
        for host in walk.HOSTS:
            self.walk.start(host)
        self.walk.run_out()

    @stateful.rule(
        action=st.sampled_from(
            [name for name, often in ACTIONS.items() for _ in range(often)]
        ),
        chance=walk.chances,
    )
    def step(self, action: str, chance: walk.Chance) -> None:
        self.walk.cloud.faults.next.clear()
        try:
            getattr(self.walk, action)(chance)
        except walk.NothingToDo:
            return
        finally:
            # The faults that nobody met are not for the checks.
            self.walk.cloud.faults.next.clear()
        self.done[action] += 1
        self.walk.check()

    def teardown(self) -> None:
        try:
            if hasattr(self, 'walk'):
                self.walk.come_to_rest()
        finally:
            self.stack.close()


class SqlMachine(CloudMachine):
    """The same, on the store that clouds have."""

    done: collections.Counter[str] = collections.Counter()

    def make_levels(self) -> level_stores.LevelStore:
        directory = self.stack.enter_context(
            tempfile.TemporaryDirectory(dir=level_stores.MEMORY)
        )
        return level_stores.SqlLevels(pathlib.Path(directory, 'levels.sqlite'))


class WalkTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        svirt_nova.conf.register_opts(CONF)
        for name, value in (
            ('claim_grace', walk.GRACE),
            ('reconcile_interval', walk.INTERVAL),
        ):
            CONF.set_override(name, value, 'svirt')
            self.addCleanup(CONF.clear_override, name, 'svirt')
        CloudMachine.below = self.useFixture(patches.BelowTheDriver())

    def _walk(
        self, machine: Any, steps: int, wanted: Collection[str] = ()
    ) -> None:
        """Walk until there were so many steps, and these among them.

        Hypothesis does some actions often in one run and hardly in another.
        """
        done = machine.done
        done.clear()
        for number in range(MOST_RUNS):
            missing = steps - done.total()
            if missing <= 0 and all(done[name] for name in wanted):
                break
            stateful.run_state_machine_as_test(
                # The same walks each time, but for the long run: what that
                # finds is not the fault of the change at hand.
                machine if IS_LONG else hypothesis.seed(number)(machine),
                settings=hypothesis.settings(
                    max_examples=max(5, min(200, missing // WALK)),
                    stateful_step_count=TRIES,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                ),
            )
        if IS_LONG:
            print(f'{done.total()} steps: {dict(done.most_common())}')

    def test_the_promise_holds_on_random_walks(self) -> None:
        self._walk(CloudMachine, STEPS, ACTIONS)
        # What never happens would check nothing.
        self.assertEqual(
            [], [name for name in ACTIONS if not CloudMachine.done[name]]
        )

    def test_the_promise_holds_on_the_sql_store(self) -> None:
        self._walk(SqlMachine, STEPS_ON_SQL)
