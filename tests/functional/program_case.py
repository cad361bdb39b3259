# SPDX-License-Identifier: Apache-2.0
"""The programs on real stores, for tests of what operators do with them."""

import contextlib
import gc
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import threading

import fixtures
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator import base
from svirt_nova.cmd import manage

PROGRAMS = pathlib.Path(sys.executable).parent


class OwnWords(io.StringIO):
    """Takes what the thread says that made it, and nobody else.

    Other tests of this process stop message buses, for which its threads
    go on looking, and say so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._owner = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._owner:
            return len(text)
        return super().write(text)


class ProgramTestCase(testtools.TestCase):
    """A directory with a configuration, and the programs on it."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        # Another user must reach the store in some of the tests.
        self.directory.chmod(0o755)
        self.store = self.directory / 'svirt-nova.sqlite'
        self.config = self.directory / 'nova.conf'
        self.configure(f'connection = sqlite:///{self.store}')

    def configure(self, database: str, svirt: str = '') -> None:
        self.config.write_text(
            f'[svirt]\n{svirt}\n[svirt_database]\n{database}\n'
        )

    def run_program(
        self, name: str, *args: str, user: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAMS / name, '--config-file', self.config, *args],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            user=user,
            env={'PATH': os.environ['PATH'], 'HOME': str(self.directory)},
            cwd='/',
        )

    def call_program(self, *args: str) -> tuple[int, str, str]:
        """Run svirt-nova in this process, which is quicker."""
        out, err = OwnWords(), OwnWords()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                status = manage.main(
                    ['--config-file', str(self.config), *args]
                )
            except SystemExit as stop:
                status = int(stop.code or 0)
        # The end of a process closes its store, which SQLite then tidies.
        gc.collect()
        return status, out.getvalue(), err.getvalue()

    def program(self, *args: str) -> str:
        """The standard output of a command that must succeed."""
        status, out, err = self.call_program(*args)
        self.assertEqual((0, ''), (status, err))
        return out

    def answer(self, *args: str) -> object:
        return json.loads(self.program(*args, '-f', 'json'))

    def refusal(self, *args: str, user: int | None = None) -> str:
        """The one line of a command that must fail."""
        if user is None:
            status, out, err = self.call_program(*args)
        else:
            done = self.run_program('svirt-nova', *args, user=user)
            status, out, err = done.returncode, done.stdout, done.stderr
        self.assertEqual((1, ''), (status, out), err)
        self.assertEqual(1, err.count('\n'), err)
        self.assertNotIn('Traceback', err)
        return err

    def allocator(self) -> base.Allocator:
        conf = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(conf)
        conf(['--config-file', str(self.config)])
        return base.load(conf)

    def contents(self) -> dict[str, str]:
        """A checksum of each file that holds something.

        An empty write-ahead log comes and goes with connections, and what
        is beside it is a lock or shared memory.
        """
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.directory.iterdir()
            if path.is_file()
            and not path.name.endswith(('.lock', '-shm'))
            and not (path.name.endswith('-wal') and not path.stat().st_size)
        }
