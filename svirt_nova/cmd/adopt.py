# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova adopt``: record the levels of guests from before."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator
from typing import Any

from cliff import lister
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.cmd import command

CONNECT = 'qemu:///system'

# Nova's own option, in nova.conf.netconf.
_HOST = cfg.StrOpt('host')


class Adopt(command.Command, lister.Lister):
    """Record the levels that this host's running guests have now.

    This is for guests that were started before svirt-nova. If the level of a
    guest clashes with no other level of the cloud, it becomes the instance's
    own. Nothing is relabelled or restarted. Guests whose level clashes are
    listed, and the command ends with 1: hard-reboot their instances to give
    them levels of their own. It is safe to run the command again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The host and its libvirt."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--host',
            help='The name of this host, as Nova has it (default: that of '
            "nova.conf, or else the machine's).",
        )
        parser.add_argument(
            '--connect',
            default=CONNECT,
            metavar='URI',
            help=f'The libvirt to ask (default: {CONNECT}).',
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command.

        :raises LevelTaken: levels of some guests clash; they are listed
        """
        self._clashes = 0
        status = super().run(parsed_args)
        if self._clashes:
            raise exception.LevelTaken(
                f'{self._clashes} guests were not adopted: hard-reboot '
                f'their instances to give them levels of their own'
            )
        return status

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask libvirt, then tell the allocator."""
        # The XML parser is slow to import.
        from svirt_nova.lifecycle import adoption

        outcomes = adoption.adopt(
            self.allocator(),
            parsed_args.host or _host(self.app.conf),
            _running(parsed_args.connect),
        )
        self._clashes = sum(bool(o.problem) for o in outcomes)
        names = ('Instance', 'Level', 'Outcome')
        return names, [
            (o.instance_uuid, str(o.level), o.problem or 'adopted')
            for o in outcomes
        ]


def _host(conf: cfg.ConfigOpts) -> str:
    conf.register_opt(_HOST)
    return conf.host or socket.gethostname()


def _running(uri: str) -> Iterator[str]:
    """The XML of the running domains.

    :raises LibvirtUnreachable: libvirt does not answer
    """
    import libvirt

    from svirt_nova.host import libvirtd

    with libvirtd.connected(uri) as connection:
        for domain in connection.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        ):
            try:
                xml = domain.XMLDesc()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    continue
                raise
            yield xml
