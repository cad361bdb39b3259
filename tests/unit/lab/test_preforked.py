# SPDX-License-Identifier: Apache-2.0

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import testtools

from tests.lab import cache

SERVER = cache.HERE / 'preforked.py'
CLIENT = cache.HERE / 'preforked_client.py'
#: Seconds until something that takes a moment counts as hung.
PATIENCE = 60.0


def wait_for(ready):
    deadline = time.monotonic() + PATIENCE
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise AssertionError(f'{ready} is not so')
        time.sleep(0.02)
    return found


def runs(process):
    """Whether a process runs, and is more than a zombie."""
    with contextlib.suppress(OSError):
        stat = pathlib.Path(f'/proc/{process}/stat').read_text()
        return stat.rpartition(')')[2].split()[0] not in 'ZX'
    return False


class PreforkedTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.socket = self.directory / 'socket'

    def serve(self, *names):
        server = subprocess.Popen(
            [sys.executable, SERVER, self.socket, *names],
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        wait_for(self.socket.exists)
        return server

    def script(self, text):
        path = self.directory / 'script.py'
        path.write_text(textwrap.dedent(text))
        return path

    def command(self, text, *words, pid_file='-'):
        return [
            sys.executable,
            '-I',
            '-S',
            CLIENT,
            self.socket,
            pid_file,
            self.script(text),
            *words,
        ]

    def run_script(self, text, *words, **kwargs):
        return subprocess.run(
            self.command(text, *words),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            **kwargs,
        )

    def test_a_script_gets_the_arguments_and_environment_of_the_client(self):
        self.serve()
        place = self.directory / 'place'
        place.mkdir()
        done = self.run_script(
            """
            import os, sys
            umask = os.umask(0)
            print(sys.argv[1:], os.getcwd(), oct(umask), sys.stdin.read())
            print(sorted(os.environ.items()), sys.path[:2], __name__)
            print('wrong', file=sys.stderr)
            """,
            'one',
            '--two',
            cwd=place,
            input='given',
            umask=0o027,
            # Without a locale Python chooses one for itself.
            env={'LC_ALL': 'C.UTF-8', 'PYTHONPATH': '/some/where'},
        )
        self.assertEqual(
            f"['one', '--two'] {place} 0o27 given\n"
            "[('LC_ALL', 'C.UTF-8'), ('PYTHONPATH', '/some/where')] "
            f"['{self.directory}', '/some/where'] __main__\n",
            done.stdout,
        )
        self.assertEqual('wrong\n', done.stderr)
        self.assertEqual(0, done.returncode)

    def test_a_script_finds_what_the_server_imported(self):
        self.serve('wave', 'logging:disable')
        done = self.run_script(
            """
            import logging, sys
            print('wave' in sys.modules, logging.root.manager.disable)
            """
        )
        self.assertEqual('True 50\n', done.stdout)

    def test_a_script_imports_what_came_after_the_server(self):
        self.serve()
        for number in ('1', '2'):
            (self.directory / 'late.py').write_text(f'NUMBER = {number}\n')
            done = self.run_script(
                """
                import sys
                sys.dont_write_bytecode = True
                import late
                print(late.NUMBER)
                """
            )
            self.assertEqual(f'{number}\n', done.stdout)

    def test_a_server_of_green_threads_serves_as_any_other(self):
        # cinder lets eventlet replace parts of the standard library, which
        # removes what it has no replacement for.
        self.serve('eventlet:monkey_patch', 'eventlet.hubs:get_hub')
        queues = set()
        for status in (0, 7):
            done = self.run_script(
                f"""
                import select, sys, time
                from eventlet import hubs
                time.sleep(0.1)
                print(hasattr(select, 'poll'), hubs.get_hub().poll.fileno())
                sys.exit({status})
                """
            )
            self.assertEqual((status, ''), (done.returncode, done.stderr))
            has_poll, queue = done.stdout.split()
            self.assertEqual('False', has_poll)
            queues.add(queue)
        # The server's own queue of events is the first file that it opened.
        self.assertNotIn('3', queues)

    def test_the_client_ends_as_the_script_does(self):
        self.serve()
        for text, status, said in (
            ('import sys; sys.exit(7)', 7, ''),
            ('import sys; sys.exit()', 0, ''),
            ("import sys; sys.exit('no')", 1, 'no\n'),
            ('import os; os.kill(os.getpid(), 9)', 137, ''),
        ):
            done = self.run_script(text)
            self.assertEqual((status, said), (done.returncode, done.stderr))

    def test_an_error_is_told_and_is_status_1(self):
        self.serve()
        done = self.run_script("raise ValueError('bad')")
        self.assertEqual(1, done.returncode)
        self.assertIn('ValueError: bad', done.stderr)

    def test_exit_functions_run_after_the_last_thread_has_ended(self):
        self.serve()
        done = self.run_script(
            """
            import atexit, threading, time

            def late():
                time.sleep(0.2)
                print('thread')

            atexit.register(print, 'exit')
            threading.Thread(target=late).start()
            """
        )
        self.assertEqual('thread\nexit\n', done.stdout)

    def test_random_numbers_differ_from_fork_to_fork(self):
        self.serve('random', 'uuid')
        found = {
            self.run_script(
                'import random, uuid; print(random.random(), uuid.uuid4())'
            ).stdout
            for _ in range(3)
        }
        self.assertEqual(3, len(found))

    def test_a_script_that_forks_may_go_on_after_its_end(self):
        self.serve()
        later = self.directory / 'later'
        done = self.run_script(
            """
            import os, sys, time
            if os.fork():
                sys.exit(3)
            os.close(1)
            os.close(2)
            time.sleep(0.3)
            os.mkdir(sys.argv[1])
            os._exit(0)
            """,
            later,
        )
        self.assertEqual(3, done.returncode)
        wait_for(later.exists)

    def test_the_end_of_the_client_ends_the_script(self):
        self.serve()
        client = subprocess.Popen(
            self.command(
                """
                import os, time
                print(os.getpid(), flush=True)
                time.sleep(600)
                """
            ),
            stdout=subprocess.PIPE,
        )
        with client:
            process = int(client.stdout.readline())
            client.send_signal(signal.SIGTERM)
            wait_for(lambda: not runs(process))

    def test_a_service_is_adopted_and_notes_its_process(self):
        server = self.serve()
        pid_file = self.directory / 'pid'
        told = self.directory / 'told'
        done = subprocess.run(
            self.command(
                """
                import os, signal, sys, time
                with open(sys.argv[1] + '.new', 'w') as file:
                    print(os.getpid(), os.getsid(0), os.getppid(), file=file)
                os.rename(sys.argv[1] + '.new', sys.argv[1])
                time.sleep(600)
                """,
                told,
                pid_file=pid_file,
            ),
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(0, done.returncode)
        process = int(pid_file.read_text())
        self.addCleanup(os.kill, process, signal.SIGKILL)
        wait_for(told.exists)
        seen, session, parent = map(int, told.read_text().split())
        self.assertEqual((process, process), (seen, session))
        self.assertNotEqual(server.pid, parent)
        self.assertTrue(runs(process))

    def test_the_server_outlives_its_forks(self):
        server = self.serve()
        for status in (1, 0, 2):
            done = self.run_script(f'import sys; sys.exit({status})')
            self.assertEqual(status, done.returncode)
        self.assertIsNone(server.poll())
        children = pathlib.Path(
            f'/proc/{server.pid}/task/{server.pid}/children'
        )
        wait_for(lambda: not children.read_text())

    def test_a_client_without_a_server_fails(self):
        done = self.run_script('pass')
        self.assertEqual(1, done.returncode)
        self.assertIn('FileNotFoundError', done.stderr)

    def test_a_server_that_ends_leaves_no_client_waiting(self):
        server = self.serve()
        server.send_signal(signal.SIGSTOP)
        with subprocess.Popen(
            self.command('pass'), stderr=subprocess.PIPE
        ) as client:
            server.kill()
            self.assertNotEqual(0, client.wait(PATIENCE))

    def test_an_import_that_starts_a_thread_stops_the_server(self):
        (self.directory / 'threads.py').write_text(
            'import threading, time\n'
            'threading.Thread(target=time.sleep, args=(600,), daemon=True)'
            '.start()\n'
        )
        done = subprocess.run(
            [sys.executable, SERVER, self.socket, 'threads'],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, 'PYTHONPATH': str(self.directory)},
        )
        self.assertNotEqual(0, done.returncode)
        self.assertIn('threads', done.stderr)
        self.assertFalse(self.socket.exists())
