# SPDX-License-Identifier: Apache-2.0
"""The disk image of an SELinux-enforcing Debian 12 host."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache
from tests.lab import processes
from tests.lab import wheels
from tests.lab.progress import LabError
from tests.lab.progress import Progress

RELEASE = 'bookworm'
#: Debian packages of a host. Named to apt, not to debootstrap, which cannot
#: choose between alternatives such as those of dbus and logind.
PACKAGES = (
    'attr',
    'auditd',
    'dbus',
    'genisoimage',
    'initramfs-tools',
    'iproute2',
    'libpam-systemd',
    'libvirt-clients',
    'libvirt-daemon-system',
    'linux-image-cloud-amd64',
    'nfs-common',
    'nfs-kernel-server',
    'openssh-server',
    'ovmf',
    'policycoreutils',
    'policycoreutils-python-utils',
    'python3-libvirt',
    'python3-selinux',
    'qemu-system-x86',
    'qemu-utils',
    'selinux-basics',
    'selinux-policy-default',
    'systemd-sysv',
    'udev',
)
_DISK = '8G'
#: In the order in which semodule gets them: the lab's own, the project's.
_MODULES = (
    cache.HERE / 'policy.cil',
    cache.CHECKOUT / 'etc/selinux/svirt_nova.cil',
)
_LABEL = (
    'mount -t proc proc "$1/proc"; exec chroot "$1" setfiles -F -e /proc '
    '-e /sys -e /dev /etc/selinux/default/contexts/files/file_contexts /'
)
# Units that cost an emulated host time and give the lab nothing.
_MASKED = (
    'apt-daily-upgrade.timer',
    'apt-daily.timer',
    'dev-hugepages.mount',
    'dev-mqueue.mount',
    'dpkg-db-backup.timer',
    'e2scrub_all.timer',
    'e2scrub_reap.service',
    'fstrim.timer',
    'getty@tty1.service',
    'libvirt-guests.service',
    'logrotate.timer',
    'modprobe@.service',
    'nfs-blkmap.service',
    'nfs-client.target',
    'nfs-server.service',
    'remote-fs.target',
    'rpc-statd-notify.service',
    'rpcbind.service',
    'rpcbind.socket',
    'run-rpc_pipefs.mount',
    'serial-getty@ttyS0.service',
    'sys-fs-fuse-connections.mount',
    'sys-kernel-config.mount',
    'sys-kernel-debug.mount',
    'sys-kernel-tracing.mount',
    'systemd-journald-audit.socket',
    'systemd-logind.service',
    'systemd-update-utmp.service',
)
_FILES = {
    'etc/fstab': '/dev/vda / ext4 rw,noatime 0 0\n',
    'etc/hosts': '127.0.0.1 localhost\n',
    'etc/selinux/config': 'SELINUX=permissive\nSELINUXTYPE=default\n',
    'etc/systemd/network/10-lab.network': (
        '[Match]\nName=eth0\n\n[Network]\nAddress=10.0.2.15/24\n'
        'Gateway=10.0.2.2\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n'
    ),
    'etc/ssh/sshd_config.d/lab.conf': (
        'PermitRootLogin prohibit-password\nPasswordAuthentication no\n'
        'UseDNS no\nGSSAPIAuthentication no\nMaxSessions 30\n'
    ),
    # As Debian starts libvirtd, it ends after two minutes without a client.
    'etc/systemd/system/libvirtd.service.d/lab.conf': (
        '[Service]\nEnvironment=LIBVIRTD_ARGS=\n'
    ),
    # By this socket everybody, each QEMU among them, may list the domains of
    # the host and read their XML. It is closed as the guide says.
    'etc/systemd/system/libvirtd-ro.socket.d/svirt-nova.conf': (
        '[Socket]\nSocketMode=0660\nSocketGroup=libvirt\n'
    ),
}


@dataclass(frozen=True)
class Image:
    """A built image: what a host boots from."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The raw root file system; never written after it was built."""
        return self.directory / 'root.img'

    @property
    def kernel(self) -> Path:
        """The kernel of the image."""
        return self.directory / 'vmlinuz'

    @property
    def initrd(self) -> Path:
        """The initial RAM disk of the image."""
        return self.directory / 'initrd'

    @property
    def ssh_key(self) -> Path:
        """The private key that opens root's account in the image."""
        return self.directory / 'ssh_key'

    @property
    def present(self) -> bool:
        """Whether the image is complete; the directory comes in one move."""
        return self.disk.exists()


