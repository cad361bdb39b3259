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
The message bus of operators' commands, such as another virtual host.

Operators may reserve and retire levels, drop the claims of any host and
change the level space. These calls have a topic of their own. If they also
have a bus of their own, the credentials of a compute do not reach them. Unset,
their bus is that of ``transport_url``.
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
Whether computes may say that an instance is gone for good.

If they may, a level cools as soon as the one host that claims it gives it
back. If not, the service only drops the host's claim, and retires the level
itself when Nova's API says that the instance is gone (``reap_interval``): then
a stolen credential of a compute cannot free a level.
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
says are gone, as ``svirt-nova reap`` has them. 0: never.

Each look asks Nova three times, a minute apart, or this long if that is
shorter. It needs the credentials in ``[svirt_nova_api]``. Several instances of
the service may do it at once.
""",
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt_nova_allocator]."""
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt_nova_allocator]."""
    return [(GROUP, OPTS)]
