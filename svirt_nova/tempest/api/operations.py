# SPDX-License-Identifier: Apache-2.0
"""What Nova does to an instance, each operation a test.

What is checked after an operation is for the classes that run these tests:
from outside, what Nova's API shows; where hosts may be looked at, levels.
"""

from __future__ import annotations

from tempest.common import compute
from tempest.lib import decorators
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils

from svirt_nova.tempest.api import cases

CONF = cases.CONF


class Checks(cases.InstanceTest):
    """What is looked at, to be extended by those who see more."""

    def check(self) -> None:
        """See that the subject runs as it should; it is active."""
        self.refuse(self.failed_actions())

    def check_offloaded(self) -> None:
        """See that no host has anything of the subject; it is shelved."""
        self.refuse(self.failed_actions())

    def check_gone(self, server_id: str) -> None:
        """See that nothing is left of an instance that was deleted."""
        self.assertIsNone(self.show(server_id))

    def check_attached(self, volume_id: str) -> None:
        """See that the subject runs as it should, with a volume."""
        self.check()

    def check_detached(self, volume_id: str) -> None:
        """See that a volume is nobody's; the subject is stopped."""
        self.refuse(self.failed_actions())

    def check_left(self, source: str) -> None:
        """See that a host has nothing of the subject any more.

        :param source: Nova's name of the host
        """


class Operations(Checks):
    """What the owner of an instance may have done to it.

    The names order the tests so that no instance has to be booted between
    them; none depends on another.
    """

    @decorators.idempotent_id('5aad432f-6448-4945-8f58-83c403e8dd9b')
    def test_boot(self) -> None:
        """An instance becomes active."""
        # The action that made it, too, must not have failed.
        self.known_actions = frozenset()
        self.check()

    @decorators.idempotent_id('9c44d678-f699-449c-a850-77e68b59a2f3')
    def test_reboot_hard(self) -> None:
        """A hard reboot."""
        self.servers.reboot_server(self.server, type='HARD')
        self.wait('ACTIVE')
        self.check()

    @decorators.idempotent_id('b655fd3d-909f-40d1-9cd8-2c830b2ed3e6')
    def test_reboot_soft(self) -> None:
        """A soft reboot; Nova makes it a hard one if the guest is deaf."""
        self.servers.reboot_server(self.server, type='SOFT')
        self.wait('ACTIVE')
        self.check()

    @decorators.idempotent_id('d0029fcf-db7e-4d06-bc15-cd425f9f42e3')
    def test_rebuild(self) -> None:
        """A rebuild from the same image: new disks."""
        self.servers.rebuild_server(self.server, CONF.compute.image_ref)
        self.wait('ACTIVE')
        self.check()

    def _resize(self) -> None:
        self.need(
            CONF.compute_feature_enabled.resize,
            '[compute-feature-enabled] resize is False',
        )
        self.need(
            CONF.compute.flavor_ref != CONF.compute.flavor_ref_alt,
            '[compute] flavor_ref and flavor_ref_alt are the same',
        )
        self.renew_subject(CONF.compute.flavor_ref)
        self.servers.resize_server(self.server, CONF.compute.flavor_ref_alt)
        self.wait('VERIFY_RESIZE')
        self.check()

    @decorators.idempotent_id('108774e3-ac56-4cea-b911-8aaf5e579737')
    def test_resize_1_revert(self) -> None:
        """A resize that is reverted: back where it was."""
        self._resize()
        self.servers.revert_resize_server(self.server)
        self.wait('ACTIVE')
        self.check()

    @decorators.idempotent_id('6bdc3c33-fcbd-4155-9010-0af92b0fe63c')
    def test_resize_2_confirm(self) -> None:
        """A resize that is confirmed."""
        self._resize()
        self.servers.confirm_resize_server(self.server)
        self.wait('ACTIVE')
        self.check()

    @decorators.idempotent_id('dd130193-874e-4906-b16b-8a79fbb0e49d')
    def test_shelve_unshelve(self) -> None:
        """Shelved, taken off its host, and started again anywhere."""
        self.need(
            CONF.compute_feature_enabled.shelve,
            '[compute-feature-enabled] shelve is False',
        )
        compute.shelve_server(
            self.servers, self.server, force_shelve_offload=True
        )
        self.wait('SHELVED_OFFLOADED')
        self.check_offloaded()
        self.servers.unshelve_server(self.server)
        self.wait('ACTIVE')
        self.check()

    @decorators.idempotent_id('cf4a3390-5abf-4f18-a7e3-bacea87b455a')
    def test_stop_start(self) -> None:
        """Stopped and started."""
        self.servers.stop_server(self.server)
        self.wait('SHUTOFF')
        self.servers.start_server(self.server)
        self.wait('ACTIVE')
        self.check()

    @decorators.idempotent_id('86153dd1-6c72-4c9e-9976-01f9eeffec3a')
    def test_volume(self) -> None:
        """A volume is attached to the running guest, and taken away.

        It is detached while the guest is stopped: a running one would
        have to let go of the disk, which not every guest can.
        """
        self.need(
            CONF.service_available.cinder,
            '[service_available] cinder is False',
        )
        volume_id = self._create_volume()
        self.addCleanup(self._take_away, volume_id)
        self.servers.attach_volume(self.server, volumeId=volume_id)
        self._wait_for_volume(volume_id, 'in-use')
        self.check_attached(volume_id)
        self.servers.stop_server(self.server)
        self.wait('SHUTOFF')
        self.servers.detach_volume(self.server, volume_id)
        self._wait_for_volume(volume_id, 'available')
        self._wait_until_detached()
        self.check_detached(volume_id)
        self.servers.start_server(self.server)
        self.wait('ACTIVE')
        self.check()

    @decorators.idempotent_id('593a4be0-3f00-4848-a88b-99d41b16b77b')
    def test_withdraw(self) -> None:
        """An instance is deleted."""
        server_id = self.server
        self.delete(server_id)
        type(self).subject = None
        self.check_gone(server_id)

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
        for _ in cases.poll(
            CONF.volume.build_timeout, CONF.volume.build_interval
        ):
            found = self.volumes.show_volume(volume_id)['volume']['status']
            if found == status:
                return
            if found.startswith('error'):
                break
        self.fail(f'volume {volume_id} is {found}, not {status}')

    def _wait_until_detached(self) -> None:
        """Wait until Nova has no volume of the subject any more.

        It lets cinder know first; a start at that moment would fail.
        """
        for _ in cases.poll(
            CONF.volume.build_timeout, CONF.volume.build_interval
        ):
            found = self.servers.list_volume_attachments(self.server)
            if not found['volumeAttachments']:
                return
        self.fail(f'server {self.server} still has a volume, for Nova')

    def _take_away(self, volume_id: str) -> None:
        """Delete the subject, if it still has the volume."""
        volume = self.volumes.show_volume(volume_id)['volume']
        if volume['status'] != 'available':
            self.delete(self.server)
            type(self).subject = None
            self._wait_for_volume(volume_id, 'available')


