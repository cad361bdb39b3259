# SPDX-License-Identifier: Apache-2.0
"""Two hosts, and what becomes of the level of one server."""

from __future__ import annotations

from nova import context
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base

from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.lifecycle import rules
from tests.functional.nova import confined

_ALL = (
    fakelibvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
    | fakelibvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE
)


class TwoHosts(confined.ConfinedMixin, base.ServersTestBase):
    api_major_version = 'v2.1'
    microversion = 'latest'
    ADMIN_API = True
    cells: dict[str, str] = {}

    def setUp(self):
        super().setUp()
        # Nova compares the instance's host with the one in its
        # configuration, which is that of the last to start.
        for host in ('there', 'here'):
            self.start_compute(host, cell_name=self.cells.get(host))

    def _make_instances_movable(self):
        """Have no files copied by a resize or a cold migration."""

        def power_off(driver, context, instance, *args, **kwargs):
            driver._destroy(instance)
            return '{}'

        for name, new in (
            ('migrate_disk_and_power_off', power_off),
            ('_is_path_shared_with', lambda *args: False),
        ):
            self.host_fixture._patch(
                f'nova.virt.libvirt.driver.LibvirtDriver.{name}', new
            )

    def _boot(self, host='here', **kwargs):
        server = self._create_server(networks='none', host=host, **kwargs)
        self.level = self.allocator.get(server['id']).level
        return server

    def _domains(self, host):
        connection = self.computes[host].driver._host.get_connection()
        return {d.UUIDString(): d for d in connection.listAllDomains(_ALL)}

    def _assert_held(self, server, *hosts):
        """The level is the first, and these hosts alone claim it."""

        def check():
            held = self.allocator.get(server['id'])
            self.assertEqual(self.level, held.level)
            self.assertIs(types.State.HELD, held.state)
            self.assertEqual(set(hosts), set(held.hosts))

        self._settled(check)

    def _assert_runs_at_its_level(self, server, host):
        label = domain_xml.read(self._domains(host)[server['id']].XMLDesc(0))
        self.assertEqual(self.level, label.label.level)
        self.assertTrue(label.is_static)

    def _assert_cooling(self, server):
        def check():
            allocation = self.allocator.get(server['id'])
            self.assertEqual(self.level, allocation.level)
            self.assertIs(types.State.COOLING, allocation.state)

        self._settled(check)

    def _reconcile_host(self, host):
        reconciler = self.computes[host].driver._extension.reconciler
        reconciler._stale = rules.StaleClaims(0)
        reconciler.reconcile()

    def _run_task(self, host, name):
        getattr(self.computes[host].manager, name)(context.get_admin_context())

    def _service(self, host):
        return self.api.get_services(host=host, binary='nova-compute')[0]['id']

    def _force_down(self, host, is_down):
        self.api.put_service_force_down(self._service(host), is_down)

    def _go_down(self, host):
        self.computes[host].stop()
        self._force_down(host, True)

    def _come_back(self, host):
        self.restart_compute_service(host)
        self._force_down(host, False)
