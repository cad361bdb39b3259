# SPDX-License-Identifier: Apache-2.0

import json
import os
import pathlib
import stat
import threading
import time

import fixtures
import testtools

from svirt_nova.alarm import journal_entries
from svirt_nova.alarm import line_sources
from svirt_nova.alarm import log_files
from svirt_nova.denials import sightings
from tests.unit.alarm import audit


class LogCase(testtools.TestCase):
    """A log that auditd writes and rotates."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = self.directory / 'audit.log'
        self.log = self.useFixture(fixtures.FakeLogger())
        self.number = 0

    def write(self, count=1, end='\n'):
        """Write numbered lines."""
        with self.path.open('a') as file:
            for _ in range(count):
                self.number += 1
                file.write(f'line {self.number} of the log{end}')

    def rotate(self, keep=9):
        """Rotate as auditd does, with so many old files."""
        for number in range(keep, 0, -1):
            old = self.directory / f'audit.log.{number}'
            if number == keep:
                old.unlink(missing_ok=True)
            elif old.exists():
                old.rename(self.directory / f'audit.log.{number + 1}')
        self.path.rename(self.directory / 'audit.log.1')
        self.path.touch()

    def follow(self, found=None):
        made = log_files.LogFiles(self.path, found or {})
        self.addCleanup(made.close)
        return made

    def drain(self, source):
        """The numbers of the lines that are there."""
        found = []
        for _ in range(50):
            lines = source.read(0)
            found += [int(each.split()[1]) for each in lines]
        return found

    def again(self, source):
        """A follower that goes on where one was."""
        return self.follow(json.loads(json.dumps(source.position())))


class LogFilesTest(LogCase):
    def test_the_first_start_begins_at_the_end(self):
        self.write(3)
        source = self.follow()
        self.assertEqual([], self.drain(source))
        self.assertIn('no state of an earlier run', self.log.output)
        self.write(2)
        self.assertEqual([4, 5], self.drain(source))

    def test_a_log_that_comes_later_is_read_from_its_begin(self):
        source = self.follow()
        self.assertEqual([], self.drain(source))
        self.assertEqual(1, self.log.output.count('No denial is seen'))
        self.write(2)
        self.assertEqual([1, 2], self.drain(source))

    def test_a_rotation_loses_nothing(self):
        self.write()
        source = self.follow()
        self.drain(source)
        for _ in range(3):
            self.write(2)
            self.rotate()
            self.write(2)
            self.rotate()
            self.write()
        self.assertEqual([*range(2, 17)], self.drain(source))

    def test_a_rotation_by_another_writer_loses_nothing(self):
        self.write()
        source = self.follow()
        self.drain(source)
        ended = threading.Event()

        def write():
            for number in range(300):
                self.write()
                if number % 40 == 0:
                    self.rotate()
            ended.set()

        threading.Thread(target=write).start()
        found = []
        while not ended.is_set():
            found += self.drain(source)
        found += self.drain(source)
        self.assertEqual([*range(2, 302)], found)

    def test_a_restart_goes_on_behind_the_last_line(self):
        self.write(2)
        source = self.follow()
        self.drain(source)
        self.write(2)
        self.assertEqual([3, 4], self.drain(source))
        self.write(2)
        self.assertEqual([5, 6], self.drain(self.again(source)))

    def test_a_restart_after_rotations_reads_all_files(self):
        for rotations in (1, 2, 5):
            self.write(2)
            source = self.follow()
            self.drain(source)
            first = self.number + 1
            for _ in range(rotations):
                self.write(3)
                self.rotate()
            self.write()
            self.assertEqual(
                [*range(first, self.number + 1)],
                self.drain(self.again(source)),
            )
        self.assertNotIn('may be lost', self.log.output)

    def test_what_was_rotated_away_is_said(self):
        self.write(2)
        source = self.follow()
        self.drain(source)
        position = source.position()
        source.close()
        for _ in range(3):
            self.write(2)
            self.rotate(keep=2)
        self.write()
        oldest = (self.directory / 'audit.log.2').read_text()
        first = int(oldest.split()[1])
        # As if it had stopped a while ago.
        position['saved_at'] -= 60
        self.assertEqual(
            [*range(first, self.number + 1)],
            self.drain(self.follow(position)),
        )
        self.assertIn('may be lost', self.log.output)

    def test_what_was_rotated_away_while_it_was_read_is_said(self):
        self.write(2)
        source = self.follow()
        self.drain(source)
        self.write()
        for _ in range(3):
            self.rotate(keep=2)
            self.write()
        # It is still open: only what no name is left of is lost.
        self.assertEqual([3, 4, 5, 6], self.drain(source))
        self.assertIn('may be lost', self.log.output)

    def test_the_inode_of_another_file_is_not_taken_for_the_same(self):
        self.write(2)
        source = self.follow()
        self.drain(source)
        position = source.position()
        self.path.write_text('')
        self.number = 100
        self.write(5)
        position['saved_at'] -= 60
        self.assertEqual(
            [101, 102, 103, 104, 105], self.drain(self.follow(position))
        )

    def test_a_truncated_log_is_read_from_its_begin(self):
        self.write(5)
        source = self.follow()
        self.drain(source)
        self.path.write_text('')
        self.write()
        self.assertEqual([6], self.drain(source))
        self.assertIn('cut off', self.log.output)

    def test_half_a_line_is_read_when_it_is_whole(self):
        self.write()
        source = self.follow()
        self.drain(source)
        self.write(end='')
        self.assertEqual([], self.drain(source))
        half = self.again(source)
        with self.path.open('a') as file:
            file.write('\n')
        self.assertEqual([2], self.drain(source))
        self.assertEqual([2], self.drain(half))

    def test_the_last_line_of_a_file_needs_no_end(self):
        self.write()
        source = self.follow()
        self.drain(source)
        self.write(end='')
        self.rotate()
        self.write()
        self.assertEqual([2, 3], self.drain(source))

    def test_a_position_that_makes_no_sense_is_refused(self):
        for wrong in ({'inode': 1}, {'offset': 'x'}, {'head': 1}):
            self.assertRaises(
                (TypeError, ValueError, KeyError), self.follow, wrong
            )


class SplitterTest(testtools.TestCase):
    def test_a_line_without_end_is_not_kept(self):
        splitter = line_sources.Splitter()
        self.assertEqual([b'a'], splitter.split(b'a\nb'))
        for _ in range(100):
            self.assertEqual([], splitter.split(b'x' * 10_000))
            self.assertLessEqual(
                len(splitter.kept), 2 * sightings.LONGEST_LINE
            )
        self.assertEqual([b'c'], splitter.split(b'x\nc\n'))


class StreamTest(testtools.TestCase):
    def test_lines_come_until_the_pipe_is_closed(self):
        out, into = os.pipe()
        self.addCleanup(os.close, out)
        source = line_sources.Stream(out)
        self.assertEqual([], source.read(0))
        os.write(into, b'a\nb\nc')
        self.assertEqual([b'a', b'b'], source.read(1))
        os.close(into)
        self.assertEqual([b'c'], source.read(1))
        self.assertRaises(EOFError, source.read, 1)


# What stands in for journalctl: it writes down how it was called, shows the
# entries once and waits.
JOURNALCTL = """#!/bin/sh
echo "$@" >> {directory}/calls
mv {directory}/entries {directory}/taken 2>/dev/null && cat {directory}/taken
{last}
"""


class JournalTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{journal_entries.__name__}._FIRST_PAUSE', 0.01
            )
        )

    def follow(self, found=None, last='exec sleep 60'):
        path = self.directory / 'journalctl'
        path.write_text(JOURNALCTL.format(directory=self.directory, last=last))
        path.chmod(stat.S_IRWXU)
        made = journal_entries.Entries(found or {}, str(path))
        self.addCleanup(made.close)
        return made

    def show(self, *entries):
        texts = [
            each if isinstance(each, str) else json.dumps(each) + '\n'
            for each in entries
        ]
        made = self.directory / 'made'
        made.write_text(''.join(texts))
        made.rename(self.directory / 'entries')

    def drain(self, source, count):
        found = []
        deadline = time.monotonic() + 10
        while len(found) < count and time.monotonic() < deadline:
            found += source.read(0.05)
        return found

    def calls(self):
        return (self.directory / 'calls').read_text().splitlines()

    @staticmethod
    def printed(line, cursor='k', facility='0'):
        """What the kernel logs of a record."""
        text = line.decode('latin-1').removeprefix('type=AVC msg=')
        return {
            '__CURSOR': cursor,
            '_TRANSPORT': 'kernel',
            'SYSLOG_FACILITY': facility,
            'MESSAGE': f'audit: type=1400 {text}',
        }

    @staticmethod
    def asked(line, cursor='a'):
        """What journald has of a record that it got from the kernel."""
        text = line.decode('latin-1')
        event = text.partition('(')[2].partition(')')[0]
        seconds, _, serial = event.partition(':')
        return {
            '__CURSOR': cursor,
            '_TRANSPORT': 'audit',
            '_AUDIT_TYPE': '1400',
            '_AUDIT_ID': serial,
            '_SOURCE_REALTIME_TIMESTAMP': seconds.replace('.', '') + '000',
            'MESSAGE': f'AVC {text.partition("): ")[2]}',
        }

    def test_both_forms_are_read_and_an_event_once(self):
        first, second = audit.denial(), audit.denial()
        self.show(
            self.asked(first),
            self.printed(first),
            self.printed(second),
            self.asked(second, 'last'),
        )
        source = self.follow()
        self.assertEqual([first, second], self.drain(source, 2))
        self.assertEqual({'cursor': 'last'}, source.position())

    def test_fields_may_be_bytes_or_lists(self):
        line = audit.denial()
        entry = self.asked(line)
        entry['MESSAGE'] = [*entry['MESSAGE'].encode()]
        other = self.asked(audit.denial())
        other['MESSAGE'] = [other['MESSAGE'], 'x']
        null = self.asked(line) | {'MESSAGE': None}
        self.show(null, entry, other, 'no JSON\n', '[]\n', '{}\n')
        found = self.drain(self.follow(), 2)
        self.assertEqual(line, found[0])
        self.assertEqual(2, len(found))

    def test_what_a_program_wrote_to_the_kernels_log_is_not_believed(self):
        line = audit.denial()
        self.show(
            self.printed(line, facility='1'),
            self.printed(line) | {'_TRANSPORT': 'syslog'},
            self.asked(line) | {'_AUDIT_TYPE': '1107'},
            self.printed(line) | {'MESSAGE': f'x {line!r}'},
            self.printed(audit.denial()),
        )
        source = self.follow()
        self.assertEqual(1, len(self.drain(source, 1)))
        self.assertEqual([], source.read(0))

    def test_lost_records_are_told(self):
        self.show(
            {
                '_TRANSPORT': 'kernel',
                'SYSLOG_FACILITY': '0',
                'MESSAGE': 'audit: audit_lost=7 audit_rate_limit=0',
            }
        )
        [line] = self.drain(self.follow(), 1)
        self.assertIn(b'audit_lost=7', line)

    def test_it_is_started_again_behind_the_last_entry(self):
        self.show(self.asked(audit.denial(), 'c1'))
        source = self.follow(last='exit 1')
        self.drain(source, 1)
        self.show(self.asked(audit.denial(), 'c2'))
        self.assertEqual(1, len(self.drain(source, 1)))
        first, *others = self.calls()
        self.assertIn('--since=@', first)
        self.assertIn('_TRANSPORT=audit _TRANSPORT=kernel', first)
        self.assertIn('--after-cursor=c1', others[0])
        self.assertIn('started again', self.log.output)

    def test_a_cursor_that_is_gone_is_given_up_and_said(self):
        source = self.follow({'cursor': 'gone'}, last='exit 1')
        deadline = time.monotonic() + 10
        while 'cursor' in source.position():
            self.assertLess(time.monotonic(), deadline)
            source.read(0.02)
        self.assertIn('may be lost', self.log.output)
        self.assertIn('since', source.position())

    def test_a_journalctl_that_is_missing_is_said_and_tried_again(self):
        source = journal_entries.Entries({}, '/nowhere/journalctl')
        self.assertEqual([], source.read(0))
        self.assertEqual([], source.read(0.05))
        self.assertIn('cannot run', self.log.output)
