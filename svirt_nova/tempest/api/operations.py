# SPDX-License-Identifier: Apache-2.0
"""Operations of Nova on an instance, each of them a test.

After an operation, the tests call the methods of :class:`Checks`. Without
access to hosts they check what Nova's API shows; ``test_inside`` extends
them, and checks levels.
"""

from __future__ import annotations

from tempest.common import compute
from tempest.lib import decorators
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils

from svirt_nova.tempest.api import testcase

CONF = testcase.CONF


class Checks(testcase.InstanceTestCase):
    """The checks after an operation, by what Nova's API shows."""

    def check_running(self) -> None:
        """Check the subject, which is active or waits for a confirmation."""
        self.fail_on(self.failed_actions())

    def check_offloaded(self) -> None:
        """Check that no host has anything of the subject; it is shelved."""
        self.fail_on(self.failed_actions())

    def check_deleted(self, server_id: str) -> None:
        """Check that nothing is left of an instance that was deleted."""
        self.assertIsNone(self.show(server_id))

    def check_attached(self, volume_id: str) -> None:
        """Check the active subject, which has a volume."""
        self.check_running()

    def check_detached(self, volume_id: str) -> None:
        """Check that a volume is nobody's; the subject is stopped."""
        self.fail_on(self.failed_actions())

    def check_moved_from(self, host: str) -> None:
        """Check that a host has nothing of the subject any more.

        :param host: Nova's name of the host
        """


