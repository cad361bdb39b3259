# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt]."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg
from oslo_config import types

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
[svirt_database]; "rpc" asks the service svirt-nova-allocator, as
[svirt_nova_allocator] has it.
""",
    ),
    cfg.IntOpt(
        'cooling_time',
        default=3600,
        min=0,
        help="""
Seconds between the moment when nothing of a deleted instance is left and
the moment when its level may be given to another instance.

The time covers files and processes that outlive what Nova knows, and keeps
audit lines unambiguous for as long. It costs levels: the deletions of this
time must fit into the free part of the level space. Set it to the same value
on all hosts.
""",
    ),
    cfg.IntOpt(
        'history_time',
        default=31536000,
        min=0,
        help="""
Seconds for which the allocator remembers who had a level, after the level
has come free; a year by default.

An audit line names a level and a time: ``svirt-nova label history`` tells
whose it was then.
""",
    ),
    cfg.ListOpt(
        'fill_marks',
        item_type=types.Integer(min=0, max=100),
        default=[80, 90, 95, 99],
        help="""
Shares of the level space, in per cent, at which a warning is logged.

When the space is full, new instances are refused. Each process that gives
out levels warns once at each mark, by the levels that it believes taken.
""",
    ),
    cfg.StrOpt(
        'unlabeled_storage',
        default='refuse',
        choices=[
            (
                'refuse',
                'The operation fails with a fault that names the file and '
                'its file system.',
            ),
            (
                'warn',
                'A warning names them, and the guest starts: QEMU processes '
                'of other instances on the host may open these files.',
            ),
        ],
        help="""
What to do with a disk file on storage that cannot carry SELinux labels,
such as NFS exported without security_label.

libvirt itself reports success there, so that svirt-nova reads the label back.
The option matters only if [svirt] mode is enforcing: in permissive mode such a
file is always a warning.
""",
    ),
    cfg.StrOpt(
        'on_violation',
        default='log',
        choices=[
            ('log', 'An error in the log names the instance.'),
            (
                'pause',
                'The CPUs of the guest are paused, too, so that nothing is '
                'lost. Its QEMU process stays, with the label that it has.',
            ),
            ('stop', 'The guest is powered off, too.'),
        ],
        help="""
What to do, in enforcing mode, with a guest that runs at another level than
its instance holds.

Every start, and every arrival of a live migration, is checked by itself, and
what fails there never runs on. This is for what a reconciliation finds
running nevertheless, such as a guest that was started behind Nova's back. By
default nothing that runs is touched, because the store may be wrong: after an
old backup of it was restored, it is the guests that are right. Guests from
before svirt-nova are never touched while their instances hold no level.

It is the QEMU process that pauses its guest: one that was taken over may go
on, or not answer. Only "stop" ends it.
""",
    ),
    cfg.StrOpt(
        'private_images',
        default='isolate',
        choices=[
            (
                'isolate',
                'No guest of another project can read an image that is not '
                'public or community. In the level scheme "project", the '
                'instances of the project that owns the image share its '
                'file. All other instances of such an image get a copy of '
                'it, without a backing file.',
            ),
            (
                'open',
                'Instances share the file of their image as Nova has it: '
                'QEMU processes of all instances on the host may read it.',
            ),
        ],
        help="""
What to do with the files of private and shared images in the image cache.

A copy takes no time and no space where the file system can share blocks, such
as XFS. Elsewhere it takes the size of the image, and its time; the log shows
the progress. Nova's image service is asked once for each disk that is made. If
it gives no answer, the instance gets a copy. Disks that exist are not changed.
Set the option to the same value on all hosts.
""",
    ),
    cfg.BoolOpt(
        'adopt_running_guests',
        default=False,
        help="""
Whether nova-compute records, when it starts, the levels that running
guests from before svirt-nova have now, as "svirt-nova adopt" does.

If such a level clashes with no other level of the cloud, it becomes the
instance's own: nothing is relabelled, and the guest can be migrated live. If
it clashes, the log names the instance, which gets a level of its own at its
next hard reboot. Switch the option on for as long as there are such guests.
""",
    ),
    cfg.IntOpt(
        'reconcile_interval',
        default=600,
        min=0,
        help="""
Seconds between two comparisons of what this host claims with the domains
and directories that it has. It is compared when nova-compute starts, too.

A comparison drops claims that a crash or a lost connection left over, and
adds missing ones. With 0, claims are compared at start and once more after
``claim_grace``, so that levels of instances that are deleted later may stay
claimed for as long as nova-compute runs.
""",
    ),
    cfg.IntOpt(
        'claim_grace',
        default=600,
        min=60,
        help="""
Seconds for which this host must have had nothing of an instance before
its claim counts as stale.

An operation claims an instance before it writes anything, and this time must
be longer than that takes, which is seconds. Until it has passed, the level of
an instance that was deleted behind Nova's back does not come free.
""",
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt]."""
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt]."""
    return [(GROUP, OPTS)]
