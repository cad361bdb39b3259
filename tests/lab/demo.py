# SPDX-License-Identifier: Apache-2.0
"""The demo: real guests, each alone behind a level of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tests.lab import bootstrap
from tests.lab.progress import place_json
from tests.lab.progress import Progress
from tests.lab.progress import say
from tests.lab.progress import table
from tests.lab.progress import write_json


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='tools/demo',
        description='Builds a lab (an OpenStack with SELinux-enforcing '
        'compute hosts), starts instances in it and lets them attack each '
        'other.',
    )
    parser.add_argument(
        '--hosts',
        type=int,
        choices=(1, 2),
        default=1,
        help='2: with shared storage, live migration and an evacuation; '
        'first with the problem, as Nova has it by itself',
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='keep all figures in FILE'
    )
    parser.add_argument(
        '--keep',
        action='store_true',
        help='leave the lab up at the end, until Ctrl-C',
    )
    options = parser.parse_args(arguments)
    place_json(parser, options)
    return options


def show_one_host(
    progress: Progress, options: argparse.Namespace
) -> tuple[list[str], dict[str, Any]]:
    """Run all acts on one host.

    :returns: what did not hold, and all figures
    """
    # Only the lab's environment has what these need.
    from tests.lab import acts
    from tests.lab import isolation
    from tests.lab import survey
    from tests.lab.cloud import Cloud

    faults: list[str] = []
    figures: dict[str, Any] = {}
    with Cloud(progress) as cloud:
        figures['versions'] = cloud.versions()
        host = cloud.hosts[0]
        with progress.step('three instances, through the API of Nova'):
            servers = cloud.boot(['alpha', 'beta', 'gamma'])
        with progress.step('levels: store, processes, files'):
            levels = acts.show_levels(cloud, servers)
        faults += levels.faults
        figures['instances'] = [
            {**vars(each), 'files': dict(each.files)}
            for each in levels.instances
        ]
        say(isolation.levels_table(levels.instances, levels.violated))

        with progress.step('attack: each QEMU opens each file, over QMP'):
            assault = acts.attack(cloud, servers)
        faults += assault.faults
        counts = assault.attack.counts()
        figures['attack'] = {
            **counts,
            'avc_denials': assault.denials,
            'matrix': assault.attack.attempts,
        }
        say(assault.attack.matrix())
        say(
            'own files: {own_opened} of {own_attempts} opened; foreign '
            'files: {foreign_opened} of {foreign_attempts} opened'.format(
                **counts
            )
            + f"; refusals in the kernel's audit log: "
            f'{assault.denials}'
        )

        with progress.step('census: as each QEMU, everything on the host'):
            census = survey.take(cloud, servers)
        faults += census.faults
        figures['census'] = {
            **census.counts,
            'avc_denials': census.audited,
            'seconds': census.seconds,
        }
        say(f'census: {census}')

        with progress.step('contrast: two domains at one level'):
            contrast = acts.contrast(cloud)
        faults += contrast.faults
        figures['contrast'] = {
            **contrast.attack.counts(),
            'level': contrast.level,
            'matrix': contrast.attack.attempts,
        }
        say(contrast.attack.matrix())
        say(
            f'both at {contrast.level}, outside of Nova: '
            '{foreign_opened} of {foreign_attempts} foreign disks '
            'opened'.format(**contrast.attack.counts())
        )

        if options.keep:
            cloud.wait_for_user()
        with progress.step('deletion, through the API of Nova'):
            departure = acts.depart(cloud, servers)
        faults += departure.faults
        figures['deletion'] = dict(departure.states)
        say(
            table(
                ['instance', 'level', 'state'],
                [
                    [each.name, each.level, departure.states[each.uuid]]
                    for each in levels.instances
                ],
            )
        )
        if faults:
            host.save_logs()
            cloud.keep_logs()
    return faults, figures


def show(progress: Progress, options: argparse.Namespace) -> list[str]:
    """Run the story and return what did not hold."""
    if options.hosts == 1:
        faults, figures = show_one_host(progress, options)
    else:
        # Only the lab's environment has what this needs.
        from tests.lab import demo_two_hosts

        faults, figures = demo_two_hosts.show(progress, keep=options.keep)
    figures.update(
        seconds=round(progress.elapsed, 1), steps=progress.steps, faults=faults
    )
    if options.json is not None:
        write_json(options.json, figures)
    return faults


def main(arguments: list[str]) -> int:
    """Run the demo.

    :returns: 0 only if everything held
    """
    options = parse(arguments)
    try:
        progress = bootstrap.ensure(
            'tests.lab.demo', arguments, hosts=options.hosts
        )
        faults = show(progress, options)
    except BaseException as error:  # noqa: BLE001 - passed on where unknown
        return bootstrap.main_guard(error)
    for fault in faults:
        progress.say(f'DID NOT HOLD: {fault}')
    progress.say(
        'all of it held'
        if not faults
        else f'{len(faults)} things did not hold'
    )
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
