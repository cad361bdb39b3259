# SPDX-License-Identifier: Apache-2.0
"""Stock tempest with Nova's own driver and with ours, compared.

    python3 -m tests.lab.tempest [native|lab]... [--json FILE]

Exit status 0 only if all tests pass with the project's driver, and enough
with Nova's own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from tests.lab import bootstrap
from tests.lab import cache
from tests.lab.progress import LabError
from tests.lab.progress import place_json
from tests.lab.progress import Progress
from tests.lab.progress import write_json

if TYPE_CHECKING:
    from tests.lab.cloud import Cloud

NOVAS_DRIVER = 'libvirt.LibvirtDriver'

#: On the machine itself, beside what every lab needs; the services that
#: libvirt-daemon-system would set up are started by the lab.
PACKAGES = (
    'genisoimage',
    'iproute2',
    'libvirt-clients',
    'libvirt-daemon',
    'libvirt-daemon-driver-qemu',
    'python3-libvirt',
    'python3-selinux',
)


@dataclass(frozen=True)
class Place:
    """Where tempest runs.

    :ivar minimum: how many stock tests have to pass with each driver
    :ivar workers: how many tests run at a time
    :ivar own: where the project's own tests for such a place are
    :ivar skippable: which of those may be skipped there
    :ivar features: what tempest is told of it alone
    """

    minimum: int
    workers: int
    own: str
    skippable: frozenset[str]
    features: dict[str, dict[str, object]]


PLACES = {
    'native': Place(
        60,
        3,
        'svirt_nova.tempest.api.test_outside.',
        # There is one host.
        frozenset(
            [
                'test_live_migration',
                'test_migration_confirm',
                'test_migration_revert',
            ]
        ),
        {
            'compute': {'build_timeout': 600},
            'volume': {'build_timeout': 600},
            'service_clients': {'http_timeout': 300},
            'compute-feature-enabled': {
                'cold_migration': False,
                'live_migration': False,
            },
        },
    ),
    'lab': Place(
        25,
        2,
        'svirt_nova.tempest.api.test_inside.',
        frozenset(),
        {
            'compute': {'build_timeout': 600, 'build_interval': 3},
            'volume': {'build_timeout': 600, 'build_interval': 3},
            'image': {'build_timeout': 600},
            # Some calls are answered only when the host has answered.
            'service_clients': {'http_timeout': 900},
            'compute-feature-enabled': {
                'cold_migration': True,
                'live_migration': True,
                # Where the hosts may choose (auto), they see that they share
                # the directory of instances.
                'block_migration_for_live_migration': True,
                'volume_backed_live_migration': True,
            },
        },
    ),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='tools/tempest',
        description="Runs stock tempest with Nova's own libvirt driver and "
        'with that of the project, and compares.',
    )
    parser.add_argument(
        'places',
        nargs='*',
        metavar='native|lab',
        help='on the machine itself; on two hosts that enforce SELinux '
        '(default: both)',
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='keep all results in FILE'
    )
    # Set where the program runs itself in namespaces of its own.
    parser.add_argument(
        '--isolated', action='store_true', help=argparse.SUPPRESS
    )
    options = parser.parse_args(arguments)
    options.places = list(dict.fromkeys(options.places)) or list(PLACES)
    for place in options.places:
        if place not in PLACES:
            parser.error(f'no such place: {place}')
    place_json(parser, options)
    return options


def compare(name: str, progress: Progress) -> dict[str, Any]:
    """Bring a place up, run its list with both drivers, print the table.

    :returns: the figures; what keeps it from success is in ``faults``
    """
    # Only the lab's environment has what these need.
    from tests.lab import selection
    from tests.lab.cloud import Cloud
    from tests.lab.cloud import DRIVER
    from tests.lab.comparison import Comparison
    from tests.lab.native import NativeCloud
    from tests.lab.suite import host_features
    from tests.lab.suite import Suite

    place = PLACES[name]
    begin = time.monotonic()
    kind = NativeCloud if name == 'native' else Cloud
    hosts = 1 if name == 'native' else 2
    with kind(progress, hosts, NOVAS_DRIVER, volumes=True) as cloud:
        suite = Suite(
            cloud,
            place.features
            if name == 'native'
            else {**place.features, **host_features(cloud)},
        )
        identities = suite.identities()
        names = selection.checked(name, list(PLACES), identities)
        own = selection.own(place.own, identities)
        took: dict[str, float] = {}
        outcomes = {}
        for title, driver, tests in (
            ('nova', NOVAS_DRIVER, names),
            ('ours', DRIVER, [*names, *own]),
        ):
            if driver != cloud.driver:
                with progress.step(f'nova-compute with {driver}'):
                    cloud.change_driver(driver)
            with progress.step(f'tempest with {driver}'):
                since = time.monotonic()
                outcomes[title] = suite.run(title, tests, place.workers)
                took[title] = round(time.monotonic() - since, 1)
        result = Comparison(names, outcomes['nova'], outcomes['ours'], own)
        left = claims_left(cloud)
        given = levels_given(cloud)
        faults = result.faults(place.minimum, place.skippable)
        faults += [f'a claim of an instance that is gone: {x}' for x in left]
        if not given:
            # Where nothing is enforced, all of tempest passes without levels.
            faults.append('no instance was given a level')
        print(
            f'\n{name}\n\n{result.table()}\n'
            f'levels given: {given}; claims left: {len(left)}\n',
            flush=True,
        )
        if faults:
            for host in cloud.hosts:
                # The result of an hour does not go with a host.
                with contextlib.suppress(LabError):
                    host.save_logs()
            cloud.keep_logs()
        return {
            **result.figures(),
            'versions': cloud.versions(),
            'minimum': place.minimum,
            'claims_left': left,
            'levels_given': given,
            'seconds': {
                **took,
                'all': round(time.monotonic() - begin, 1),
            },
            'faults': faults,
        }


def claims_left(cloud: Cloud) -> list[str]:
    """Name the claims that stay when their instances are deleted.

    A host that has missed an instance's end finds out by itself.

    :raises LabError: the store does not answer
    """
    from tests.lab.operations import PATIENCE

    deadline = time.monotonic() + PATIENCE
    while True:
        alive = {
            server.id
            for server in cloud.api.compute.servers(all_projects=True)
        }
        left = [
            f'{each["Host"]} {each["Instance"]} {each["Level"]}'
            for each in cloud.svirt_nova('claim', 'list')
            if each['Instance'] not in alive
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(5)


def levels_given(cloud: Cloud) -> int:
    """Count the levels that instances have or had: they cool for an hour.

    :raises LabError: the store does not answer
    """
    return sum(
        bool(each['Instance']) for each in cloud.svirt_nova('label', 'list')
    )


def compare_isolated(name: str) -> dict[str, Any]:
    """Do the same in namespaces of its own.

    :raises LabError: it ended before there was a result
    """
    from tests.lab import native

    with tempfile.TemporaryDirectory() as directory:
        figures = Path(directory) / 'figures.json'
        process = subprocess.Popen(
            native.isolated(
                [
                    sys.executable,
                    '-m',
                    'tests.lab.tempest',
                    name,
                    '--isolated',
                    '--json',
                    str(figures),
                ]
            ),
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            # With it goes all that it started.
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            cache.clear_run()
        if not figures.exists():
            raise LabError(f'{name}: no result (status {status})')
        found: dict[str, Any] = json.loads(figures.read_text())[name]
        return found


def run(progress: Progress, options: argparse.Namespace) -> list[str]:
    """Go through the places; return what keeps them from success."""
    figures: dict[str, Any] = {}
    for name in options.places:
        if name == 'native' and not options.isolated:
            figures[name] = compare_isolated(name)
        else:
            figures[name] = compare(name, progress)
        # What is there is kept if the next place cannot even start.
        if options.json is not None:
            write_json(options.json, figures)
    return [
        f'{name}: {fault}'
        for name, each in figures.items()
        for fault in each['faults']
    ]


def main(arguments: list[str]) -> int:
    """Run tempest.

    :returns: 0 only if all of it held
    """
    options = parse(arguments)
    try:
        if options.isolated:
            run(Progress(), options)
            return 0
        progress = bootstrap.ensure(
            'tests.lab.tempest',
            arguments,
            hosts=2 if 'lab' in options.places else 0,
            packages=PACKAGES if 'native' in options.places else (),
        )
        faults = run(progress, options)
    except BaseException as error:  # noqa: BLE001 - passed on where unknown
        return bootstrap.main_guard(error)
    for fault in faults:
        progress.say(fault)
    progress.say(
        'all of it held' if not faults else f'{len(faults)} things are wrong'
    )
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
