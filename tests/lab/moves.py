# SPDX-License-Identifier: Apache-2.0
"""What instances go through that have several hosts: done and judged.

Live migration with the guest's writes going on, watched on both hosts and
attacked meanwhile; and the evacuation of a host that is cut off.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab import acts
from tests.lab import guest
from tests.lab import isolation
from tests.lab.cloud import Cloud
from tests.lab.host import Host
from tests.lab.samples import Samples
from tests.lab.storage import INSTANCES

#: Bytes a second of a migration that is to last.
_SLOW = 20_000
_FAST = 1 << 30


@contextlib.contextmanager
def watched(cloud: Cloud) -> Iterator[dict[str, Samples]]:
    """Sample all hosts as long as one is inside.

    :returns: a map that has the ``samples`` afterwards
    """
    found: dict[str, Samples] = {}
    with contextlib.ExitStack() as stack:
        lists = {
            host.name: stack.enter_context(host.watched())
            for host in cloud.hosts
        }
        yield found
    found['samples'] = Samples(lists)


def home_of(cloud: Cloud, server: Any) -> Host:
    """Give the host that an instance is on, as Nova has it."""
    name = cloud.api.compute.get_server(server.id).compute_host
    return next(host for host in cloud.hosts if host.name == name)


def other(cloud: Cloud, host: Host) -> Host:
    """Give the host that is not this one."""
    return next(each for each in cloud.hosts if each is not host)
