# SPDX-License-Identifier: Apache-2.0
"""The pseudo-terminals of guests, which Nova reads as root.

libvirt takes the path of a pseudo-terminal from QEMU's own answer
(``qemuProcessLookupPTYs``), and Nova's privileged helper opens whatever
libvirt names, for the log of a console (``nova.privsep.libvirt.readpty``). A
QEMU that a hostile disk took over before libvirt asked could name any file of
the host, or the terminal of another guest, and its tenant would be shown what
is there.
"""

from __future__ import annotations

import os
import re
import stat

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels

_PATH = re.compile(r'/dev/pts/[0-9]+', re.ASCII)

_MAJORS = range(136, 144)
"""The device numbers of pseudo-terminals (UNIX98_PTY_SLAVE_MAJOR of Linux)."""


def paths(domain: str) -> list[str]:
    """The paths of the pseudo-terminals of a domain, if it runs."""
    found = domain_xml.parse(domain).iterfind(
        'devices/*[@type="pty"]/source[@path]'
    )
    return list(dict.fromkeys(each.get('path', '') for each in found))


def check(xml: str) -> None:
    """Check that the pseudo-terminals of a running domain are its own.

    :param xml: the domain, as libvirt gives it
    :raises UnsafeTerminal: one is not
    :raises LabelError: the label of one cannot be read
    """
    seclabel = domain_xml.read(xml)
    for path in paths(xml):
        _check(path, seclabel)


def _check(path: str, seclabel: domain_xml.Seclabel | None) -> None:
    if not _PATH.fullmatch(path) or not _is_terminal(path):
        raise exception.UnsafeTerminal(
            f'QEMU says that {path!r} is its pseudo-terminal, and that is '
            f'none. Nova does not read it. Stop the instance: its QEMU may '
            f'have been taken over'
        )
    own = None if seclabel is None else seclabel.label
    found = file_labels.read(path)
    if own is None or found is None or found.level != own.level:
        raise exception.UnsafeTerminal(
            f'QEMU says that {path} is its pseudo-terminal. It carries '
            f'{found or "no label"}, and the label of the guest is '
            f'{own or "none"}. Nova does not read it. Stop the instance: its '
            f'QEMU may have been taken over'
        )


def _is_terminal(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _MAJORS
