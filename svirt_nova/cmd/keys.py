# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova key``, and the keys of ``host`` and ``operator``.

Keys are enrolled in the database itself, on a machine that has its password:
no call on the bus enrols a key for somebody else.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterable
from typing import Any
from typing import ClassVar

from cliff import lister
from cliff import show

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import enrolled_keys
from svirt_nova.cmd import command
from svirt_nova.cmd import store_check

_RPC = 'rpc'
_COLUMNS = (
    'Owner',
    'Public Key',
    'Enrolled',
    'First Used',
    'Revoked',
    'From First Call',
    'Binds',
)


def _describe(
    found: Iterable[enrolled_keys.EnrolledKey],
) -> list[tuple[Any, ...]]:
    return [
        (
            each.owner,
            each.public_key,
            command.Moment(each.enrolled_at),
            command.Moment(each.used_at),
            command.Moment(each.revoked_at),
            each.is_first_call,
            each.binds,
        )
        for each in found
    ]


class Create(command.Command, show.ShowOne):
    """Make a key pair for a host, an operator or the service.

    The private key is written to FILE, which its owner alone can read: run
    this as the user that uses the key, such as that of nova-compute. The
    public key, which is no secret, is written to FILE.pub.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The file."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'file', metavar='FILE', help='Where the private key is to be.'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Make the files."""
        # cryptography is slow to import, and every command of the program
        # imports this module.
        from svirt_nova.allocator.rpc import key_files

        path = pathlib.Path(parsed_args.file)
        name = key_files.make(path)
        return ('Public Key', 'Private Key File', 'Public Key File'), (
            name,
            str(path),
            f'{path}.pub',
        )


class _Keys(command.Command):
    """What the commands about enrolled keys have in common."""

    role: ClassVar[enrolled_keys.Role]

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The owner."""
        parser = super().get_parser(prog_name)
        self.add_owner(parser)
        return parser

    def add_owner(self, parser: argparse.ArgumentParser) -> None:
        """Add the argument that names the owner."""
        parser.add_argument(
            'owner',
            metavar='NAME',
            help='The name of the host, as Nova has it (nova.conf: "host").'
            if self.role is enrolled_keys.Role.HOST
            else 'The name of the operator; it is used for nothing else.',
        )

    def keys(self) -> enrolled_keys.EnrolledKeys:
        """The keys in the database of this machine.

        :raises InvalidOption: this machine has none, and asks the service
        """
        conf = self.app.conf
        name = conf.svirt.allocator
        if name == _RPC:
            name = conf.svirt_nova_allocator.driver
            if not store_check.exists(conf, name):
                raise exception.InvalidOption(
                    'there is no store of levels on this machine, which asks '
                    'the allocator service ([svirt] allocator = rpc): run '
                    'this command where the service has its database'
                )
        return base.load(conf, name).enrolled_keys()


class _Enroll(_Keys, lister.Lister):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The owner and the public key."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--key',
            required=True,
            metavar='FILE',
            help='The file of the public key, which "svirt-nova key create" '
            'has made: FILE.pub.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Enrol the key.

        :raises InvalidOption: the file has not one public key
        """
        from svirt_nova.allocator.rpc import key_files

        found = key_files.read_sent(parsed_args.key)
        if len(found) != 1:
            raise exception.InvalidOption(
                f'the file {parsed_args.key} has {len(found)} public keys: '
                f'give a file with one'
            )
        keys = self.keys()
        keys.enroll(
            self.role,
            parsed_args.owner,
            found[0],
            is_binding=self.is_binding(parsed_args),
        )
        return _COLUMNS, _describe(keys.list(self.role, parsed_args.owner))

    def is_binding(self, parsed_args: argparse.Namespace) -> bool:
        """Whether the owner is to sign all calls from now on."""
        return False


class _List(_Keys, lister.Lister):
    def add_owner(self, parser: argparse.ArgumentParser) -> None:
        """Add nothing: all are listed."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Read the keys."""
        return _COLUMNS, _describe(self.keys().list(self.role))


class _Revoke(_Keys, lister.Lister):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The owner, and which key."""
        parser = super().get_parser(prog_name)
        chosen = parser.add_mutually_exclusive_group(required=True)
        chosen.add_argument(
            '--key',
            metavar='PUBLIC_KEY',
            help='The public key, as it is listed. One that begins with a '
            'hyphen is given as --key=-...',
        )
        chosen.add_argument(
            '--all', action='store_true', help='All keys of the owner.'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Revoke the keys.

        :raises InvalidOption: the owner has no such key that is not revoked
        """
        keys, owner = self.keys(), parsed_args.owner
        if not keys.revoke(self.role, owner, parsed_args.key):
            raise exception.InvalidOption(
                f'nothing was revoked: the {self.role} {owner} has '
                f'no such key that is valid; see "svirt-nova {self.role} '
                f'keys"'
            )
        return _COLUMNS, _describe(keys.list(self.role, owner))


class HostEnroll(_Enroll):
    """Enrol the public key of a host: the service believes what it signs.

    A host may have two keys at a time, so that one can follow the other. As
    soon as it has signed a call, or at once with --bind, the service refuses
    calls in its name that are not signed.
    """

    role = enrolled_keys.Role.HOST

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The owner, the public key, and what becomes of unsigned calls."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--bind',
            action='store_true',
            help='Refuse calls in the name of the host that are not signed '
            'from now on: for a host that does not call yet, or that signs '
            'its calls already. For a key that is enrolled, too.',
        )
        return parser

    def is_binding(self, parsed_args: argparse.Namespace) -> bool:
        """Whether the option is given."""
        return bool(parsed_args.bind)


class HostKeys(_List):
    """List the keys of all hosts, revoked ones included."""

    role = enrolled_keys.Role.HOST


class HostRevoke(_Revoke):
    """Refuse a key of a host, or all of them, at once and for ever.

    The service then also refuses calls in the name of the host that are not
    signed, whether it has signed one before or not. Its guests run on.
    """

    role = enrolled_keys.Role.HOST


class OperatorEnroll(_Enroll):
    """Enrol the public key of an operator, whose calls are about all hosts."""

    role = enrolled_keys.Role.OPERATOR


class OperatorKeys(_List):
    """List the keys of all operators, revoked ones included."""

    role = enrolled_keys.Role.OPERATOR


class OperatorRevoke(_Revoke):
    """Refuse a key of an operator, or all of them, at once and for ever."""

    role = enrolled_keys.Role.OPERATOR
