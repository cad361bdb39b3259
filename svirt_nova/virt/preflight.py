# SPDX-License-Identifier: Apache-2.0
"""Asks of a host what nova-compute would ask, without starting it.

``svirt-nova-status upgrade check`` and ``svirt-nova host check`` make the
same checks: the first those that nova-compute makes when it starts, the
second also those of what instances need later.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterator
from collections.abc import Sequence

import nova.conf
from nova import utils as nova_utils
from nova.virt.libvirt import driver  # noqa: F401 - registers its options
from oslo_privsep import priv_context

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import base_labels
from svirt_nova.host import file_labels
from svirt_nova.host import guest_labels
from svirt_nova.host import image_contexts
from svirt_nova.host import kernel
from svirt_nova.host import libvirtd
from svirt_nova.host import policy
from svirt_nova.host import rows
from svirt_nova.virt import conductor
from svirt_nova.virt import confinement
from svirt_nova.virt import policy_watch
from svirt_nova.virt import storage_checks
from svirt_nova.virt import store_scope

CONF = nova.conf.CONF
_DRIVER = 'svirt_nova.SvirtLibvirtDriver'

DRIVER = 'driver in use'
KERNEL = 'kernel'
LIBVIRT = 'libvirt'
POLICY = 'policy'
USER = "QEMU's user"
BOOLEANS = 'booleans'
HELPER = 'privileged helper'
SOCKET = 'read-only socket'
SCOPE = 'one store'
MEMORY = 'what Nova remembers'


class Preflight:
    """The checks of this host.

    :param arguments: which configuration files to read, as nova-compute is
        given them
    :raises oslo_config.cfg.Error: they cannot be read
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        svirt_nova.conf.register_opts(CONF)
        CONF([*arguments], project='nova', prog='nova-compute')

    # What nova-compute checks when it starts

    def of_start(self) -> Iterator[rows.Row]:
        """What would keep nova-compute from starting in enforcing mode."""
        yield self.driver()
        yield self.kernel()
        yield self.libvirt()
        yield self.policy()

    def driver(self) -> rows.Row:
        """Whether nova-compute uses svirt-nova."""
        if CONF.compute_driver == _DRIVER:
            return rows.right(DRIVER, _DRIVER)
        return rows.wrong(
            DRIVER,
            f'[DEFAULT] compute_driver is {CONF.compute_driver}: only with '
            f'{_DRIVER} does nova-compute use svirt-nova. Set it, and '
            f'restart nova-compute',
            is_fatal=False,
        )

    def kernel(self) -> rows.Row:
        """Whether the kernel enforces a policy with categories."""
        try:
            kernel.check_enforcing()
        except exception.SvirtError as error:
            return rows.wrong(KERNEL, error)
        return rows.right(KERNEL, 'it enforces a policy with categories')

    def libvirt(self) -> rows.Row:
        """Whether libvirt answers, and confines guests with SELinux."""
        virt_type = CONF.libvirt.virt_type
        try:
            process = base_labels.context(self._capabilities, virt_type)
            image = image_contexts.writable()
        except exception.SvirtError as error:
            return rows.wrong(LIBVIRT, error)
        return rows.right(
            LIBVIRT,
            f'guests of the type {virt_type} run as {process}, and '
            f'their disks carry {image}',
        )

    def policy(self) -> rows.Row:
        """Whether the loaded policy keeps guests apart."""
        try:
            kernel.check_enforcing()
            confined = self.confined()
        except exception.SvirtError:
            return rows.unknown(
                POLICY,
                'it is not asked before kernel and libvirt confine guests',
            )
        return rows.of_problems(
            POLICY, policy_watch.PolicyWatch(confined).problems()
        )

    # What instances need later

    def of_host(self) -> Iterator[rows.Row]:
        """What else keeps guests apart, or lets them start."""
        yield self.user()
        yield self.booleans()
        yield self.helper()
        yield storage_checks.instances_path()
        yield storage_checks.volumes()
        yield self.socket()
        yield self.scope()

    def user(self) -> rows.Row:
        """Whether guests run as a user that may do little."""
        try:
            user = base_labels.user(self._capabilities, CONF.libvirt.virt_type)
        except exception.SvirtError:
            return rows.unknown(USER, 'libvirt does not say it')
        if user is None:
            return rows.unknown(USER, 'libvirt names none')
        if user == 0:
            return rows.wrong(
                USER,
                'QEMU runs as root, so that SELinux alone keeps a guest from '
                'the files of this host. Set user and group in '
                '/etc/libvirt/qemu.conf to those of the distribution '
                '(libvirt-qemu on Debian, qemu on RPM distributions), and '
                'restart libvirt',
                is_fatal=False,
            )
        return rows.right(USER, f'guests run as the user {user}')

    def booleans(self) -> rows.Row:
        """Whether a boolean opens storage to every guest."""
        return rows.of_problems(
            BOOLEANS,
            [
                policy.Problem(policy.describe_boolean(name), is_fatal=False)
                for name in kernel.open_storage()
            ],
        )

    def helper(self) -> rows.Row:
        """Whether the helper starts that labels files.

        It is asked about a file that does not exist, of which it does
        nothing.
        """
        # As nova.cmd.compute.main does.
        priv_context.init(
            root_helper=shlex.split(nova_utils.get_root_helper())
        )
        name = f'.svirt-nova-host-check-{os.getpid()}'
        path = os.path.join(CONF.instances_path, name)
        try:
            file_labels.restore(CONF.instances_path, path, [])
        except exception.SvirtError as error:
            return rows.wrong(HELPER, error)
        if os.geteuid() == 0:
            return rows.right(
                HELPER,
                'root may start it. Run this as the user of nova-compute to '
                'know whether that one may',
            )
        return rows.right(HELPER, 'it starts')

    def socket(self) -> rows.Row:
        """Whether every process may read the XML of every guest."""
        return rows.of_problems(
            SOCKET,
            [
                policy.Problem(
                    f'every process of this host may connect to {path}, and '
                    f'read the XML of all guests; so may QEMU, where the '
                    f'policy lets it. Set unix_sock_ro_perms = "0770" in '
                    f'/etc/libvirt/libvirtd.conf or virtqemud.conf (with '
                    f'systemd SocketMode=0770 in the unit of the socket), and '
                    f'restart libvirt',
                    is_fatal=False,
                )
                for path in libvirtd.open_sockets()
            ],
        )

    def scope(self) -> rows.Row:
        """Whether the store of this host can be that of the cloud."""
        try:
            path = store_scope.sqlite_file(CONF)
            if path is None:
                return rows.right(SCOPE, 'hosts share it')
            store_scope.check_storage(path)
        except exception.SvirtError as error:
            return rows.wrong(SCOPE, error)
        try:
            conductor.ask(
                functools.partial(store_scope.check, CONF, CONF.host)
            )
        except exception.ComputeApiError as error:
            return rows.unknown(
                SCOPE,
                f'it is not known whether the SQLite store of this host is '
                f'the only one. {error}',
            )
        except exception.SvirtError as error:
            return rows.wrong(SCOPE, error)
        return rows.right(SCOPE, f'{path} serves the only host')

    # What guests are compared with

    def confined(self) -> confinement.Confinement:
        """The contexts that guests of this host get.

        :raises SvirtError: libvirt or the policy name none
        """
        return confinement.named_by(self._capabilities, CONF.libvirt.virt_type)

    def domains(self) -> list[guest_labels.Domain]:
        """The domains of this host.

        :raises LibvirtUnreachable: libvirt does not answer
        """
        with libvirtd.connected(self._uri) as connection:
            return [*libvirtd.domains(connection)]

    def remembered(
        self,
    ) -> tuple[dict[str, types.InstanceLevels | None] | None, rows.Row]:
        """What Nova remembers of the levels of this host's instances.

        :returns: nothing where Nova does not answer; and what to say of that
        """
        try:
            found = conductor.ask(
                functools.partial(conductor.remembered_levels, CONF.host)
            )
        except exception.SvirtError as error:
            return None, rows.unknown(MEMORY, error)
        return found, rows.right(
            MEMORY, f'Nova has {len(found)} instances on this host'
        )

    @property
    def _uri(self) -> str:
        return CONF.libvirt.connection_uri or libvirtd.SYSTEM

    @functools.cached_property
    def _capabilities(self) -> str:
        """The capabilities of libvirt on this host.

        :raises LibvirtUnreachable: libvirt does not answer
        """
        with libvirtd.connected(self._uri) as connection:
            capabilities: str = connection.getCapabilities()
            return capabilities
