# SPDX-License-Identifier: Apache-2.0
"""What Nova calls the instances whose UUIDs the store knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import printing

if TYPE_CHECKING:
    from svirt_nova.lifecycle import compute_api

_MOST_NAMES = 200
_MOST_WAIT = 10.0


class InstanceNames:
    """The names of instances, as far as Nova tells them.

    Without credentials, or once Nova has given no answer, there are none.

    :param tell: takes the sentence that says why there are none
    """

    def __init__(
        self, conf: cfg.ConfigOpts, tell: Callable[[str], None]
    ) -> None:
        self._conf = conf
        self._tell = tell
        self._api: compute_api.ComputeApi | None = None
        self._is_silent = False
        self._names: dict[str, str | None] = {}

    def of(self, instance_uuid: str) -> str | None:
        """The name of an instance; None if it is not known."""
        if instance_uuid in self._names:
            return self._names[instance_uuid]
        if self._is_silent or len(self._names) >= _MOST_NAMES:
            return None
        try:
            found = self._ask(instance_uuid)
        except exception.SvirtError as error:
            self._is_silent = True
            self._tell(
                'The names of instances are left out: '
                f'{printing.printable(error)}'
            )
            return None
        self._names[instance_uuid] = found
        return found

    def _ask(self, instance_uuid: str) -> str | None:
        if self._api is None and not _is_configured(self._conf):
            self._is_silent = True
            return None
        # keystoneauth is slow to import.
        from svirt_nova.lifecycle import compute_api

        if self._api is None:
            self._api = compute_api.load(self._conf, _MOST_WAIT)
        server = self._api.find(instance_uuid)
        return None if server is None else server.name


def _is_configured(conf: cfg.ConfigOpts) -> bool:
    from svirt_nova.conf import compute_api

    return compute_api.is_configured(conf)
