# SPDX-License-Identifier: Apache-2.0
"""Makes the files of the repository that are made from others.

With ``--check`` nothing is written; the exit status is 1 if a file is not
what would be made.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import pathlib
import sys
import tempfile
from collections.abc import Callable

from oslo_config import generator

from svirt_nova.cmd import manage
from tools import lifecycle_table
from tools import metrics_list

ROOT = pathlib.Path(__file__).parents[1]


def config_sample() -> str:
    """The sample of the configuration, of all options and their help."""
    with tempfile.TemporaryDirectory() as directory:
        made = pathlib.Path(directory, 'sample')
        generator.main(
            [
                '--config-file',
                str(ROOT / 'etc' / 'svirt-nova-config-generator.conf'),
                '--output-file',
                str(made),
            ]
        )
        return made.read_text()


def completion() -> str:
    """What bash completes after ``svirt-nova``, of all commands."""
    with contextlib.redirect_stdout(io.StringIO()) as made:
        manage.main(['complete'])
    return f'# SPDX-License-Identifier: Apache-2.0\n{made.getvalue()}'


GENERATED: dict[str, Callable[[], str]] = {
    'etc/svirt-nova.conf.sample': config_sample,
    'etc/bash_completion.d/svirt-nova': completion,
    'doc/source/contributor/lifecycle-table.inc': lifecycle_table.render,
    'doc/source/metrics-list.inc': metrics_list.render,
}
"""The files, and what makes the content of each."""


def difference(name: str, content: str) -> list[str]:
    """Compare a file with what it should be, as lines of a patch."""
    path = ROOT / name
    present = path.read_text() if path.exists() else ''
    return list(
        difflib.unified_diff(
            present.splitlines(),
            content.splitlines(),
            name,
            f'{name}, made anew',
            lineterm='',
        )
    )


def main() -> int:
    """Read the command line, and make the files or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true')
    args = parser.parse_args()
    stale = False
    for name, make in GENERATED.items():
        content = make()
        lines = difference(name, content)
        if not args.check:
            (ROOT / name).write_text(content)
        elif lines:
            stale = True
            print(*lines, sep='\n')
            print(f'{name} is out of date: run "tox -e genconfig", commit it')
    return int(stale)


if __name__ == '__main__':
    sys.exit(main())
