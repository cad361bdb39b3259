# SPDX-License-Identifier: Apache-2.0
"""What follows an alarm: state, notifications, suspensions."""

import json
import os
import threading
import time

import fixtures

from svirt_nova.alarm import notifications
from svirt_nova.alarm import suspension
from tests.unit.alarm import audit


class StateTest(audit.AlarmTestCase):
    def test_a_corrupt_state_is_said_and_begun_anew(self):
        path = os.path.join(self.directory, 'state.json')
        for content in (
            b'',
            b'\xff',
            b'[]',
            b'{"version": 2}',
            b'{"version": 1, "kind": "file", "source": {"inode": "x"}}',
            b'{"version": 1, "floods": [1]}',
            b'{"version": 1, "pending": [1]}',
            b'{"version": 1, "unsent": 7}',
            b'{"version": 1, "source": [3]}',
        ):
            with open(path, 'wb') as file:
                file.write(content)
            self.say(self.watch(), audit.denial())
            self.assertIn('cannot be used', self.log.output)
            self.assertEqual(1, len(self.told()), content)
            with open(path) as file:
                self.assertEqual(1, json.load(file)['version'])
            with open(f'{path}.bad', 'rb') as file:
                self.assertEqual(content, file.read())
            os.unlink(path)

    def test_a_state_that_cannot_be_written_stops_no_alarm(self):
        watch = self.watch(
            state_path=os.path.join(self.directory, 'missing', 'state')
        )
        self.say(watch, audit.denial())
        self.assertEqual(1, len(self.told()))
        self.assertEqual(1, self.log.output.count('cannot be written'))


class NotificationsTest(audit.AlarmTestCase):
    def make(self, send):
        watch = self.watch()
        notes = notifications.Notifications(send, watch._counts)
        watch._notes = notes
        notes.start()
        return watch, notes

    def test_an_alarm_is_sent_with_subject_and_object(self):
        sent = []
        watch, notes = self.make(sent.append)
        self.say(watch, audit.denial())
        self.assertTrue(notes.wait(5))
        [payload] = sent
        self.assertEqual(
            audit.UUIDS[audit.ANN], payload['subject']['instance']
        )
        self.assertEqual('bob', payload['object']['project'])
        self.assertEqual('cross-project', payload['verdict'])
        json.dumps(payload)
        self.assertEqual(1, self.metric('alarm_notifications_total'))

    def test_a_bus_that_hangs_delays_no_alarm(self):
        free = threading.Event()
        self.addCleanup(free.set)
        watch, notes = self.make(lambda _: free.wait(60))
        for number in range(notifications.MOST_WAITING + 5):
            notes.put({'number': number})
        self.say(watch, audit.denial())
        self.assertEqual(1, len(self.told()))
        self.assertLess(5, self.metric('alarm_notifications_dropped_total'))
        self.assertIn('were dropped', self.log.output)
        kept = notes.to_json()
        self.assertEqual('cross-project', kept[-1]['verdict'])

    def test_what_was_not_sent_is_sent_after_a_restart(self):
        sent = []
        _, notes = self.make(sent.append)
        notes.load([{'id': 1}, {'id': 2}])
        self.assertTrue(notes.wait(5))
        self.assertEqual([{'id': 1}, {'id': 2}], sent)


class PauseTest(audit.AlarmTestCase):
    def make(self, suspend):
        watch = self.watch(on_attack='pause')
        watch._suspensions = suspension.Suspensions(
            'test:///default', watch._counts, suspend
        )
        return watch

    def wait_for(self, outcome):
        deadline = time.monotonic() + 5
        while not self.metric('alarm_suspensions_total', outcome=outcome):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_the_guest_of_an_attack_is_suspended_with_the_evidence(self):
        asked = []
        watch = self.make(lambda *it: asked.append(it) or 'uuid (name)')
        self.say(watch, audit.denial(), audit.denial())
        self.wait_for('suspended')
        self.assertEqual([('test:///default', 's0:c1,c2')], asked)
        self.assertIn('suspended: uuid (name). The evidence', self.log.output)

    def test_no_guest_is_suspended_for_its_own_project_or_an_old_line(self):
        watch = self.make(self.fail)
        self.say(watch, audit.denial(target=audit.ANN_TOO))
        self.say(
            watch, audit.denial(audit.BOB, audit.ANN, at=time.time() - 90)
        )
        self.assertEqual(2, len(self.told()))
        self.assertIn('was not suspended', self.log.output)

    def test_a_libvirt_that_hangs_is_said(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{suspension.__name__}.TIMEOUT', 0.05)
        )
        free = threading.Event()
        self.addCleanup(free.set)
        watch = self.make(lambda *_: free.wait(60) and 'x')
        self.say(watch, audit.denial())
        self.wait_for('timeout')
        self.assertIn('has not answered', self.log.output)
        free.set()
        self.wait_for('suspended')
