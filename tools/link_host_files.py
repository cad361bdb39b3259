# SPDX-License-Identifier: Apache-2.0
"""Links into this virtual environment what no wheel brings to the tests.

The SELinux binding belongs to the host's libselinux, and Nova's tests look
for the folder ``etc`` of Nova's wheel beside its package.
"""

import os
import pathlib
import subprocess
import sys
import sysconfig

HOST_PYTHON = '/usr/bin/python3'


def link(name: str, target: str) -> None:
    """Point a name in site-packages at a target."""
    path = pathlib.Path(sysconfig.get_path('purelib'), name)
    if path.is_symlink():
        path.unlink()
    path.symlink_to(target)


def main() -> int:
    """Make the links."""
    if sys.prefix == sys.base_prefix:
        print('this changes only a virtual environment', file=sys.stderr)
        return 2
    binding = subprocess.run(
        [
            os.environ.get('SVIRT_NOVA_TEST_PYTHON', HOST_PYTHON),
            '-c',
            'import os, selinux; print(os.path.dirname(selinux.__file__))',
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    if binding.returncode:
        print('install python3-selinux first', file=sys.stderr)
        return 1
    link('selinux', binding.stdout.strip())
    link('etc', '../../../etc')
    return 0


if __name__ == '__main__':
    sys.exit(main())