class Operations(Checks):
    """Operations that the owner of an instance may ask Nova for.

    Tests run in the order of their names. The names are chosen so that no
    instance has to be booted between two tests: the deletion comes last. No
    test depends on another.
    """

    @decorators.idempotent_id('5aad432f-6448-4945-8f58-83c403e8dd9b')
    def test_boot(self) -> None:
        """A new instance runs as it should."""
        # The action that created the instance must not have failed either.
        self.earlier_actions = frozenset()
        self.check_running()

    @decorators.idempotent_id('9c44d678-f699-449c-a850-77e68b59a2f3')
    def test_reboot_hard(self) -> None:
        """The instance runs as it should after a hard reboot."""
        self.servers.reboot_server(self.server_id, type='HARD')
        self.wait_until('ACTIVE')
        self.check_running()

    @decorators.idempotent_id('b655fd3d-909f-40d1-9cd8-2c830b2ed3e6')
    def test_reboot_soft(self) -> None:
        """The instance runs as it should after a soft reboot.

        Nova reboots it the hard way if the guest does not react.
        """
        self.servers.reboot_server(self.server_id, type='SOFT')
        self.wait_until('ACTIVE')
        self.check_running()

    @decorators.idempotent_id('d0029fcf-db7e-4d06-bc15-cd425f9f42e3')
    def test_rebuild(self) -> None:
        """The instance runs as it should after a rebuild, with new disks."""
        self.servers.rebuild_server(self.server_id, CONF.compute.image_ref)
        self.wait_until('ACTIVE')
        self.check_running()

    def _resize(self) -> None:
        self.skip_unless(
            CONF.compute_feature_enabled.resize,
            '[compute-feature-enabled] resize is False',
        )
        self.skip_unless(
            CONF.compute.flavor_ref != CONF.compute.flavor_ref_alt,
            '[compute] flavor_ref and flavor_ref_alt are the same',
        )
        self.renew_subject(CONF.compute.flavor_ref)
        self.servers.resize_server(self.server_id, CONF.compute.flavor_ref_alt)
        self.wait_until('VERIFY_RESIZE')
        self.check_running()

    @decorators.idempotent_id('108774e3-ac56-4cea-b911-8aaf5e579737')
    def test_resize_1_revert(self) -> None:
        """The instance runs as it should after a resize that is reverted."""
        self._resize()
        self.servers.revert_resize_server(self.server_id)
        self.wait_until('ACTIVE')
        self.check_running()

    @decorators.idempotent_id('6bdc3c33-fcbd-4155-9010-0af92b0fe63c')
    def test_resize_2_confirm(self) -> None:
        """The instance runs as it should after a resize that is confirmed."""
        self._resize()
        self.servers.confirm_resize_server(self.server_id)
        self.wait_until('ACTIVE')
        self.check_running()

    @decorators.idempotent_id('dd130193-874e-4906-b16b-8a79fbb0e49d')
    def test_shelve_unshelve(self) -> None:
        """A shelved instance leaves its host, and runs as it should later.

        It may be unshelved on any host.
        """
        self.skip_unless(
            CONF.compute_feature_enabled.shelve,
            '[compute-feature-enabled] shelve is False',
        )
        compute.shelve_server(
            self.servers, self.server_id, force_shelve_offload=True
        )
        self.wait_until('SHELVED_OFFLOADED')
        self.check_offloaded()
        self.servers.unshelve_server(self.server_id)
        self.wait_until('ACTIVE')
        self.check_running()

    @decorators.idempotent_id('cf4a3390-5abf-4f18-a7e3-bacea87b455a')
    def test_stop_start(self) -> None:
        """The instance runs as it should after it was stopped and started."""
        self.servers.stop_server(self.server_id)
        self.wait_until('SHUTOFF')
        self.servers.start_server(self.server_id)
        self.wait_until('ACTIVE')
        self.check_running()

    @decorators.idempotent_id('86153dd1-6c72-4c9e-9976-01f9eeffec3a')
    def test_volume(self) -> None:
        """The instance runs as it should with a volume, and without it.

        The volume is attached to the running guest and detached from the
        stopped one: a running guest would have to release the disk, which
        not every guest can.
        """
        self.skip_unless(
            CONF.service_available.cinder,
            '[service_available] cinder is False',
        )
        volume_id = self._create_volume()
        self.addCleanup(self._release_volume, volume_id)
        self.servers.attach_volume(self.server_id, volumeId=volume_id)
        self._wait_for_volume(volume_id, 'in-use')
        self.check_attached(volume_id)
        self.servers.stop_server(self.server_id)
        self.wait_until('SHUTOFF')
        self.servers.detach_volume(self.server_id, volume_id)
        self._wait_for_volume(volume_id, 'available')
        self._wait_until_detached()
        self.check_detached(volume_id)
        self.servers.start_server(self.server_id)
        self.wait_until('ACTIVE')
        self.check_running()

    @decorators.idempotent_id('593a4be0-3f00-4848-a88b-99d41b16b77b')
    def test_withdraw(self) -> None:
        """Nothing is left of an instance that is deleted."""
        server_id = self.server_id
        self.delete(server_id)
        type(self).subject = None
        self.check_deleted(server_id)

    # Volumes

    def _create_volume(self) -> str:
        options = {'size': CONF.volume.volume_size}
        if CONF.volume.volume_type:
            options['volume_type'] = CONF.volume.volume_type
        if CONF.compute.compute_volume_common_az:
            options['availability_zone'] = (
                CONF.compute.compute_volume_common_az
            )
        volume_id: str = self.volumes.create_volume(
            name=data_utils.rand_name(
                'svirt-nova', prefix=CONF.resource_name_prefix
            ),
            **options,
        )['volume']['id']
        self.addCleanup(self.volumes.wait_for_resource_deletion, volume_id)
        self.addCleanup(
            test_utils.call_and_ignore_notfound_exc,
            self.volumes.delete_volume,
            volume_id,
        )
        self._wait_for_volume(volume_id, 'available')
        return volume_id

    def _wait_for_volume(self, volume_id: str, status: str) -> None:
        found = ''
        for _ in testcase.poll(
            CONF.volume.build_timeout, CONF.volume.build_interval
        ):
            found = self.volumes.show_volume(volume_id)['volume']['status']
            if found == status:
                return
            if found.startswith('error'):
                self.fail(f'volume {volume_id} is {found}, not {status}')
        self.fail(
            f'volume {volume_id} is {found}, not {status}, after '
            f'{CONF.volume.build_timeout} s; see [volume] build_timeout'
        )

    def _wait_until_detached(self) -> None:
        """Wait until Nova's API shows no volume of the subject any more.

        Nova tells cinder first, and the volume is available before Nova has
        forgotten it; a start at that moment would fail.
        """
        for _ in testcase.poll(
            CONF.volume.build_timeout, CONF.volume.build_interval
        ):
            found = self.servers.list_volume_attachments(self.server_id)
            if not found['volumeAttachments']:
                return
        self.fail(
            f'server {self.server_id} still has a volume, as Nova says, '
            f'{CONF.volume.build_timeout} s after it was detached; see '
            f'[volume] build_timeout'
        )

    def _release_volume(self, volume_id: str) -> None:
        """Delete the subject if it still has the volume."""
        volume = self.volumes.show_volume(volume_id)['volume']
        if volume['status'] != 'available':
            self.delete(self.server_id)
            type(self).subject = None
            self._wait_for_volume(volume_id, 'available')


