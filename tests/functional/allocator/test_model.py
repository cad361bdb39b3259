# SPDX-License-Identifier: Apache-2.0
"""Random walks of the SQL driver beside the allocator of dictionaries.

``SVIRT_NOVA_MODEL_WALKS`` says how many walks (default: 40); with it they
differ from run to run.
"""

import os

import hypothesis
import testtools
from hypothesis import stateful

from svirt_nova.mcs import spaces
from tests.functional.allocator import model

IS_LONG = 'SVIRT_NOVA_MODEL_WALKS' in os.environ
WALKS = int(os.environ.get('SVIRT_NOVA_MODEL_WALKS', '40'))
STEPS = 60

# What must happen on the walks: what never happens would check nothing.
EXPECTED = {
    ('acquire', 'new'),
    ('acquire', 'known'),
    ('acquire', 'revived'),
    ('acquire', 'SpaceFull', spaces.Scheme.INSTANCE),
    ('acquire', 'SpaceFull', spaces.Scheme.PROJECT),
    ('acquire', 'NotAllowed', spaces.Scheme.INSTANCE),
    ('acquire', 'NotAllowed', spaces.Scheme.PROJECT),
    ('adopt', None),
    ('adopt', 'LevelTaken'),
    ('adopt', 'NotInSpace'),
    ('reserve', None),
    ('reserve', 'LevelTaken'),
    ('reserve', 'NotInSpace'),
    ('release', None),
    ('release', 'LevelTaken'),
    ('release', 'NotInSpace'),
    ('set_space', None),
    ('set_space', 'InvalidSpace'),
    ('get', None),
    ('get', 'UnknownInstance'),
    ('history', 'has ended', True),
    ('history', 'has ended', False),
    ('usage', 'grows', True),
    ('usage', 'grows', False),
}


# How often to walk again until all of that has happened. The first walks are
# the same in each run, but on a machine with much to do some may be cut short.
ROUNDS = 3


class ModelTest(testtools.TestCase):
    def test_the_sql_driver_answers_as_the_model_on_random_walks(self):
        seen = model.ModelMachine.seen
        seen.clear()
        for number in range(ROUNDS):
            stateful.run_state_machine_as_test(
                model.ModelMachine,
                settings=hypothesis.settings(
                    max_examples=WALKS,
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    derandomize=not (IS_LONG or number),
                    suppress_health_check=list(hypothesis.HealthCheck),
                ),
            )
            if seen.keys() >= EXPECTED:
                break
        if IS_LONG:
            print(dict(seen.most_common()))
        self.assertEqual(set(), EXPECTED - seen.keys())
