# SPDX-License-Identifier: Apache-2.0
"""Storage that hosts share: NFS 4.2, which carries SELinux labels.

The label of a file is the server's; what a client sets on the mounted file
is set on the exported one.
"""

from __future__ import annotations

import shlex

from tests.lab.machine import Machine
from tests.lab.machine import NETWORK

#: Where Nova keeps instances.
INSTANCES = '/var/lib/nova/instances'
#: What a server exports: the directories of instances, and volumes.
SHARED_INSTANCES = '/srv/instances'
VOLUMES = '/srv/volumes'
_MOUNT_OPTIONS = 'vers=4.2'
#: Nova puts another directory in the place of an instance's when it resizes
#: it. A client that remembers names goes on with the one that was there: it
#: would run, and label, the source's copy of the disk (acdirmax).
_INSTANCES_OPTIONS = f'{_MOUNT_OPTIONS},lookupcache=none'
#: Seconds for which a client that is cut off keeps its locks at least.
_LEASE = 10
#: Seconds for which a client believes what it has seen of a file, such as its
#: label (acregmax).
ATTRIBUTES = 60


def serve(server: Machine) -> None:
    """Export the directories to the machines' own network."""
    server.write(
        '/etc/exports',
        ''.join(
            f'{path} {NETWORK}(rw,no_root_squash,insecure,no_subtree_check,'
            'security_label)\n'
            for path in (SHARED_INSTANCES, VOLUMES)
        ),
    )
    # By systemd, because the policy lets no shell start these.
    prepare = (
        'modprobe nfsd; mount -t nfsd nfsd /proc/fs/nfsd; '
        'for name in lease grace; do '
        f'echo {_LEASE} > /proc/fs/nfsd/nfsv4${{name}}time; done; exportfs -ra'
    )
    server.run(
        f'systemd-run -q --wait sh -c {shlex.quote(prepare)}; '
        'systemd-run -q rpc.mountd -F -N 2 -N 3; '
        'systemd-run -q --wait rpc.nfsd -N 3 -V 4.2 4'
    )


def mount_instances(client: Machine, server: Machine) -> None:
    """Put the server's directory where Nova keeps instances."""
    client.run(
        'systemd-run -q --wait mount -t nfs -o '
        f'{_INSTANCES_OPTIONS} {server.address}:{SHARED_INSTANCES} '
        f'{INSTANCES}; '
        f'grep " {INSTANCES} " /proc/mounts'
    )


def expire(server: Machine, client: Machine) -> None:
    """Take all its locks from a client that is cut off.

    When its lease has run out, the server keeps them until another client
    asks for one, and refuses that one while it still counts the lost client
    among those that are there (a "courteous server" of Linux).
    """
    # By systemd, because the policy lets no shell write there.
    expel = (
        'for client in /proc/fs/nfsd/clients/*; do '
        f"""grep -q 'address: "{client.address}:' $client/info || continue; """
        'echo expire > $client/ctl && expelled=yes; '
        'done; test -n "$expelled"'
    )
    server.run(f'systemd-run -q --wait sh -c {shlex.quote(expel)}')


def volumes_share(server: Machine) -> str:
    """Name the exported volumes for cinder's list of shares."""
    return f'{server.address}:{VOLUMES} -o {_MOUNT_OPTIONS}'