class Administration(Checks):
    """What only administrators may see and ask Nova for."""

    credentials = ['primary', 'admin']

    @classmethod
    def setup_clients(cls) -> None:
        """Name the administrator's client of Nova, too."""
        super().setup_clients()
        cls.admin_servers = cls.os_admin.servers_client
        cls.actions_client = cls.admin_servers

    def host_of(self, server_id: str) -> str:
        """Nova's name of the host that has a server."""
        host: str = self.admin_servers.show_server(server_id)['server'][
            'OS-EXT-SRV-ATTR:host'
        ]
        return host

    def destinations(self) -> list[str]:
        """The names of the hosts that are up and take instances, sorted."""
        found = self.os_admin.services_client.list_services(
            binary='nova-compute'
        )['services']
        return sorted(
            service['host']
            for service in found
            if service['state'] == 'up' and service['status'] == 'enabled'
        )

    def _choose_move(self) -> tuple[str, str]:
        """The host of the subject and another one; skips if there is none."""
        self.skip_unless(
            CONF.compute.min_compute_nodes > 1,
            '[compute] min_compute_nodes says that the cloud has one host, so '
            'instances cannot be moved',
        )
        source = self.host_of(self.server_id)
        others = [host for host in self.destinations() if host != source]
        self.skip_unless(
            others,
            f'there is no host beside {source} that is up, enabled and, where '
            f'[svirt_nova] hosts names any, named there',
        )
        return source, others[0]

    @decorators.idempotent_id('e07265c0-38fc-4de5-bd06-0d8b81c939e2')
    def test_driver(self) -> None:
        """The instance is driven by libvirt with QEMU or KVM.

        No API of Nova tells whether the class of the driver is Nova's own
        or that of svirt-nova.
        """
        with testcase.microversion('2.48'):
            shown = self.admin_servers.show_server_diagnostics(self.server_id)
        self.assertEqual('libvirt', shown['driver'])
        self.assertIn(shown['hypervisor'], ('kvm', 'qemu'))

    @decorators.idempotent_id('08578499-64c8-48c4-9c3c-e17de5dfe968')
    def test_live_migration(self) -> None:
        """The instance runs as it should after a live migration."""
        self.skip_unless(
            CONF.compute_feature_enabled.live_migration,
            '[compute-feature-enabled] live_migration is False',
        )
        source, destination = self._choose_move()
        with testcase.microversion('2.30'):
            self.admin_servers.live_migrate_server(
                self.server_id, host=destination, block_migration='auto'
            )
        self.wait_until('ACTIVE')
        self.fail_on(self.failed_actions())
        self.assertEqual(destination, self.host_of(self.server_id))
        self.check_running()
        self.check_moved_from(source)

    def _migrate(self) -> tuple[str, str]:
        self.skip_unless(
            CONF.compute_feature_enabled.cold_migration,
            '[compute-feature-enabled] cold_migration is False',
        )
        source, destination = self._choose_move()
        with testcase.microversion('2.56'):
            self.admin_servers.migrate_server(self.server_id, host=destination)
        self.wait_until('VERIFY_RESIZE')
        self.assertEqual(destination, self.host_of(self.server_id))
        self.check_running()
        return source, destination

    @decorators.idempotent_id('a91c377b-1fd2-4ce0-97c8-4cb8d697fe52')
    def test_migration_confirm(self) -> None:
        """The instance runs as it should after a confirmed cold migration."""
        source, destination = self._migrate()
        self.servers.confirm_resize_server(self.server_id)
        self.wait_until('ACTIVE')
        self.assertEqual(destination, self.host_of(self.server_id))
        self.check_running()
        self.check_moved_from(source)

    @decorators.idempotent_id('a565b1a8-d74e-462c-bf6f-0c20f1ab463d')
    def test_migration_revert(self) -> None:
        """The instance runs as it should after a reverted cold migration."""
        source, destination = self._migrate()
        self.servers.revert_resize_server(self.server_id)
        self.wait_until('ACTIVE')
        self.assertEqual(source, self.host_of(self.server_id))
        self.check_running()
        self.check_moved_from(destination)
