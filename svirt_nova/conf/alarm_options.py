# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt_alarm]: the alarm on a compute node."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

GROUP = 'svirt_alarm'

OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        'source',
        default='file',
        choices=[
            (
                'file',
                'The log of auditd (``audit_log``) is followed, also over '
                'its rotations and over restarts of the alarm.',
            ),
            (
                'journal',
                'The journal is followed, by means of journalctl. This is '
                'for hosts where no auditd runs.',
            ),
            (
                'stdin',
                'Lines are read from standard input, as a plugin of auditd '
                'gets them. What auditd writes while the alarm does not run '
                'is not seen.',
            ),
        ],
        help='Where denials are read.',
    ),
    cfg.StrOpt(
        'audit_log',
        default='/var/log/audit/audit.log',
        help="""
The log of auditd.

The alarm must be able to read it, and to list its directory: give the user of
the alarm the group that ``log_group`` in auditd.conf names.
""",
    ),
    cfg.StrOpt(
        'state_path',
        default='/var/lib/nova/svirt-nova-alarm.json',
        help="""
Where the alarm keeps how far it has read, and what it has not told yet.

The user of the alarm must be able to write into the directory. Without the
file, the alarm begins at the end of the log.
""",
    ),
    cfg.FloatOpt(
        'quiet_time',
        default=60.0,
        min=1.0,
        max=3600.0,
        help="""
Seconds for which further denials of a guest are counted before they are told,
in one alarm.

A guest can make a million denials. Its first one is told at once. While it
goes on, the time doubles with each alarm, up to an hour. What is worse than
all that was told of a guest is told at once.
""",
    ),
    cfg.FloatOpt(
        'name_timeout',
        default=1.0,
        min=0.0,
        max=60.0,
        help="""
Seconds for which an alarm waits for the allocator to name the instances.

An alarm without names is better than one that comes late.
""",
    ),
    cfg.StrOpt(
        'on_attack',
        default='alarm',
        choices=[
            ('alarm', 'The attack is told, and nothing else is done.'),
            (
                'pause',
                'The guest is suspended, too: its processors stop, and it '
                'keeps its memory. An operator looks at it, and resumes it '
                'or ends it.',
            ),
        ],
        help="""
What is done with a guest that was refused what is another project's, or
another guest's whose project cannot be named.

libvirt suspends a guest by asking its QEMU process, which is the one that is
accused: a process that an attacker has taken over need not obey. What does not
ask it is to freeze its control group (``systemctl freeze`` with the scope of
the machine), to end it (``virsh destroy``), and to cut its network off; but
these lose what the guest has in memory, or are beyond the reach of the user of
the alarm. The user of the alarm needs the right to manage guests with libvirt,
and whoever can write the log that is read can have a guest suspended. Only
guests with a static label are, and not for denials that are older than a
minute.
""",
    ),
    cfg.StrOpt(
        'libvirt_uri',
        default='qemu:///system',
        help='The libvirt that suspends guests.',
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt_alarm]."""
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt_alarm]."""
    return [(GROUP, OPTS)]
