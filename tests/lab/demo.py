# SPDX-License-Identifier: Apache-2.0
"""The demo: real guests, each alone behind a level of its own."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import Any

from tests.lab import bootstrap
from tests.lab.progress import Progress
from tests.lab.progress import table
from tests.lab.progress import write_json


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='tools/demo',
        description='Builds a lab (an OpenStack with an SELinux-enforcing '
        'compute host), starts instances in it and lets them attack each '
        'other.',
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
    if options.json is not None:
        caller = Path(os.environ.get('SVIRT_NOVA_LAB_CALLER', '.'))
        options.json = (caller / options.json).absolute()
        if not options.json.parent.is_dir():
            parser.error(f'{options.json.parent} is no directory')
    return options


def show(progress: Progress, options: argparse.Namespace) -> list[str]:
    """Run all acts and return what did not hold."""
    # Only the lab's environment has what these need.
    from tests.lab import acts
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
        rows = [
            [
                each.name,
                each.level,
                brief(each.process),
                brief(each.files.get('disk', '-')),
                brief(each.files.get('disk.config', '-')),
                'yes' if not each.faults() else 'NO',
            ]
            for each in levels.instances
        ]
        say(
            table(
                [
                    'instance',
                    'level (allocator)',
                    'QEMU process',
                    'disk',
                    'disk.config',
                    'agree',
                ],
                rows,
            )
        )

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
            wait(progress, cloud.reach())
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
    figures.update(
        seconds=round(progress.elapsed, 1), steps=progress.steps, faults=faults
    )
    if options.json is not None:
        write_json(options.json, figures)
    return faults


def brief(context: str) -> str:
    """Leave out a context's user and role, the same for all guests."""
    return (
        context.removeprefix('system_u:')
        .removeprefix('system_r:')
        .removeprefix('object_r:')
    )


def say(text: str) -> None:
    """Print a result, indented and set off."""
    print(
        '\n' + '\n'.join('  ' + line for line in text.splitlines()) + '\n',
        flush=True,
    )


def wait(progress: Progress, reach: str) -> None:
    """Leave the lab to its user until Ctrl-C."""
    say(reach)
    progress.say('the lab stays up; Ctrl-C goes on to its end')
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        progress.say('going on')


def main(arguments: list[str]) -> int:
    """Run the demo.

    :returns: 0 only if everything held
    """
    options = parse(arguments)
    try:
        progress = bootstrap.ensure('tests.lab.demo', arguments)
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
