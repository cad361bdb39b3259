# SPDX-License-Identifier: Apache-2.0
"""Options of tempest.conf: the group [svirt_nova], and the service."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

GROUP = 'svirt_nova'

SERVICE_GROUP = 'service_available'
"""Tempest's own group: which services a cloud has."""

SERVICE_OPTS: Sequence[cfg.Opt] = (
    cfg.BoolOpt(
        'svirt_nova',
        default=False,
        help="""
Whether the compute nodes of this cloud run svirt-nova.

Nova's API does not show it. With False, the default, all tests of the
plugin are skipped: it comes with svirt-nova and may be installed where
another cloud is tested.
""",
    ),
)

OPTS: Sequence[cfg.Opt] = (
    cfg.DictOpt(
        'hosts',
        default={},
        help="""
The compute nodes that may be looked at, by the names that Nova has for them
("openstack compute service list"), each with where its ssh server listens:
``NAME:[USER@]ADDRESS[:PORT]``, separated by commas, such as
``compute1:192.0.2.11,compute2:root@192.0.2.12:2222,compute3:[2001:db8::3]``.

Empty, the default, only what Nova's API shows is checked: no level, process
or file is seen. A test whose instance comes to lie on a host that is not
named is skipped.
""",
    ),
    cfg.StrOpt(
        'ssh_user',
        default='root',
        help='The user of ssh on hosts for which ``hosts`` names none.',
    ),
    cfg.StrOpt(
        'ssh_key_file',
        default='',
        help="""
The private key for the hosts, a path on the machine that runs tempest. It
must need no passphrase.

Empty, the default, ssh uses what its own configuration and agent offer.
""",
    ),
    cfg.StrOpt(
        'ssh_known_hosts_file',
        default='',
        help="""
The file of known host keys, a path on the machine that runs tempest.

Empty, the default, ssh uses the files of its own configuration.
""",
    ),
    cfg.StrOpt(
        'ssh_strict_host_key_checking',
        default='yes',
        choices=[
            ('yes', 'Only hosts whose key is known are spoken to.'),
            ('accept-new', 'Keys of hosts not met before are added.'),
            (
                'no',
                'Any key is accepted: somebody between tempest and the host '
                'could answer for it.',
            ),
        ],
        help='What ssh does about the key of a host: its option '
        'StrictHostKeyChecking.',
    ),
    cfg.IntOpt(
        'ssh_connect_timeout',
        default=30,
        min=1,
        help='Seconds for ssh to connect to a host. A host that is slower '
        'counts as unreachable, which skips the tests that look at hosts.',
    ),
    cfg.StrOpt(
        'become',
        default='',
        help="""
What is put before every command on a host, to run it as root: such as
``sudo -n``. It must not ask for a password.

Empty, the default, the user of ssh must be root: labels of other users'
processes are not shown to anybody else. The commands are virsh, cat, ls and
stat, and ``manage_command`` on ``manage_host``.
""",
    ),
    cfg.IntOpt(
        'remote_timeout',
        default=60,
        min=1,
        help='Seconds for one command on a host, its connection included; '
        'the test fails when it takes longer.',
    ),
    cfg.IntOpt(
        'settle_timeout',
        default=120,
        min=0,
        help="""
Seconds within which a host must have cleaned up after Nova's API has called
an operation done: a source drops the domain of what has moved away a moment
later, and so does the host of a deleted instance.
""",
    ),
    cfg.StrOpt(
        'libvirt_uri',
        default='qemu:///system',
        help='How virsh on a host connects to libvirt: '
        '``[libvirt] connection_uri`` of its nova.conf.',
    ),
    cfg.StrOpt(
        'libvirt_run_path',
        default='/run/libvirt/qemu',
        help='The directory on a host where libvirt keeps DOMAIN.pid, the '
        'process of each running domain.',
    ),
    cfg.StrOpt(
        'instances_path',
        default='/var/lib/nova/instances',
        help='The directory of instances on a host: ``[DEFAULT] '
        'instances_path`` of its nova.conf.',
    ),
    cfg.StrOpt(
        'volumes_path',
        default='',
        help="""
A directory in which the file of a volume can be seen after the volume has
been detached, such as what a server exports by NFS.

Empty, the default, it is looked for where the host had it while it was
attached; a host that has unmounted it by then skips the check.
""",
    ),
    cfg.StrOpt(
        'volumes_host',
        default='',
        help='The host, one of ``hosts``, that has ``volumes_path``. Empty, '
        'the default, it is the one that the volume was attached on.',
    ),
    cfg.StrOpt(
        'manage_host',
        default='',
        help="""
The host, one of ``hosts``, on which the command svirt-nova is run to ask
what the allocator says.

Empty, the default, the allocator is not asked: whether it agrees with the
hosts, and whether it takes a level back, is not checked.
""",
    ),
    cfg.StrOpt(
        'manage_command',
        default='svirt-nova',
        help='The command svirt-nova on ``manage_host``: its path there, '
        'and arguments such as ``--config-file /etc/nova/nova.conf``.',
    ),
    cfg.IntOpt(
        'manage_timeout',
        default=120,
        min=1,
        help='Seconds for one run of ``manage_command``; the test fails '
        'when it takes longer.',
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options with tempest's."""
    conf.register_opts(SERVICE_OPTS, group=SERVICE_GROUP)
    conf.register_group(
        cfg.OptGroup(GROUP, title='svirt-nova: how its hosts are looked at')
    )
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options by group."""
    return [(GROUP, OPTS), (SERVICE_GROUP, SERVICE_OPTS)]
