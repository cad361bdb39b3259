# SPDX-License-Identifier: Apache-2.0

import pathlib
import tempfile

import testtools

from tests.lab.processes import Daemons
from tests.lab.processes import wait_for
from tests.lab.progress import LabError

ENDS = ['sh', '-c', 'exit 7']
STAYS = ['sleep', '600']


class DaemonsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        root = pathlib.Path(directory.name)
        self.daemons = Daemons(root / 'pids', root / 'logs')
        self.addCleanup(self.daemons.stop_all)

    def raises(self, *names):
        try:
            self.daemons.check(*names)
        except LabError as error:
            return 'ended with status 7' in str(error)
        return False

    def test_a_daemon_that_ends_fails_every_check(self):
        self.daemons.start('one', ENDS)
        wait_for('the end', self.raises, 30)

    def test_a_daemon_on_trial_that_ends_fails_checks_that_name_it(self):
        self.daemons.start('one', ENDS, on_trial=True)
        self.daemons.start('other', STAYS)
        wait_for('the end', lambda: self.raises('one'), 30)
        self.assertFalse(self.raises())
        self.assertFalse(self.raises('other'))

    def test_a_wait_for_a_daemon_on_trial_fails_when_that_ends(self):
        self.daemons.start('one', ENDS, on_trial=True)
        error = self.assertRaises(
            LabError,
            self.daemons.wait_for,
            'one',
            lambda: False,
            30,
            'one',
        )
        self.assertIn('ended with status 7', str(error))

    def test_a_daemon_that_is_relied_on_and_ends_fails_every_check(self):
        self.daemons.start('one', ENDS, on_trial=True)
        wait_for('the end', lambda: self.raises('one'), 30)
        self.daemons.rely_on('one')
        self.assertTrue(self.raises())

    def test_a_daemon_that_was_stopped_fails_no_check(self):
        self.daemons.start('one', STAYS)
        self.daemons.stop('one')
        self.daemons.check('one')

    def test_stopping_a_daemon_that_was_never_started_does_nothing(self):
        self.daemons.stop('one')

    def test_a_wait_fails_at_once_when_all_daemons_are_abandoned(self):
        self.daemons.abandon()
        self.assertTrue(self.daemons.abandoned)
        self.assertRaises(
            LabError, self.daemons.wait_for, 'one', lambda: False, 30
        )
