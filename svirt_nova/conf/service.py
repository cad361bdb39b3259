# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt_nova_allocator]: the allocator service."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

GROUP = 'svirt_nova_allocator'

OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        'transport_url',
        secret=True,
        help="""
The message bus of the allocator service, as an oslo.messaging URL.

Unset, it is Nova's own: ``[DEFAULT] transport_url``.
""",
    ),
    cfg.StrOpt(
        'operator_transport_url',
        secret=True,
        help="""
The message bus of operators' commands: another virtual host.

Operators may reserve and retire levels, drop the claims of any host and
change the level space. The service does these calls only if they come over a
virtual host of their own, which the credentials of a compute do not reach, or
if they are signed with the key of an operator (``operator_key_file``). The
name of the virtual host must be another one than in ``transport_url``: another
user, server, port or node of a cluster is not enough. Unset, their bus is that
of ``transport_url``.
""",
    ),
    cfg.StrOpt(
        'topic',
        default='svirt-nova-allocator',
        help="The topic of computes' calls; that of operators' calls is "
        'this and "-operator".',
    ),
    cfg.FloatOpt(
        'call_timeout',
        default=45.0,
        min=1.0,
        help="""
Seconds to wait for an answer of the service, before the call is made again
or given up.

It must exceed twice the service's ``[svirt_database] call_timeout``. The
service refuses a call that has waited inside of it for half of this time, so
that a call is only carried out while its caller still waits for the answer.
""",
    ),
    cfg.IntOpt(
        'call_retries',
        default=1,
        min=0,
        help='How often a call without an answer is made again.',
    ),
    cfg.StrOpt(
        'driver',
        default='sql',
        help='Where the service keeps levels: the name of an allocator '
        'driver other than rpc.',
    ),
    cfg.BoolOpt(
        'computes_retire',
        default=True,
        help="""
Whether computes may say that an instance is gone for good, where the service
has no credentials for Nova (``[svirt_nova_api]``).

If they may, a level cools as soon as the one host that claims it gives it
back, and whoever has the credentials of that host can free it. If not, the
service only drops the host's claim, and levels of deleted instances come free
by ``svirt-nova reap`` alone. That is why it is on by default: without Nova's
word, nothing else frees levels in time.

A service that has credentials for Nova believes no compute, whatever this
option says. It asks Nova as soon as the last claim on an instance is dropped.
""",
    ),
    cfg.IntOpt(
        'host_claim_limit',
        default=4096,
        min=0,
        mutable=True,
        help="""
How many instances a host can claim at a time. 0: as many as it likes.

The default is far above what one host runs. A host that reaches it is refused
further instances, also those that have a level and move to it, until it gives
others back; the instances that it claims are answered as before. As many
levels of running guests can a host record in an hour, when the store does not
have them. A warning names the host from 80 % on.
""",
    ),
    cfg.IntOpt(
        'host_level_rate',
        default=120,
        min=0,
        mutable=True,
        help="""
How many levels a host can get in a minute for instances that have none. 0: as
many as it likes.

The default is far above what nova-compute builds
(``max_concurrent_builds``). Starts of instances that have a level do not
count. The processes of the service count together, but each tells the others
only now and then: a host can get somewhat more. A warning names the host from
80 % on.
""",
    ),
    cfg.BoolOpt(
        'known_hosts_only',
        default=False,
        help="""
Whether a host claims instances only if Nova lists its compute service.

It needs the credentials in ``[svirt_nova_api]``. The service asks Nova for its
compute services every five minutes, and at once for a host that it does not
know, but no more than every ten seconds. While Nova does not answer, the
hosts are known that the store remembers of its cloud. It is off by default
because such a claim then depends on Nova's API.
""",
    ),
    cfg.IntOpt(
        'workers',
        default=2,
        min=1,
        help='How many processes of the service answer calls.',
    ),
    cfg.IntOpt(
        'reap_interval',
        default=3600,
        min=0,
        help="""
Seconds between two looks of the service for levels of instances that Nova
says are gone, as ``svirt-nova reap`` has them. 0: never. A service that has
the credentials also asks, within seconds, about each instance whose last claim
is dropped.

Each look asks Nova three times, a minute apart, or this long if that is
shorter. It needs the credentials in ``[svirt_nova_api]``. Several instances of
the service may do it at once.
""",
    ),
    cfg.IntOpt(
        'forget_hosts_after',
        default=7 * 24 * 3600,
        min=0,
        mutable=True,
        help="""
Seconds after which claims of a host are dropped that is gone. 0: never.

A host is gone for so long if Nova has not listed it, or has never, and it has
not called either. Its claims on an instance are dropped only when Nova says
that the instance is gone, and when no other host claims the instance; then the
level cools. ``svirt-nova reap`` reads this option, too.
""",
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt_nova_allocator]."""
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt_nova_allocator]."""
    return [(GROUP, OPTS)]
