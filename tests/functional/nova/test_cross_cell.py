# SPDX-License-Identifier: Apache-2.0
"""A resize into another cell: two records of one instance, one level."""

from __future__ import annotations

import os

import nova.conf
from nova import context
from nova import objects
from nova.compute import task_states
from nova.policies import base as base_policies
from nova.policies import servers as server_policies

from tests.functional.nova import two_hosts

CONF = nova.conf.CONF


def _snapshot(driver, context, instance, image_id, update_task_state):
    update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
    update_task_state(
        task_state=task_states.IMAGE_UPLOADING,
        expected_state=task_states.IMAGE_PENDING_UPLOAD,
    )


class CrossCellTest(two_hosts.TwoHosts):
    NUMBER_OF_CELLS = 2
    cells = {'here': 'cell1', 'there': 'cell2'}

    def setUp(self):
        super().setUp()
        self.flags(rpc_response_timeout=10, long_rpc_timeout=60)
        self.policy.set_rules(
            {server_policies.CROSS_CELL_RESIZE: base_policies.RULE_ADMIN_API},
            overwrite=False,
        )
        self.host_fixture._patch(
            'nova.virt.libvirt.driver.LibvirtDriver.snapshot', _snapshot
        )

    def _resized(self):
        server = self._boot()
        # Nova's fake makes no files; what the source keeps is its disk.
        os.makedirs(os.path.join(CONF.instances_path, server['id']))
        self.api.put_service(self._service('here'), {'status': 'disabled'})
        self._resize_server(server, self._create_flavor(vcpu=1))
        self.assertEqual(
            'there', self.api.get_server(server['id'])['OS-EXT-SRV-ATTR:host']
        )
        self._assert_held(server, 'here', 'there')
        self._assert_runs_at_its_level(server, 'there')
        return server

    def _is_in_cell_of(self, server, host):
        mapping = self.cell_mappings[self.cells[host]]
        with context.target_cell(context.get_admin_context(), mapping) as cell:
            return bool(
                objects.InstanceList.get_by_filters(
                    cell, {'uuid': server['id'], 'deleted': False}
                )
            )

    def test_a_confirmed_resize_leaves_the_other_cells_claim(self):
        server = self._resized()

        self.api.post_server_action(server['id'], {'confirmResize': None})
        self._wait_for_state_change(server, 'ACTIVE')
        self._wait_for_instance_action_event(
            server,
            'confirmResize',
            'conductor_confirm_snapshot_based_resize',
            'success',
        )

        self.assertFalse(self._is_in_cell_of(server, 'here'))
        self._assert_held(server, 'there')
        self._assert_runs_at_its_level(server, 'there')
        # The row that the source cell has lost is no sign of a deletion.
        for host in ('here', 'there'):
            self._reconcile_host(host)
        self._reap()
        self._assert_held(server, 'there')

    def test_a_reverted_resize_leaves_the_first_cells_claim(self):
        server = self._resized()
        self.api.put_service(self._service('here'), {'status': 'enabled'})

        self._revert_resize(server)

        self.assertFalse(self._is_in_cell_of(server, 'there'))
        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')
        for host in ('here', 'there'):
            self._reconcile_host(host)
        self._reap()
        self._assert_held(server, 'here')

    def test_deleting_a_resized_server_cools_its_level(self):
        server = self._resized()

        self._delete_server(server)

        for host in ('here', 'there'):
            self._reconcile_host(host)
        self._reap()
        self._assert_cooling(server)
