# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt]."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

GROUP = 'svirt'

OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        'mode',
        default='enforcing',
        choices=[
            (
                'enforcing',
                'No guest starts without a level of its own; nova-compute '
                'does not start on a host whose libvirt does not confine '
                'guests with SELinux.',
            ),
            (
                'permissive',
                'Guests get levels where that is possible. Where it is '
                'not, they start all the same and a warning names what '
                'failed: such a guest is NOT isolated by a level.',
            ),
            (
                'disabled',
                "Exactly Nova's own libvirt driver. Guests started in "
                'this mode hold no level, and levels held by instances '
                'are not given back.',
            ),
        ],
        help="""
How strictly this compute node keeps guests apart by SELinux levels.

Use permissive to try the extension out, or on hosts without SELinux, and
enforcing wherever the wall between tenants depends on it. Changing it
takes a restart of nova-compute; running guests are not touched.
""",
    ),
    cfg.StrOpt(
        'allocator',
        default='sql',
        help="""
The allocator that gives out levels, by its name in the entry point
namespace svirt_nova.allocator.

All compute nodes of a cloud must share one: levels are only unique among
the hosts that ask the same store. "sql" talks to the database given in
[svirt_database].
""",
    ),
    cfg.IntOpt(
        'cooling_time',
        default=3600,
        min=0,
        help="""
Seconds between the moment when nothing of a deleted instance is left and
the moment when its level may be given to another instance.

Covers files and processes that outlive what Nova knows of, and keeps
audit lines unambiguous for as long. It costs levels: an hour of deletions
must fit into the free part of the level space. Set it to the same value
on all hosts.
""",
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt]."""
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt]."""
    return [(GROUP, OPTS)]
