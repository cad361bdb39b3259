# SPDX-License-Identifier: Apache-2.0
"""Options of tempest.conf: the group [svirt_nova], and the service."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

GROUP = 'svirt_nova'

SERVICE_GROUP = 'service_available'
"""Tempest's own group, which says what services a cloud has."""

SERVICE_OPTS: Sequence[cfg.Opt] = (
    cfg.BoolOpt(
        'svirt_nova',
        default=False,
        help="""
Whether the compute nodes of this cloud run svirt-nova.

Nova's API does not show it. With False, the default, all tests of the
plugin are skipped: the plugin is installed with svirt-nova, possibly on a
machine that tests another cloud.
""",
    ),
)

OPTS: Sequence[cfg.Opt] = (
    cfg.DictOpt(
        'hosts',
        default={},
        help="""
The compute nodes that may be looked at. Each is given by the name that Nova
has for it ("openstack compute service list") and by the address where its
ssh server listens: ``NAME:[USER@]ADDRESS[:PORT]``, separated by commas, such
as
``compute1:192.0.2.11,compute2:root@192.0.2.12:2222,compute3:[2001:db8::3]``.

If this is empty, the default, only what Nova's API shows is checked: no
level, process or file is looked at. A test whose instance is on a host that
is not named is skipped.
""",
    ),
    cfg.StrOpt(
        'ssh_user',
        default='root',
        help='The user of ssh on the hosts for which ``hosts`` names no user.',
    ),
    cfg.StrOpt(
        'ssh_key_file',
        default='',
        help="""
The private key for the hosts, a path on the machine that runs tempest. The
key must have no passphrase.

If this is empty, the default, ssh uses the keys that its own configuration
and its agent offer.
""",
    ),
    cfg.StrOpt(
        'ssh_known_hosts_file',
        default='',
        help="""
The file with the known keys of the hosts, a path on the machine that runs
tempest.

If this is empty, the default, ssh uses the files that its own configuration
names.
""",
    ),
    cfg.StrOpt(
        'ssh_strict_host_key_checking',
        default='yes',
        choices=[
            ('yes', 'ssh connects only to hosts whose key is known.'),
            (
                'accept-new',
                'ssh accepts the key of a host that it does not know, and '
                'adds it to the known ones.',
            ),
            (
                'no',
                'ssh accepts any key: somebody between tempest and the host '
                'could answer in the place of the host.',
            ),
        ],
        help='How ssh checks the key of a host. This is the option '
        'StrictHostKeyChecking of ssh.',
    ),
    cfg.IntOpt(
        'ssh_connect_timeout',
        default=30,
        min=1,
        help='Seconds that ssh may take to connect to a host. A host that '
        'takes longer counts as unreachable, and then all tests that look at '
        'hosts are skipped.',
    ),
    cfg.StrOpt(
        'become',
        default='',
        help="""
The words that are put before every command on a host to run it as root, such
as ``sudo -n``. They must not ask for a password.

If this is empty, the default, the user of ssh must be root, since the kernel
shows the label of a process to no other user than its own and root. The
commands are virsh, cat, ls and stat, and ``manage_command`` on
``manage_host``.
""",
    ),
    cfg.IntOpt(
        'remote_timeout',
        default=60,
        min=1,
        help='Seconds that one command on a host may take, including the '
        'connection. The test fails when it takes longer.',
    ),
    cfg.IntOpt(
        'settle_timeout',
        default=120,
        min=0,
        help="""
Seconds within which a host must clean up after Nova's API shows an operation
as done. The source of a migration and the host of a deleted instance drop the
domain and the claim a moment later than that.
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
        help='The directory on a host where libvirt keeps a file DOMAIN.pid '
        'with the process ID of each running domain.',
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
been detached, such as the directory that an NFS server exports.

If this is empty, the default, the file is looked for where the host had it
while the volume was attached. The check is skipped if the host does not show
it there any more, because it has unmounted the share.
""",
    ),
    cfg.StrOpt(
        'volumes_host',
        default='',
        help='The host, one of ``hosts``, that has ``volumes_path``. If this '
        'is empty, the default, it is the host of the instance.',
    ),
    cfg.StrOpt(
        'manage_host',
        default='',
        help="""
The host, one of ``hosts``, on which the command svirt-nova is run to ask the
allocator.

If this is empty, the default, the allocator is not asked. Then it is not
checked whether the allocator agrees with the hosts and takes the level of a
deleted instance back.
""",
    ),
    cfg.StrOpt(
        'manage_command',
        default='svirt-nova',
        help='The command svirt-nova on ``manage_host``: its path on that '
        'host, with arguments such as ``--config-file /etc/nova/nova.conf``.',
    ),
    cfg.IntOpt(
        'manage_timeout',
        default=120,
        min=1,
        help='Seconds that one run of ``manage_command`` may take. The test '
        'fails when it takes longer.',
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options beside those of tempest."""
    conf.register_opts(SERVICE_OPTS, group=SERVICE_GROUP)
    conf.register_group(
        cfg.OptGroup(GROUP, title='How tempest looks at hosts of svirt-nova')
    )
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options by group."""
    return [(GROUP, OPTS), (SERVICE_GROUP, SERVICE_OPTS)]
