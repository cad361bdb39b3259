# SPDX-License-Identifier: Apache-2.0
"""What several processes, users and threads do to one SQLite file."""

import os
import pathlib
import subprocess
import sys
import threading

import fixtures
import testtools

from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from tests.quick_store import make_conf


class SharedFileTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = self.useFixture(fixtures.TempDir()).path
        self.path = pathlib.Path(directory, 'levels.sqlite')
        self.url = f'sqlite:///{self.path}?timeout=30'
        self.conf = make_conf(self.url)

    def test_several_processes_at_once_make_one_file(self):
        code = (
            'import sys\n'
            'from svirt_nova.allocator import contract\n'
            'from svirt_nova.allocator.sql import sql_allocator\n'
            'from tests.quick_store import make_conf\n'
            'conf = make_conf(sys.argv[1])\n'
            'print(sql_allocator.SqlAllocator(conf).acquire('
            'contract.new_uuid(), "p", "a").level)\n'
        )
        workers = [
            subprocess.Popen(
                [sys.executable, '-c', code, self.url],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        results = [worker.communicate(timeout=120) for worker in workers]
        self.assertEqual(
            [0] * 4, [worker.returncode for worker in workers], results
        )
        self.assertEqual(4, sql_allocator.SqlAllocator(self.conf).stats().held)

    def test_a_user_who_may_not_write_the_file_is_refused(self):
        if os.geteuid() != 0:
            self.skipTest('takes root: becomes another user')
        stores.sync(self.conf)
        self.path.chmod(0o644)
        self.path.parent.chmod(0o755)
        code = (
            'import os, sys\n'
            'from svirt_nova import exception\n'
            'from svirt_nova.allocator import contract\n'
            'from svirt_nova.allocator.sql import sql_allocator\n'
            'from tests.quick_store import make_conf\n'
            'a = sql_allocator.SqlAllocator(make_conf(sys.argv[1]))\n'
            'os.setgid(65534); os.setuid(65534)\n'
            'for call in (a.stats, lambda: a.retire(contract.new_uuid())):\n'
            '    try:\n'
            '        print("done", call())\n'
            '    except exception.StoreUnreachable as error:\n'
            '        print("refused", error)\n'
        )
        path = self.path
        for parent in path.parents:
            if parent.stat().st_mode & 0o005 != 0o005:
                self.skipTest(f'another user may not enter {parent}')
        result = subprocess.run(
            [sys.executable, '-c', code, self.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.assertEqual((0, ''), (result.returncode, result.stderr))
        lines = result.stdout.splitlines()
        self.assertEqual(2, len(lines), lines)
        self.assertTrue(lines[1].startswith('refused'), lines)
        for line in lines:
            if line.startswith('refused'):
                self.assertIn(str(path), line)

    def test_threads_at_once_get_different_levels(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        got = []

        def work():
            for _ in range(25):
                got.append(allocator.acquire(contract.new_uuid(), 'p', 'a'))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertEqual(200, len({found.level for found in got}))
        self.assertEqual(200, allocator.stats().held)

    def test_a_child_process_goes_on_with_the_store_of_its_parent(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        uuid = contract.new_uuid()
        level = allocator.acquire(uuid, 'p', 'a').level
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if allocator.acquire(uuid, 'p', 'b').level == level:
                    status = 0
            finally:
                os._exit(status)
        self.assertEqual(0, os.waitpid(child, 0)[1])
        self.assertEqual({'a', 'b'}, allocator.get(uuid).hosts)
