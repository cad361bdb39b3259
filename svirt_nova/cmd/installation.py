# SPDX-License-Identifier: Apache-2.0
"""Whether what svirt-nova needs is installed beside it.

Nothing here imports Nova or the SELinux binding before it is known whether
they are there.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings

from svirt_nova.host import policy
from svirt_nova.host import rows

DRIVER = 'driver found by Nova'
HOOKS = 'hooks in Nova'
BINDING = 'SELinux binding'

DRIVER_MODULE = 'nova.virt.svirt_nova'


def driver() -> rows.Row:
    """Whether Nova finds the driver."""
    try:
        found = importlib.util.find_spec(DRIVER_MODULE)
    except ModuleNotFoundError as error:
        return rows.wrong(
            DRIVER,
            f'Nova is not installed for this Python ({sys.executable}): '
            f'{error}. Run this with the Python that nova-compute runs with',
        )
    if found is None:
        return rows.wrong(
            DRIVER,
            f'Nova cannot find {DRIVER_MODULE}: install svirt-nova into '
            f'the site-packages directory that Nova itself lies in, and '
            f'Nova from a package or wheel',
        )
    return rows.right(DRIVER)


def hooks() -> rows.Row:
    """Whether the Nova that is installed has what the driver relies on."""
    from svirt_nova.virt import hooks

    # Libraries of Nova warn of their own deprecations.
    with warnings.catch_warnings(record=True):
        found = hooks.problems()
    problems = [policy.Problem(hooks.refusal(found))] if found else []
    untested = hooks.untested()
    if untested is not None:
        problems.append(
            policy.Problem(
                f'{untested}. Install releases that fit each other',
                is_fatal=False,
            )
        )
    release = hooks.installed_release()
    return rows.of_problems(HOOKS, problems, f'Nova {release}')


def binding() -> rows.Row:
    """Whether the binding of libselinux is there."""
    try:
        import selinux

        selinux.is_selinux_enabled()
    except (ImportError, AttributeError) as error:
        return rows.wrong(
            BINDING,
            f'the SELinux binding for this Python ({sys.executable}) is '
            f'missing: {error}; install python3-selinux (Debian) or '
            f'python3-libselinux (RPM), and in a virtual environment '
            f'link the package selinux into it',
        )
    return rows.right(BINDING)
