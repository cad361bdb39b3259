# SPDX-License-Identifier: Apache-2.0
"""Installs into fresh environments beside the Nova that is under test."""

import base64
import csv
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile

import testtools

ROOT = pathlib.Path(__file__).parents[2]
NAME = 'svirt-nova'

# The way nova-compute gets its driver, to the end of the constructor; and
# what of us must not have come along with the mere package.
LOAD = """
import json, sys
import nova.virt.svirt_nova
early = sorted(name for name in sys.modules if name.startswith('nova.'))
from nova import config
from nova.virt import driver
config.CONF([], project='nova', default_config_files=[])
config.CONF.set_override('compute_driver', 'svirt_nova.SvirtLibvirtDriver')
found = driver.load_compute_driver(None)
import nova, svirt_nova
json.dump({
    'class': f'{type(found).__module__}.{type(found).__qualname__}',
    'bases': [f'{c.__module__}.{c.__qualname__}' for c in type(found).mro()],
    'early': early,
    'nova': [nova.__file__, *nova.__path__],
    'svirt_nova': svirt_nova.__file__,
}, sys.stdout)
"""


def sources(target: pathlib.Path) -> None:
    """Copy what a package is built from, as a clean checkout has it."""
    for name in ('svirt_nova', 'nova_shim', 'etc'):
        shutil.copytree(
            ROOT / name,
            target / name,
            ignore=shutil.ignore_patterns('__pycache__'),
        )
    for name in ('setup.cfg', 'pyproject.toml', 'README.rst', 'LICENSE'):
        shutil.copy(ROOT / name, target)