def current() -> Image:
    """Name the image that this checkout wants, built or not."""
    key = cache.key(Path(__file__), *_MODULES, wheels.key())
    return Image(cache.root() / f'image-{key}')


def build_tree(progress: Progress, log: Path) -> Path:
    """Install Debian into a new directory, with its SELinux policy.

    The packages come from the sources that the machine's own apt has.

    :returns: the directory, to be given to ``assemble``
    """
    cache.drop_others('tree-*', cache.root())
    tree = Path(tempfile.mkdtemp(prefix='tree-', dir=cache.root()))
    tree.chmod(0o755)
    sources = _apt_sources()
    env = dict(os.environ, DEBIAN_FRONTEND='noninteractive', LC_ALL='C')
    with progress.step('host image: debootstrap'):
        processes.run(
            [
                'debootstrap',
                '--variant=minbase',
                RELEASE,
                tree,
                sources[0].split()[0],
            ],
            log=log,
            timeout=600,
            env=env,
        )
    with progress.step('host image: Debian packages'):
        _copy_apt_settings(tree, sources)
        policy = tree / 'usr/sbin/policy-rc.d'
        policy.write_text('#!/bin/sh\nexit 101\n')
        policy.chmod(0o755)
        chroot = ['chroot', str(tree)]
        apt = [*chroot, 'apt-get', '-q', '-y']
        processes.run([*apt, 'update'], log=log, timeout=300, env=env)
        processes.run(
            [*apt, 'install', '--no-install-recommends', *PACKAGES],
            log=log,
            timeout=1200,
            env=env,
        )
        processes.run([*apt, 'clean'], log=log, timeout=60, env=env)
        policy.unlink()
        shutil.rmtree(tree / 'var/lib/apt/lists')
        _configure(tree)
    with progress.step('host image: SELinux policy modules'):
        # A module has the name of its file.
        names = ('svirt_lab.cil', 'svirt_nova.cil')
        for source, name in zip(_MODULES, names, strict=True):
            shutil.copy(source, tree / 'root' / name)
        processes.run(
            [
                *(*chroot, 'semodule', '-n'),
                *(word for name in names for word in ('-i', f'/root/{name}')),
            ],
            log=log,
            timeout=300,
            env=env,
        )
    return tree


def assemble(tree: Path, image: Image, progress: Progress, log: Path) -> None:
    """Make the image from a tree and the venv; the tree goes away.

    Files are labelled before the file system is made: mke2fs copies the
    labels, and the host needs no first boot to set them.
    """
    with progress.step('host image: environment, labels, file system'):
        inside = tree / str(cache.VENV).lstrip('/')
        # Hosts get the project's own files at every run. What an earlier run
        # left here would stay beside them.
        wheels.remove_project(log)
        shutil.copytree(cache.VENV, inside, symlinks=True)
        # libvirt's and SELinux's bindings are Debian's, in the host alone.
        settings = inside / 'pyvenv.cfg'
        settings.write_text(
            settings.read_text().replace(
                'include-system-site-packages = false',
                'include-system-site-packages = true',
            )
        )
        new = Path(tempfile.mkdtemp(prefix='new-', dir=cache.root()))
        processes.run(
            [
                'ssh-keygen',
                '-q',
                '-t',
                'ed25519',
                '-N',
                '',
                '-C',
                'svirt-nova lab',
                '-f',
                new / 'ssh_key',
            ],
            log=log,
            timeout=60,
        )
        authorized = tree / 'root/.ssh/authorized_keys'
        authorized.parent.mkdir(mode=0o700)
        authorized.write_text((new / 'ssh_key.pub').read_text())
        for name, pattern in (
            ('vmlinuz', 'vmlinuz-*'),
            ('initrd', 'initrd.img-*'),
        ):
            [found] = (tree / 'boot').glob(pattern)
            shutil.copy(found, new / name)
        # setfiles reaches files by /proc/self/fd; the mount ends with it.
        processes.run(
            ['unshare', '--mount', 'sh', '-ec', _LABEL, 'label', tree],
            log=log,
            timeout=300,
        )
        processes.run(
            [
                'mke2fs',
                '-q',
                '-t',
                'ext4',
                '-d',
                tree,
                new / 'root.img',
                _DISK,
            ],
            log=log,
            timeout=300,
        )
        (new / 'root.img').chmod(0o444)
        image.directory.parent.mkdir(parents=True, exist_ok=True)
        new.rename(image.directory)
        shutil.rmtree(tree)
    cache.drop_others('image-*', image.directory)
    cache.drop_others('new-*', image.directory)


