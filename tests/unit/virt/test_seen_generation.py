# SPDX-License-Identifier: Apache-2.0
"""What a host remembers of the store when nova-compute does not run."""

import os
import pathlib

import fixtures
import testtools

from svirt_nova.virt import seen_generation


class SeenGenerationTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.directory = self.useFixture(fixtures.TempDir()).path

    def make(self, host='here'):
        return seen_generation.SeenGeneration(self.directory, host)

    def test_host_that_has_seen_nothing_has_no_generation(self):
        self.assertIsNone(self.make().number)
        self.make().learn(None)
        self.assertEqual([], os.listdir(self.directory))
        self.assertEqual('', self.log.output)

    def test_newest_generation_is_remembered_by_the_next_process(self):
        before = self.make()
        for number in (7, 5, None, 6):
            before.learn(number)
        self.assertEqual(7, before.number)
        after = self.make()
        after.learn(5)
        self.assertEqual(7, after.number)
        self.assertEqual(1, len(os.listdir(self.directory)))

    def test_hosts_of_one_directory_have_files_of_their_own(self):
        self.make('a/b').learn(3)
        self.make('a').learn(4)
        self.assertEqual(3, self.make('a/b').number)
        self.assertEqual(4, self.make('a').number)

    def test_file_without_sense_is_told_and_replaced(self):
        self.make().learn(3)
        [name] = os.listdir(self.directory)
        path = pathlib.Path(self.directory, name)
        path.write_text('')
        found = self.make()
        self.assertIsNone(found.number)
        self.assertIn(f'{path}, with the newest', self.log.output)
        found.learn(2)
        self.assertEqual('2\n', path.read_text())

    def test_file_that_cannot_be_written_is_told(self):
        found = seen_generation.SeenGeneration('/nowhere/at/all', 'here')
        found.learn(2)
        self.assertEqual(2, found.number)
        self.assertIn('/nowhere/at/all', self.log.output)

    def test_write_that_fails_leaves_no_file_behind(self):
        self.make().learn(2)
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.virt.seen_generation.os.replace', self._refuse
            )
        )
        self.make().learn(3)
        self.assertEqual(1, len(os.listdir(self.directory)))
        self.assertEqual(2, self.make().number)

    @staticmethod
    def _refuse(*_):
        raise OSError('no space left')
