# SPDX-License-Identifier: Apache-2.0
"""The virtual environment that holds OpenStack, from the package index."""

from __future__ import annotations

import os
import shutil
import tarfile
from importlib import metadata
from pathlib import Path

from tests.lab import cache
from tests.lab import processes
from tests.lab.progress import LabError

_PYTHON = '/usr/bin/python3'
#: Where the environment has its modules.
SITE = cache.VENV / 'lib/python3.11/site-packages'


def key() -> str:
    """Name what the environment is made of."""
    return cache.key(
        cache.HERE / 'requirements.txt', cache.HERE / 'constraints.txt'
    )


def present() -> bool:
    """Say whether the environment stands, as this checkout wants it."""
    stamp = cache.VENV / 'lab-key'
    return stamp.exists() and stamp.read_text() == key()


def build(log: Path) -> None:
    """Make the environment, with compiled modules.

    A host emulated in software compiles some 30 times slower, so that the
    .pyc files matter as much as the sources. Wheels alone, so that the
    machine needs no compiler, but for two that have none and are Python.
    """
    shutil.rmtree(cache.VENV, ignore_errors=True)
    processes.run([_PYTHON, '-m', 'venv', cache.VENV], log=log, timeout=120)
    processes.run(
        [
            cache.VENV / 'bin/pip',
            'install',
            '-q',
            '--no-compile',
            '--only-binary',
            ':all:',
            '--no-binary',
            'ovs,simplegeneric',
            '-c',
            cache.HERE / 'constraints.txt',
            '-r',
            cache.HERE / 'requirements.txt',
        ],
        log=log,
        timeout=900,
    )
    # unchecked: trust the .pyc without a look at the source's time stamp.
    processes.run(
        [
            _PYTHON,
            '-m',
            'compileall',
            '-q',
            '-j',
            '2',
            '--invalidation-mode',
            'unchecked-hash',
            SITE,
        ],
        log=log,
        timeout=600,
    )
    (cache.VENV / 'lab-key').write_text(key())


def remove_project(log: Path) -> None:
    """Remove the project's own files from the environment, if it has any."""
    processes.run(
        [cache.VENV / 'bin/pip', 'uninstall', '-q', '-y', 'svirt-nova'],
        log=log,
        timeout=120,
    )


def pack_project(run: Path, log: Path) -> Path:
    """Install the checkout's own wheel and pack what it installed.

    The index is not asked: the wheel's requirements are those of the
    environment. The archive unpacks at / of a host that has the same
    environment.

    :returns: the archive
    """
    wheels = run / 'wheel'
    pip = cache.VENV / 'bin/pip'
    # Built from a copy: setuptools leaves build/ and *.egg-info behind.
    source = run / 'source'
    shutil.copytree(
        cache.CHECKOUT,
        source,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            '.git', '.tox', '.venv', 'build', '*.egg-info', '__pycache__', '.*'
        ),
    )
    processes.run(
        [pip, 'wheel', '-q', '--no-deps', '-w', wheels, source],
        log=log,
        timeout=300,
    )
    found = list(wheels.glob('svirt_nova-*.whl'))
    if len(found) != 1:
        raise LabError(f'no wheel of svirt-nova in {wheels}; see {log}')
    processes.run(
        [pip, 'install', '-q', '--no-deps', '--force-reinstall', found[0]],
        log=log,
        timeout=120,
    )
    [distribution] = metadata.distributions(
        name='svirt-nova', path=[str(SITE)]
    )
    archive = run / 'svirt-nova.tar'
    with tarfile.open(archive, 'w') as tar:
        for file in distribution.files or ():
            path = Path(os.path.normpath(SITE / file))
            tar.add(path, arcname=str(path).lstrip('/'))
    return archive
