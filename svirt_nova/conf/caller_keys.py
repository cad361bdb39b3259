# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt_nova_allocator]: who may call the service."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

from svirt_nova.conf import service

GROUP = service.GROUP

OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        'callers',
        default='enrolled',
        choices=[
            (
                'any',
                'A call is believed to come from the host that it names, '
                'unless it is signed. Whoever reaches the bus speaks for '
                'every host.',
            ),
            (
                'enrolled',
                'The same, but for hosts that have signed a call, have had '
                'a key revoked, or were enrolled with "--bind": in their '
                'name, only what they sign is done.',
            ),
            ('signed', 'No call of computes is done that is not signed.'),
        ],
        help="""
Whose calls the service does.

The default lets a cloud go over to keys host by host, with no moment at
which a host is refused: a host is held to its key from its first signed call
on. Set it to "signed" when "svirt-nova host keys" shows a first use for every
host, and before the service starts on a store that was restored from a backup,
which has forgotten who signs. Operators' calls do not depend on it.
""",
    ),
    cfg.BoolOpt(
        'enroll_first_keys',
        default=False,
        help="""
Whether the service enrols the key of the first signed call in the name of a
host that never had a key, with a warning in its log.

This spares the work of "svirt-nova host enroll", and trusts everybody on the
bus for as long as there are hosts without keys: who is first to speak in the
name of a host has its voice, and the host itself is refused. Switch it on only
while the bus is trusted, and compare "svirt-nova host keys" with the hosts.
""",
    ),
    cfg.StrOpt(
        'service_key_file',
        help="""
The private key of the service, with which it signs its answers. All machines
of the service have the same.

"svirt-nova key create" makes it. The file must belong to the user that the
service runs as, or to root; at most its group may read it (mode 0640). It is
read again when it changes. Without it, the service does no signed call.
""",
    ),
    cfg.StrOpt(
        'service_public_key_file',
        help="""
The public keys of the service, on its callers: an answer to a signed call is
believed only if one of these has signed it.

Several keys, one after the other in the file, are valid at the same time. The
file must belong to the user that reads it, or to root, and nobody else may
write it. It is read again when it changes.
""",
    ),
    cfg.StrOpt(
        'host_key_file',
        help="""
The private key of this host, with which it signs its calls.

"svirt-nova key create" makes it. The file must belong to the user of
nova-compute, or to root; at most its group may read it (mode 0640). It is read
again when it changes. It needs ``service_public_key_file``. Unset, the calls
of this host are not signed, and it believes every answer.
""",
    ),
    cfg.StrOpt(
        'operator_key_file',
        help="""
The private key of an operator, with which "svirt-nova" signs operators' calls.

It needs ``service_public_key_file``, and the same owner and mode as the key of
a host. Keep it off compute nodes.
""",
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options about callers."""
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options about callers."""
    return [(GROUP, OPTS)]