class Environment:
    """A fresh virtual environment with this one's packages, except ours.

    The files are hard links, as pip left them after it installed wheels:
    pip replaces files and never writes into one.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.python = path / 'bin' / 'python'
        venv.create(path, with_pip=False, symlinks=True)
        here = pathlib.Path(sys.prefix)
        self.site = path / pathlib.Path(
            sysconfig.get_path('purelib')
        ).relative_to(here)
        for tree in (self.site.relative_to(path), pathlib.Path('etc')):
            shutil.copytree(
                here / tree,
                path / tree,
                symlinks=True,
                # Half-written ones, of the tests beside this one.
                ignore=shutil.ignore_patterns('*.pyc.*'),
                copy_function=_link,
                dirs_exist_ok=True,
            )
        for script in (here / 'bin').iterdir():
            if script.is_file() and not (path / 'bin' / script.name).exists():
                _link(str(script), str(path / 'bin' / script.name))
        self.pip('uninstall', '--yes', NAME)

    def run(self, *args: str | os.PathLike[str]) -> str:
        """Run Python away from every checkout; its standard output."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(('PYTHON', 'OS_'))
        }
        done = subprocess.run(
            [self.python, *args],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        if done.returncode:
            raise AssertionError(f'{args} failed:\n{done.stdout}{done.stderr}')
        return done.stdout

    def pip(self, *args: str | os.PathLike[str]) -> str:
        """Run pip, which may not use any index."""
        return self.run('-m', 'pip', '--no-input', *args)

    def nova_damage(self) -> list[str]:
        """Files of Nova that are not as its wheel brought them."""
        [record] = self.site.glob('nova-*.dist-info/RECORD')
        damage = []
        with record.open(newline='') as lines:
            for name, digest, _ in csv.reader(lines):
                path = self.site / name
                if not path.exists():
                    damage.append(f'{name} is gone')
                elif digest and digest != _digest(path):
                    damage.append(f'{name} was changed')
        return damage

    def strangers(self) -> list[str]:
        """Files in Nova's package that Nova's wheel did not bring."""
        [record] = self.site.glob('nova-*.dist-info/RECORD')
        with record.open(newline='') as lines:
            known = {line[0] for line in csv.reader(lines)}
        return sorted(
            name
            for path in (self.site / 'nova').rglob('*')
            if path.is_file() and path.suffix != '.pyc'
            for name in [str(path.relative_to(self.site))]
            if name not in known
        )


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # Another file system.
        shutil.copy2(source, target, follow_symlinks=False)


def _digest(path: pathlib.Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return f'sha256={base64.urlsafe_b64encode(digest).decode().rstrip("=")}'


class PackagingTestCase(testtools.TestCase):
    """One environment for the tests of a class."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = tempfile.mkdtemp(prefix='svirt-nova-packaging-')
        cls.addClassCleanup(shutil.rmtree, directory)
        cls.directory = pathlib.Path(directory)
        cls.checkout = cls.directory / 'checkout'
        cls.checkout.mkdir()
        sources(cls.checkout)
        cls.environment = Environment(cls.directory / 'environment')

    def check_absent(self) -> None:
        self.assertEqual([], self.environment.nova_damage())
        self.assertEqual([], self.environment.strangers())
        self.assertEqual(
            'None None\n',
            self.environment.run(
                '-c',
                'from importlib.util import find_spec; import nova.conf;'
                'print(find_spec("svirt_nova"),'
                ' find_spec("nova.virt.svirt_nova"))',
            ),
        )

    def check_works(self, origin: pathlib.Path) -> None:
        found = json.loads(self.environment.run('-c', LOAD))
        self.assertEqual(
            'svirt_nova.virt.driver.SvirtLibvirtDriver', found['class']
        )
        self.assertIn('nova.virt.libvirt.driver.LibvirtDriver', found['bases'])
        self.assertEqual(
            ['nova.virt', 'nova.virt.svirt_nova'],
            found['early'],
            'the package alone must not pull Nova in',
        )
        nova = self.environment.site / 'nova'
        self.assertEqual([str(nova / '__init__.py'), str(nova)], found['nova'])
        self.assertEqual(
            str(origin / 'svirt_nova' / '__init__.py'), found['svirt_nova']
        )
        for program in ('svirt-nova', 'svirt-nova-status'):
            self.environment.run(
                self.environment.path / 'bin' / program, '--help'
            )

    def check_round(
        self, package: list[str | os.PathLike[str]], origin: pathlib.Path
    ) -> None:
        """Install, use and remove the package; Nova is what it was."""
        self.check_absent()
        # Without an index this also shows that all it requires is there.
        self.environment.pip(
            'install', '--no-index', '--no-build-isolation', *package
        )
        self.addCleanup(self.environment.pip, 'uninstall', '--yes', NAME)
        self.assertEqual([], self.environment.nova_damage())
        self.assertNotIn(NAME, self.environment.run('-m', 'pip', 'check'))
        self.check_works(origin)
        self.environment.pip('uninstall', '--yes', NAME)
        self.check_absent()


class WheelTest(PackagingTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.environment.pip(
            'wheel',
            '--no-deps',
            '--no-build-isolation',
            '--wheel-dir',
            cls.directory,
            cls.checkout,
        )
        [cls.wheel] = cls.directory.glob('*.whl')

    def test_a_wheel_installs_runs_and_leaves_beside_nova(self):
        self.check_round([self.wheel], self.environment.site)

    def test_brings_the_whole_package_and_of_nova_only_the_shim(self):
        with zipfile.ZipFile(self.wheel) as opened:
            names = set(opened.namelist())
        wanted = {
            str(path.relative_to(ROOT))
            for path in (ROOT / 'svirt_nova').rglob('*')
            if path.is_file()
            and path.suffix != '.pyc'
            and '__pycache__' not in path.parts
        }
        self.assertEqual(
            wanted, {n for n in names if n.startswith('svirt_nova/')}
        )
        self.assertEqual(
            {'nova/virt/svirt_nova/__init__.py'},
            {n for n in names if n.startswith('nova/')},
        )
        self.assertEqual(
            {
                'etc/audit/plugins.d/svirt_nova.conf',
                'etc/grafana/svirt_nova.json',
                'etc/nova/rootwrap.d/svirt_nova.filters',
                'etc/prometheus/svirt_nova.rules.yml',
                'etc/selinux/svirt_nova.cil',
                'lib/systemd/system/svirt-nova-alarm.service',
                'lib/systemd/system/svirt-nova-allocator.service',
                'lib/systemd/system/svirt-nova-check.service',
                'lib/systemd/system/svirt-nova-check.timer',
                'lib/systemd/system/svirt-nova-reap.service',
                'lib/systemd/system/svirt-nova-reap.timer',
                'lib/sysusers.d/svirt-nova.conf',
                'lib/tmpfiles.d/svirt-nova.conf',
                'share/bash-completion/completions/svirt-nova',
            },
            {n.partition('.data/data/')[2] for n in names if '.data/' in n},
        )


class EditableTest(PackagingTestCase):
    def test_an_editable_install_runs_and_leaves_beside_nova(self):
        self.check_round(['--editable', self.checkout], self.checkout)
