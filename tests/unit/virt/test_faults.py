# SPDX-License-Identifier: Apache-2.0
"""What becomes of an error."""

from __future__ import annotations

from types import SimpleNamespace

import fixtures
import nova.conf
import testtools
from nova import exception as nova_exception

from svirt_nova import conf as svirt_conf
from svirt_nova import exception
from svirt_nova.virt import faults

CONF = nova.conf.CONF
ERROR = exception.LabelNotApplied('it is at another level')
UNLABELED = exception.UnlabeledStorage('it carries no label')


class RaisedToNovaTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        svirt_conf.register_opts(CONF)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.instance = SimpleNamespace(uuid='uuid', vm_state='active')

    def _flag(self, name, value):
        CONF.set_override(name, value, 'svirt')
        self.addCleanup(CONF.clear_override, name, 'svirt')

    def _raise(self, error):
        with faults.raised_to_nova(self.instance):
            raise error

    def _check_refused(self, error, kind=nova_exception.InternalError):
        raised = self.assertRaises(kind, self._raise, error)
        self.assertIn(str(error), str(raised))
        self.assertIn('uuid', str(raised))
        self.assertIs(error, raised.__cause__)
        self.assertIn(str(error), self.log.output)
        self.assertNotIn('NOT isolated', self.log.output)

    def _check_told(self, error):
        self._raise(error)
        self.assertIn('NOT isolated', self.log.output)
        self.assertIn(str(error), self.log.output)

    def test_an_error_is_the_fault_of_the_instance(self):
        self._check_refused(ERROR)

    def test_an_error_aborts_the_build_of_an_instance(self):
        self.instance.vm_state = 'building'
        self._check_refused(ERROR, nova_exception.BuildAbortException)

    def test_an_error_is_told_in_permissive_mode(self):
        self._flag('mode', 'permissive')
        self._check_told(ERROR)

    def test_storage_without_labels_is_refused_by_default(self):
        self._check_refused(UNLABELED)

    def test_storage_without_labels_is_told_where_that_is_configured(self):
        self._flag('unlabeled_storage', 'warn')
        self._check_told(UNLABELED)

    def test_no_other_error_is_tolerated_with_such_storage(self):
        self._flag('unlabeled_storage', 'warn')
        self._check_refused(ERROR)

    def test_what_is_no_error_of_ours_passes(self):
        self.assertRaises(KeyError, self._raise, KeyError('x'))

    def test_without_an_error_nothing_is_said(self):
        with faults.raised_to_nova(self.instance):
            pass
        self.assertEqual('', self.log.output)

    def test_the_mode_says_whether_guests_need_levels(self):
        for mode, expected in (
            ('enforcing', True),
            ('permissive', False),
            ('disabled', False),
        ):
            self._flag('mode', mode)
            self.assertIs(expected, faults.is_enforcing())
