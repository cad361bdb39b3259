# SPDX-License-Identifier: Apache-2.0
"""Neutron's part on a lab host: ports bound to bare tap devices.

An ML2 mechanism driver without an agent. Nova makes the tap device
(``nova.virt.libvirt.vif``, VIF_TYPE_TAP), as for networking-calico; the
guests get ports, addresses and metadata from Neutron and talk to nobody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neutron_lib import constants
from neutron_lib.plugins.ml2 import api

NAME = 'svirt_nova_lab_tap'


class TapMechanismDriver(api.MechanismDriver):
    """Binds every port of a local network, on any host, as active."""

    def initialize(self) -> None:
        """Nothing to set up."""

    def bind_port(self, context: Any) -> None:
        """Bind to the first segment; the port is active from then on."""
        for segment in context.segments_to_bind:
            context.set_binding(
                segment[api.ID],
                'tap',
                {'port_filter': False},
                status=constants.PORT_STATUS_ACTIVE,
            )
            return


def write_entry_point(directory: Path) -> None:
    """Make a distribution that names the driver, for Python's path.

    Neutron loads mechanism drivers by entry point alone.
    """
    info = directory / 'svirt_nova_lab-0.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: svirt-nova-lab\nVersion: 0\n'
    )
    (info / 'entry_points.txt').write_text(
        '[neutron.ml2.mechanism_drivers]\n'
        f'{NAME} = tests.lab.tap:TapMechanismDriver\n'
    )
