# SPDX-License-Identifier: Apache-2.0
"""Policies that do not keep guests apart, as an operator may load them.

``semodule`` compiles all modules of a policy, which takes an emulated host
very long. Therefore the machine compiles them: it takes the modules from the
host's image, with one of them added or replaced. With none changed, that
gives the image's own policy, byte for byte.
"""

from __future__ import annotations

import bz2
import os
import re
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

from tests.lab import processes
from tests.lab.image import Image
from tests.lab.progress import LabError

#: The domain of guests in the lab.
DOMAIN = 'svirt_t'

#: The modules of a policy, in CIL, by their names.
Modules = Mapping[str, str]

_STORE = '/var/lib/selinux/default/active/modules'
#: The format of Debian 12's policy.
VERSION = '33'


def permissive(modules: Modules) -> Modules:
    """Do what ``semanage permissive -a svirt_t`` does."""
    return {**modules, f'permissive_{DOMAIN}': f'(typepermissive {DOMAIN})'}


def unconstrained(modules: Modules) -> Modules:
    """Replace the module of guests: categories do not confine them.

    The constraints of this policy name no attribute for exceptions, and a
    module cannot take a type out of an attribute. So it is the module
    ``virt`` itself that an operator has changed, and loaded with a higher
    priority.

    :raises LabError: this policy is another one
    """
    text, count = re.subn(
        rf'(\(typeattributeset mcs_constrained_type \(){DOMAIN} ',
        r'\1',
        modules['virt'],
    )
    if count != 1:
        raise LabError(f'the module virt does not constrain {DOMAIN} once')
    return {**modules, 'virt': text}


def build(
    image: Image,
    place: Path,
    changes: Mapping[str, Callable[[Modules], Modules]],
    log: Path,
) -> dict[str, Path]:
    """Compile policies of a host.

    :param place: an existing directory, for them and for their modules
    :param changes: what to do to the modules of the host's own, by name
    :returns: the compiled policies, by name
    """
    modules = _read(image, place, log)
    return {
        name: _compile(change(modules), place / name, log)
        for name, change in changes.items()
    }


def _read(image: Image, place: Path, log: Path) -> Modules:
    """Give the modules of an image's policy that are in use."""
    processes.run(
        ['debugfs', '-R', f'rdump {_STORE} {place}', image.disk],
        log=log,
        timeout=120,
    )
    store = place / os.path.basename(_STORE)
    disabled = {path.name for path in store.glob('disabled/*')}
    # Of two modules with one name, that of the higher priority counts.
    sources = sorted(
        store.glob('[0-9]*/*/cil'), key=lambda path: int(path.parts[-3])
    )
    found = {}
    for path in sources:
        data = path.read_bytes()
        if data.startswith(b'BZh'):
            data = bz2.decompress(data)
        if path.parts[-2] not in disabled:
            found[path.parts[-2]] = data.decode()
    if 'virt' not in found:
        raise LabError(f'{image.disk} has no policy modules in {_STORE}')
    return found


def _compile(modules: Modules, place: Path, log: Path) -> Path:
    place.mkdir()
    sources = []
    for name, text in sorted(modules.items()):
        path = place / f'{name}.cil'
        path.write_text(text)
        sources.append(path)
    policy = place / 'policy'
    processes.run(
        [
            'secilc',
            '--mls',
            'true',
            '--policyvers',
            VERSION,
            '--output',
            policy,
            '--filecontext',
            os.devnull,
            *sources,
        ],
        log=log,
        timeout=300,
    )
    return policy
