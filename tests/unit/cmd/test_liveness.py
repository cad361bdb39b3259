# SPDX-License-Identifier: Apache-2.0

import os
import threading

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.cmd import liveness
from svirt_nova.cmd import supervision

Store = liveness.Store
WELL = 'processes answer calls, the store can be used'


class BoardTest(testtools.TestCase):
    def test_what_a_forked_process_writes_is_read_by_its_parent(self):
        board = liveness.Board(2)
        written = liveness.Reading(5.25, True, Store.UNUSABLE)
        child = os.fork()
        if not child:
            board.write(1, written)
            os._exit(0)
        os.waitpid(child, 0)
        self.assertEqual(written, board.read(1))
        self.assertEqual(
            liveness.Reading(0.0, False, Store.UNKNOWN), board.read(0)
        )

    def test_a_process_that_died_does_not_answer(self):
        board = liveness.Board(1)
        board.write(0, liveness.Reading(1.0, True, Store.USABLE))
        board.note_death(0)
        self.assertFalse(board.read(0).answers)


class WatchTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.told = []
        for name in ('ready', 'status', 'stopping'):
            self.useFixture(
                fixtures.MockPatchObject(
                    supervision,
                    name,
                    lambda text, name=name: self.told.append((name, text)),
                )
            )
        self.useFixture(
            fixtures.MockPatchObject(
                supervision, 'alive', lambda: self.told.append('alive')
            )
        )
        self.useFixture(
            fixtures.MockPatchObject(supervision, 'watchdog', lambda: 60.0)
        )
        self.now = 1000.0
        self.board = liveness.Board(2)
        self.watch = liveness.Watch(self.board, lambda: self.now)

    def write(self, index, answers=True, store=Store.USABLE):
        self.board.write(index, liveness.Reading(self.now, answers, store))

    def look(self):
        """What is told of one look, without signs of life."""
        self.told.clear()
        self.watch.look()
        return [each for each in self.told if each != 'alive']

    def test_it_is_ready_once_all_answer_and_have_used_the_store(self):
        self.assertEqual(
            [('status', f'0 of 2 {WELL}')],
            self.look(),
        )
        self.write(0)
        self.assertEqual([('status', f'1 of 2 {WELL}')], self.look())
        self.write(1, answers=False)
        self.assertEqual([], self.look())
        self.write(1, store=Store.UNKNOWN)
        self.assertEqual([('status', f'2 of 2 {WELL}')], self.look())
        self.write(1)
        self.assertEqual([('ready', f'2 of 2 {WELL}')], self.look())
        self.assertEqual([], self.look())

    def test_a_process_that_shows_no_sign_of_life_does_not_answer(self):
        self.write(0)
        self.write(1)
        self.look()
        self.now += 11
        self.write(0)
        self.assertEqual([('status', f'1 of 2 {WELL}')], self.look())
        self.assertIn(f'1 of 2 {WELL}', self.log.output)

    def test_systemd_is_told_of_life_while_no_process_is_stuck(self):
        self.write(0)
        self.write(1)
        self.look()
        self.assertIn('alive', self.told)
        self.look()
        self.assertNotIn('alive', self.told)
        self.now += 16
        self.write(0)
        self.look()
        self.assertIn('alive', self.told)
        self.now += 16
        self.write(0)
        self.look()
        self.assertNotIn('alive', self.told)

    def test_a_process_that_waits_for_the_bus_is_not_stuck(self):
        self.look()
        self.assertIn('alive', self.told)

    def test_a_store_that_cannot_be_used_is_told(self):
        self.write(0)
        self.write(1, store=Store.UNUSABLE)
        [(_, text)] = self.look()
        self.assertIn('the store cannot be used', text)


class PulseTest(testtools.TestCase):
    def test_a_store_that_fails_is_written_and_logged_once(self):
        log = self.useFixture(fixtures.FakeLogger())
        for name in ('_STORE_PERIOD', '_UNUSABLE_PERIOD'):
            self.useFixture(fixtures.MockPatchObject(liveness, name, 0.01))
        asked = threading.Semaphore(0)
        answers = [exception.StoreUnreachable('gone')] * 3
        done = threading.Event()

        class Allocator:
            def show_trust(self):
                asked.release()
                if answers:
                    raise answers.pop()
                done.set()

        board = liveness.Board(1)
        liveness.Pulse(board, 0, Allocator()).answers(True)
        self.assertTrue(done.wait(10))
        self.assertTrue(asked.acquire(timeout=10))
        self.assertTrue(board.read(0).answers)
        self.assertEqual(1, log.output.count('gone'))
