# SPDX-License-Identifier: Apache-2.0
"""Makes this virtual environment fit for the tests.

It links what no wheel brings: the SELinux binding belongs to the host's
libselinux, and Nova's tests look for the folder ``etc`` of Nova's wheel
beside its package. It also opens tox's directory, which tox makes for its
user alone, because some tests run a program as another user.
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
    """Make the links, and let all users reach the environment."""
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
    pathlib.Path(sys.prefix).parent.chmod(0o755)
    return 0


if __name__ == '__main__':
    sys.exit(main())