class Administration(Checks):
    """What an administrator may have done to an instance, and sees of it."""

    credentials = ['primary', 'admin']

    @classmethod
    def setup_clients(cls) -> None:
        """Name the administrator's client, too."""
        super().setup_clients()
        cls.admin_servers = cls.os_admin.servers_client
        cls.witness = cls.admin_servers

    def host_of(self, server_id: str) -> str:
        """Nova's name of the host that has a server."""
        host: str = self.admin_servers.show_server(server_id)['server'][
            'OS-EXT-SRV-ATTR:host'
        ]
        return host

    def destinations(self) -> list[str]:
        """Hosts that are up and take instances, by their names in order."""
        found = self.os_admin.services_client.list_services(
            binary='nova-compute'
        )['services']
        return sorted(
            service['host']
            for service in found
            if service['state'] == 'up' and service['status'] == 'enabled'
        )

    def _choose_move(self) -> tuple[str, str]:
        """The host of the subject, and another one."""
        self.need(
            CONF.compute.min_compute_nodes > 1,
            '[compute] min_compute_nodes says that the cloud has one host: '
            'there is nowhere to go',
        )
        source = self.host_of(self.server)
        others = [host for host in self.destinations() if host != source]
        self.need(
            others,
            f'no host but {source} is up, enabled and, where [svirt_nova] '
            f'hosts names any, named there',
        )
        return source, others[0]

    @decorators.idempotent_id('e07265c0-38fc-4de5-bd06-0d8b81c939e2')
    def test_driver(self) -> None:
        """The instance is libvirt's.

        Which class drives it, Nova's own or ours, no API of Nova tells.
        """
        with cases.microversion('2.48'):
            shown = self.admin_servers.show_server_diagnostics(self.server)
        self.assertEqual('libvirt', shown['driver'])
        self.assertIn(shown['hypervisor'], ('kvm', 'qemu'))

    @decorators.idempotent_id('08578499-64c8-48c4-9c3c-e17de5dfe968')
    def test_live_migration(self) -> None:
        """The running guest goes to another host."""
        self.need(
            CONF.compute_feature_enabled.live_migration,
            '[compute-feature-enabled] live_migration is False',
        )
        source, destination = self._choose_move()
        with cases.microversion('2.30'):
            self.admin_servers.live_migrate_server(
                self.server, host=destination, block_migration='auto'
            )
        self.wait('ACTIVE')
        self.refuse(self.failed_actions())
        self.assertEqual(destination, self.host_of(self.server))
        self.check()
        self.check_left(source)

    def _migrate(self) -> tuple[str, str]:
        self.need(
            CONF.compute_feature_enabled.cold_migration,
            '[compute-feature-enabled] cold_migration is False',
        )
        source, destination = self._choose_move()
        with cases.microversion('2.56'):
            self.admin_servers.migrate_server(self.server, host=destination)
        self.wait('VERIFY_RESIZE')
        self.assertEqual(destination, self.host_of(self.server))
        self.check()
        return source, destination

    @decorators.idempotent_id('a91c377b-1fd2-4ce0-97c8-4cb8d697fe52')
    def test_migration_confirm(self) -> None:
        """A cold migration to another host that is confirmed."""
        source, destination = self._migrate()
        self.servers.confirm_resize_server(self.server)
        self.wait('ACTIVE')
        self.assertEqual(destination, self.host_of(self.server))
        self.check()
        self.check_left(source)

    @decorators.idempotent_id('a565b1a8-d74e-462c-bf6f-0c20f1ab463d')
    def test_migration_revert(self) -> None:
        """A cold migration that is reverted: back where it was."""
        source, destination = self._migrate()
        self.servers.revert_resize_server(self.server)
        self.wait('ACTIVE')
        self.assertEqual(source, self.host_of(self.server))
        self.check()
        self.check_left(destination)
