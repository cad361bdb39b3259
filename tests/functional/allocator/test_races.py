# SPDX-License-Identifier: Apache-2.0

import os
import random
import signal
import subprocess
import sys
import time
import uuid

import testtools

from svirt_nova.mcs import spaces
from tests import quick_store

PROCESSES = 8
OPERATIONS = 200

# Works on instances of its own and on ones that all processes share, and
# writes each answer down only when it has it.
WORKER = """
import random, sys, uuid
from svirt_nova.allocator.sql import sql_allocator
from tests.quick_store import make_conf

url, log, seed, operations, shared = sys.argv[1:]
random.seed(seed)
allocator = sql_allocator.SqlAllocator(make_conf(url))
host = f'host-{seed}'
mine = []
with open(log, 'a', buffering=1) as out:
    print('ready', file=out)
    sys.stdin.readline()
    for n in range(int(operations)):
        if mine and random.random() < 0.3:
            instance = mine.pop(random.randrange(len(mine)))
            print('giving', instance, file=out)
            allocator.give_back(instance, host)
            print('gave', instance, file=out)
        elif random.random() < 0.1:
            instance = random.choice(shared.split(','))
            level = allocator.acquire(instance, 'p', host).level
            print('shared', instance, level, file=out)
        else:
            instance = str(uuid.UUID(int=random.getrandbits(128)))
            level = allocator.acquire(instance, 'p', host).level
            mine.append(instance)
            print('got', instance, level, file=out)
    print('done', file=out)
"""


class RaceTest(testtools.TestCase):
    """Many processes at once, some of them killed."""

    def _start(self, store, seed, shared):
        log = store.path.with_name(f'{seed}.log')
        log.touch()
        process = subprocess.Popen(
            [
                sys.executable,
                '-c',
                WORKER,
                store.url,
                str(log),
                str(seed),
                str(OPERATIONS),
                ','.join(shared),
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self._stop, process)
        return process, log

    @staticmethod
    def _stop(process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    @staticmethod
    def _wait_for_lines(logs, number):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if all(
                len(log.read_text().splitlines()) >= number for log in logs
            ):
                return
            time.sleep(0.02)
        raise AssertionError('the workers made no progress in 120 s')

    def test_no_level_is_held_twice_and_none_is_lost(self):
        # 1,485 levels: the last operations meet a space that is well
        # filled, so that guesses are wrong.
        store = self.useFixture(
            quick_store.QuickStore(spaces.LevelSpace.parse('c0.c54'))
        )
        allocator = store.make()
        shared = [str(uuid.uuid4()) for _ in range(5)]
        started = [
            self._start(store, seed, shared) for seed in range(PROCESSES)
        ]
        self._wait_for_lines([log for _, log in started], 1)
        for process, _ in started:
            process.stdin.write('\n')
            process.stdin.flush()
        doomed, living = started[:3], started[3:]
        for lines, (process, log) in zip((20, 60, 100), doomed, strict=True):
            self._wait_for_lines([log], lines)
            time.sleep(random.uniform(0, 0.01))
            os.kill(process.pid, signal.SIGKILL)
        for process, _ in living:
            self.assertEqual(
                (0, ''), (process.wait(300), process.stderr.read())
            )

        held = {found.instance_uuid: found for found in allocator.list()}
        # A list: of levels, each may be there once only.
        all_levels = [found.level for found in held.values()]
        self.assertEqual(len(all_levels), len(set(all_levels)))
        answered = unanswered = 0
        known = set(shared)
        for _, log in started:
            # A killed process may have written half a line.
            text = log.read_text()
            lines = text[: text.rfind('\n') + 1].splitlines()
            leaving = set()
            for line in lines:
                what, _, rest = line.partition(' ')
                name, _, level = rest.partition(' ')
                if what in ('got', 'shared'):
                    known.add(name)
                    answered += 1
                    self.assertEqual(level, str(held[name].level))
                elif what == 'giving':
                    leaving.add(name)
                elif what == 'gave':
                    leaving.discard(name)
                    self.assertEqual('cooling', held[name].state)
            # One answer at most was under way when a process was killed.
            self.assertLessEqual(len(leaving), 1)
        unanswered = len(set(held) - known)
        self.assertLessEqual(unanswered, len(doomed))
        self.assertGreater(answered, OPERATIONS * len(living) // 2)

    def test_hosts_that_race_for_one_instance_get_one_level(self):
        store = self.useFixture(quick_store.QuickStore())
        allocator = store.make()
        instances = [str(uuid.uuid4()) for _ in range(20)]
        code = (
            'import sys\n'
            'from svirt_nova.allocator.sql import sql_allocator\n'
            'from tests.quick_store import make_conf\n'
            'a = sql_allocator.SqlAllocator(make_conf(sys.argv[1]))\n'
            'a.stats(); print("ready", flush=True); sys.stdin.readline()\n'
            'for instance in sys.argv[3:]:\n'
            '    print(a.acquire(instance, "p", sys.argv[2]).level)\n'
        )
        workers = []
        for host in ('a', 'b', 'c', 'd'):
            process = subprocess.Popen(
                [
                    sys.executable,
                    '-c',
                    code,
                    store.url,
                    host,
                    *instances,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.addCleanup(self._stop, process)
            workers.append(process)
        for process in workers:
            self.assertEqual('ready\n', process.stdout.readline())
        answers = set()
        for process in workers:
            process.stdin.write('\n')
            process.stdin.flush()
        for process in workers:
            output, error = process.communicate(timeout=120)
            self.assertEqual((0, ''), (process.returncode, error))
            answers.add(output)
        self.assertEqual(1, len(answers))
        for instance in instances:
            self.assertEqual(
                {'a', 'b', 'c', 'd'}, allocator.get(instance).hosts
            )
        self.assertEqual(20, allocator.stats().held)
