# SPDX-License-Identifier: Apache-2.0
"""How compute hosts are reached, and where things are on them."""

from __future__ import annotations

import dataclasses
import re
import shlex
from typing import Any

from svirt_nova import exception

_TARGET = re.compile(
    r'(?:(?P<user>[^@]+)@)?'
    r'(?:\[(?P<bracketed>[^\]]+)\]|(?P<address>[^:\[\]]+))'
    r'(?::(?P<port>[0-9]{1,5}))?'
)
# Neither of them accepts what ssh could take for an option or a command.
_USER = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')
_ADDRESS = re.compile(r'[A-Za-z0-9:][A-Za-z0-9:.%_-]*')


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where the ssh server of a host listens.

    :param port: its port; None for the one that ssh's configuration has
    :param user: the user there; None for the one that all hosts share
    """

    address: str
    port: int | None = None
    user: str | None = None

    def __str__(self) -> str:
        if self.port is None:
            return self.address
        return f'{self.address} port {self.port}'

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``[USER@]ADDRESS[:PORT]``.

        An IPv6 address is given in brackets.

        :raises InvalidOption: the text is not of that form
        """
        match = _TARGET.fullmatch(text.strip())
        if match is not None:
            address = match['bracketed'] or match['address']
            port = None if match['port'] is None else int(match['port'])
            user = match['user']
            if (
                _ADDRESS.fullmatch(address)
                and (port is None or 0 < port < 65536)
                and (user is None or _USER.fullmatch(user))
            ):
                return cls(address, port, user)
        raise exception.InvalidOption(
            f'[svirt_nova] hosts in tempest.conf: {text!r} is not of the form '
            f'[USER@]ADDRESS[:PORT], such as root@192.0.2.11:22'
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """How hosts are reached, and where things are on them.

    :param user: the user of ssh on targets that name none
    :param key_file: the path of the private key; empty for those that ssh's
        configuration and agent offer
    :param known_hosts: the path of the file with the known keys of hosts;
        empty for those of ssh's configuration
    :param strict: ssh's option StrictHostKeyChecking: yes, accept-new or no
    :param connect_timeout: seconds that ssh may take to connect
    :param timeout: seconds for a command, including the connection
    :param become: the words before a command that run it as root
    :param libvirt_uri: the URI that virsh connects to
    :param run_path: the directory where libvirt keeps DOMAIN.pid
    :param instances_path: Nova's directory of instances
    :param program: the ssh program, a name or a path
    """

    user: str = 'root'
    key_file: str = ''
    known_hosts: str = ''
    strict: str = 'yes'
    connect_timeout: int = 30
    timeout: int = 60
    become: tuple[str, ...] = ()
    libvirt_uri: str = 'qemu:///system'
    run_path: str = '/run/libvirt/qemu'
    instances_path: str = '/var/lib/nova/instances'
    program: str = 'ssh'

    def arguments(self, target: Target, command: str) -> list[str]:
        """The words of the ssh command.

        :param command: the line that the shell on the host is given
        """
        options = {
            'BatchMode': 'yes',
            'ConnectTimeout': self.connect_timeout,
            'LogLevel': 'ERROR',
            'StrictHostKeyChecking': self.strict,
        }
        if self.known_hosts:
            options['UserKnownHostsFile'] = self.known_hosts
        words = [self.program, '-T', '-x']
        for name, value in options.items():
            words += ['-o', f'{name}={value}']
        if target.port is not None:
            words += ['-p', str(target.port)]
        if self.key_file:
            words += ['-o', 'IdentitiesOnly=yes', '-i', self.key_file]
        words += ['-l', target.user or self.user]
        return [*words, '--', target.address, command]


def configured(options: Any) -> Access:
    """How hosts are reached, from the group [svirt_nova] of tempest.conf."""
    return Access(
        user=options.ssh_user,
        key_file=options.ssh_key_file,
        known_hosts=options.ssh_known_hosts_file,
        strict=options.ssh_strict_host_key_checking,
        connect_timeout=options.ssh_connect_timeout,
        timeout=options.remote_timeout,
        become=tuple(shlex.split(options.become)),
        libvirt_uri=options.libvirt_uri,
        run_path=options.libvirt_run_path,
        instances_path=options.instances_path,
    )
