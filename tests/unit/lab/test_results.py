# SPDX-License-Identifier: Apache-2.0

import datetime
import io

import subunit
import testtools

from tests.lab import comparison
from tests.lab import results
from tests.lab.comparison import Outcome

NAME = 'tempest.api.compute.servers.test_actions.ActionsTest.test_pause'
IDENTITY = f'{NAME}[id-bd61a9fd,smoke]'
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class OutcomesTest(testtools.TestCase):
    def read(self, *events):
        stream = io.BytesIO()
        result = subunit.StreamResultToBytes(stream)
        for event in events:
            result.status(**event)
        return results.outcomes(stream.getvalue())

    def test_a_test_that_passed(self):
        later = BEGIN + datetime.timedelta(seconds=7)
        found = self.read(
            {
                'test_id': IDENTITY,
                'test_status': 'inprogress',
                'timestamp': BEGIN,
            },
            {
                'test_id': IDENTITY,
                'test_status': 'success',
                'timestamp': later,
            },
        )

        self.assertEqual({NAME: Outcome(comparison.PASSED, 7.0)}, found)

    def test_a_failure_tells_its_last_line(self):
        found = self.read(
            {
                'test_id': IDENTITY,
                'test_status': 'fail',
                'file_name': 'traceback',
                'file_bytes': b'Traceback:\n  a\nValueError: x\n',
                'mime_type': 'text/plain;charset=utf8',
                'eof': True,
            }
        )

        self.assertEqual(
            {NAME: Outcome(comparison.FAILED, 0.0, 'ValueError: x')}, found
        )

    def test_a_skipped_test_tells_its_reason(self):
        found = self.read(
            {
                'test_id': IDENTITY,
                'test_status': 'skip',
                'file_name': 'reason',
                'file_bytes': b'no such feature',
                'mime_type': 'text/plain;charset=utf8',
                'eof': True,
            }
        )

        self.assertEqual(
            {NAME: Outcome(comparison.SKIPPED, 0.0, 'no such feature')}, found
        )

    def test_a_test_that_never_ended_failed(self):
        found = self.read({'test_id': IDENTITY, 'test_status': 'inprogress'})

        self.assertEqual(comparison.FAILED, found[NAME].status)

    def test_output_of_no_test_is_none(self):
        self.assertEqual({}, results.outcomes(b'a warning\n'))