def _apt_sources() -> list[str]:
    """Give the machine's own Debian sources: URI, suite, component."""
    answer = subprocess.run(
        [
            'apt-get',
            'indextargets',
            '--format',
            '$(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)',
            'Created-By: Packages',
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found: list[str] = []
    for line in answer.stdout.splitlines():
        codename, _, source = line.partition(' ')
        wanted = (RELEASE, f'{RELEASE}-updates', f'{RELEASE}-security')
        if (
            codename in wanted
            and source.endswith(' main')
            and source not in found
        ):
            # debootstrap's mirror is the first.
            found.insert(0 if codename == RELEASE else len(found), source)
    if not found:
        raise LabError(
            f'apt on this machine knows no source of {RELEASE}; '
            'add one below /etc/apt and run apt-get update'
        )
    return found


def _copy_apt_settings(tree: Path, sources: list[str]) -> None:
    (tree / 'etc/apt/sources.list').write_text(
        ''.join(f'deb {source}\n' for source in sources)
    )
    dump = subprocess.run(
        ['apt-config', 'dump'], capture_output=True, text=True, check=True
    ).stdout
    (tree / 'etc/apt/apt.conf.d/99lab').write_text(
        ''.join(
            f'{line}\n'
            for line in dump.splitlines()
            if line.startswith('Acquire::') and 'IndexTargets' not in line
        )
    )
    shutil.copytree(
        '/etc/ssl/certs', tree / 'etc/ssl/certs', dirs_exist_ok=True
    )


def _configure(tree: Path) -> None:
    for name, text in _FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    units = tree / 'etc/systemd/system'
    for unit in _MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to('/dev/null')
    (units / 'default.target').symlink_to(
        '/lib/systemd/system/multi-user.target'
    )
    wanted = units / 'multi-user.target.wants'
    wanted.mkdir(exist_ok=True)
    (wanted / 'systemd-networkd.service').symlink_to(
        '/lib/systemd/system/systemd-networkd.service'
    )
    for name in ('nova', 'svirt-nova'):
        (tree / 'etc' / name).mkdir()
        (tree / 'var/lib' / name).mkdir()
    (tree / 'var/lib/nova/instances').mkdir()
    for name in (
        'etc/cinder',
        'var/lib/cinder',
        'srv/volumes',
        'srv/instances',
    ):
        (tree / name).mkdir()
    (tree / 'var/log/nova').mkdir()
    # Without the driver a host would run guests unconfined; no domain of
    # libvirt's own network is ever needed.
    conf = tree / 'etc/libvirt/qemu.conf'
    conf.write_text(conf.read_text() + '\nsecurity_driver = "selinux"\n')
    # libvirt starts every QEMU that it finds, to ask for its capabilities.
    (tree / 'usr/bin/qemu-system-i386').unlink()
    # For migrations, in a network that only hosts of the lab have.
    conf = tree / 'etc/libvirt/libvirtd.conf'
    conf.write_text(conf.read_text() + '\nauth_tcp = "none"\n')
    (tree / 'etc/libvirt/qemu/networks/autostart/default.xml').unlink(
        missing_ok=True
    )
    # A logind session for each command costs an emulated host a second.
    session = tree / 'etc/pam.d/common-session'
    session.write_text(
        ''.join(
            line
            for line in session.read_text().splitlines(keepends=True)
            if 'pam_systemd.so' not in line
        )
    )
