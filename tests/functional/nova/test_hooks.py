# SPDX-License-Identifier: Apache-2.0
"""A Nova that does not call the driver as it expects runs nobody unconfined.

Each method that the driver overrides has in turn another name in Nova, or
another parameter, or is there and not called.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import typing
from unittest import mock

import fixtures
import nova.conf
from nova import context
from nova import exception as nova_exception
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import driver as libvirt_driver

from svirt_nova.host import domain_xml
from svirt_nova.virt import driver as svirt_driver
from svirt_nova.virt import hooks
from tests.functional.nova import two_hosts

CONF = nova.conf.CONF
NOVAS = libvirt_driver.LibvirtDriver
OURS = svirt_driver.SvirtLibvirtDriver

#: What calls each method: see :class:`NotCalledTest`.
BOOT = ('init_host', 'spawn', '_create_guest', '_get_volume_config')
RESTARTS = (
    '_hard_reboot',
    '_soft_reboot',
    'resume',
    '_suspend_guest_for_snapshot',
    '_resume_guest_after_snapshot',
    '_connect_volume',
    '_disconnect_volume',
    '_create_images_and_backing',
    'rescue',
    'get_available_resource',
)
COLD_MIGRATION = (
    'finish_migration',
    'confirm_migration',
    '_needs_rebase_original_qcow2_image',
)
LIVE_MIGRATION = (
    'pre_live_migration',
    'emit_event',
    'post_live_migration_at_destination',
    'live_migration',
    '_live_migration_operation',
    'post_live_migration_at_source',
)
END = ('destroy', 'cleanup', 'delete_instance_files')
#: These start no guest, but copy, merge and extend disks of one that runs.
COPIES = (
    '_live_snapshot',
    '_volume_snapshot_create',
    '_volume_snapshot_delete',
    '_rebase_with_qemu_img',
    '_resize_attached_encrypted_volume',
)
#: Nor do these, which fetch an image, read a console, measure disks and tell
#: the scheduler what this host can do.
OTHERS = (
    'update_provider_tree',
    'cache_image',
    'get_console_output',
    '_get_instance_disk_info_from_config',
)


@contextlib.contextmanager
def renamed(name):
    """Let Nova's method have another name, in the driver and above it."""
    with contextlib.ExitStack() as stack:
        for owner in NOVAS.__mro__:
            if name in vars(owner):
                function = vars(owner)[name]
                stack.enter_context(
                    mock.patch.object(
                        owner, f'{name}_of_old', function, create=True
                    )
                )
                stack.callback(setattr, owner, name, function)
                delattr(owner, name)
        yield


@contextlib.contextmanager
def with_another_parameter(hook):
    """Let Nova's method take something that the driver does not expect."""
    found = list(inspect.signature(getattr(NOVAS, hook.name)).parameters)
    place = 1
    if hook.compared is hooks.Parameters.LAST:
        place = len(found)
    found.insert(place, 'another')
    changed = eval(f'lambda {", ".join(found)}: None')
    with mock.patch.object(NOVAS, hook.name, changed):
        yield


class FitTest(two_hosts.TwoHosts):
    """nova-compute does not start beside such a Nova."""

    def _check_refused(self, hook):
        log = self.useFixture(fixtures.FakeLogger())
        self.assertNotIn('third', self.computes)
        # An __init__ or init_host of another form fails by itself.
        error = self.assertRaises(
            (nova_exception.InternalError, TypeError),
            self.start_compute,
            'third',
        )
        if hook.name in ('__init__', 'init_host'):
            return
        self.assertIn(f'LibvirtDriver.{hook.name}(', str(error))
        self.assertIn('nova-compute cannot start', log.output)

    def test_a_method_that_is_renamed_is_refused(self):
        for hook in hooks.OVERRIDDEN:
            # Without init_host Nova starts, and no guest does: see below.
            if hook.name not in ('__init__', 'init_host'):
                with renamed(hook.name):
                    self._check_refused(hook)

    def test_a_method_that_takes_more_is_refused(self):
        for hook in hooks.OVERRIDDEN:
            with with_another_parameter(hook):
                self._check_refused(hook)


class NotCalledTest(base.LibvirtMigrationMixin, two_hosts.TwoHosts):
    """Nova has the method, and goes past the driver's own."""

    STALE_CLAIMS: typing.ClassVar[dict[str, str]] = dict.fromkeys(
        (
            'test_no_guest_migrates_unconfined',
            'test_no_guest_is_resized_unconfined',
            'test_no_guest_is_left_unconfined',
        ),
        'A method that is passed by does not drop the claim.',
    )

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.CinderFixture(self))
        self.flags(wait_soft_reboot_seconds=1, group='libvirt')
        self.src = self.computes['here']
        self.dest = self.computes['there']

    def _migrate_stub(self, domain, destination, params, flags):
        super()._migrate_stub(domain, destination, params, flags)
        # As VIR_MIGRATE_UNDEFINE_SOURCE asks.
        domain.destroy()
        domain.undefine()

    @contextlib.contextmanager
    def _passed_by(self, name):
        """Let Nova call its own method, and check the guests that run."""
        with mock.patch.object(OURS, name, getattr(NOVAS, name)):
            yield
        self._check_guests(name)

    def _check_guests(self, name):
        """Each guest that runs has the level of its instance."""
        for host in ('here', 'there'):
            for uuid, domain in self._domains(host).items():
                if not domain.isActive():
                    continue
                held = self.allocator.get(uuid)
                label = domain_xml.read(domain.XMLDesc(0))
                self.assertIsNotNone(label, (name, host))
                self.assertTrue(label.is_given(held.level), (name, host))
                self.assertEqual(str(label.label), domain.process_label)

    def _runs(self):
        domain = self._domains('here').get(self.server['id'])
        return domain is not None and bool(domain.isActive())

    def _wait(self):
        """Wait until nothing is done to the server any more."""

        def check():
            self.server = self.api.get_server(self.server['id'])
            self.assertNotEqual('BUILD', self.server['status'])
            self.assertIsNone(self.server['OS-EXT-STS:task_state'])

        self._settled(check)

    def _boot_somehow(self):
        body = self._build_server(networks='none', host='here')
        self.server = self.api.post_server({'server': body})
        self._wait()

    def _act(self, action, **arguments):
        self.api.post_server_action(
            self.server['id'],
            {action: arguments or None},
            check_response_status=[200, 202, 204, 500],
        )
        self._wait()

    def test_each_method_is_passed_by(self):
        self.assertCountEqual(
            # Python itself calls __init__.
            [
                '__init__',
                *BOOT,
                *RESTARTS,
                *COLD_MIGRATION,
                *LIVE_MIGRATION,
                *END,
                *COPIES,
                *OTHERS,
            ],
            [hook.name for hook in hooks.OVERRIDDEN],
        )

    def test_no_guest_boots_unconfined(self):
        started = {}
        for name in BOOT:
            with self._passed_by(name):
                if name == 'init_host':
                    self.restart_compute_service('here')
                self._boot_somehow()
            started[name] = self._runs()
            self._delete_server(self.server)
            if name == 'init_host':
                self.restart_compute_service('here')
        self.assertEqual(
            {
                'init_host': False,
                'spawn': True,
                '_create_guest': False,
                '_get_volume_config': True,
            },
            started,
        )

    def _snapshot(self):
        """Suspend the guest and start it again, as a snapshot does."""
        driver = self.computes['here'].driver
        instance = objects.Instance.get_by_uuid(
            context.get_admin_context(), self.server['id']
        )
        guest = driver._host.get_guest(instance)
        state = guest.get_power_state(driver._host)
        request = context.get_admin_context()
        driver._suspend_guest_for_snapshot(request, False, state, instance)
        driver._resume_guest_after_snapshot(
            request, False, state, instance, guest
        )

    def _attach_and_detach(self):
        volume = nova_fixtures.CinderFixture.IMAGE_BACKED_VOL
        self._attach_volume(self.server, volume)
        self._check_guests('attach')
        self.api.delete_server_volume(self.server['id'], volume)
        self._wait_for_volume_detach(self.server['id'], volume)

    def _reboot_hard(self):
        self._act('reboot', type='HARD')

    def _reboot_softly(self):
        self._act('reboot', type='SOFT')

    def _stop_and_start(self):
        self._act('os-stop')
        self._act('os-start')

    def _rescue_and_unrescue(self):
        path = os.path.join(CONF.instances_path, self.server['id'])
        os.makedirs(path, exist_ok=True)
        self._act('rescue')
        self._check_guests('rescue')
        self._act('unrescue')

    def _suspend_and_resume(self):
        self._act('suspend')
        self._act('resume')

    def test_no_guest_is_started_again_unconfined(self):
        self.server = self._boot()
        for name, act in (
            ('_create_guest', self._reboot_hard),
            ('_create_guest', self._stop_and_start),
            ('_hard_reboot', self._reboot_hard),
            ('_hard_reboot', self._stop_and_start),
            ('_soft_reboot', self._reboot_softly),
            ('resume', self._suspend_and_resume),
            ('_suspend_guest_for_snapshot', self._snapshot),
            ('_resume_guest_after_snapshot', self._snapshot),
            ('_connect_volume', self._attach_and_detach),
            ('_disconnect_volume', self._attach_and_detach),
            ('rescue', self._rescue_and_unrescue),
            ('_create_images_and_backing', self._reboot_hard),
            ('get_available_resource', self._reboot_hard),
        ):
            with self._passed_by(name):
                act()
            self.assertIs(name != '_create_guest', self._runs(), name)
            if not self._runs():
                self._reboot_hard()
        # It starts with the label that it was saved with.
        with self._passed_by('_create_guest'):
            self._suspend_and_resume()
        self._reboot_hard()

    def test_no_guest_migrates_unconfined(self):
        for name in LIVE_MIGRATION:
            self.server = self._boot()
            with self._passed_by(name):
                self._act('os-migrateLive', host=None, block_migration='auto')
            self._delete_server(self.server)

    def test_no_guest_is_resized_unconfined(self):
        self._make_instances_movable()
        for name in ('_create_guest', *COLD_MIGRATION):
            self.server = self._boot()
            with self._passed_by(name):
                self._act('migrate')
                if self.server['status'] == 'VERIFY_RESIZE':
                    self._act('confirmResize')
            self._delete_server(self.server)

    def test_no_guest_is_left_unconfined(self):
        for name in END:
            self.server = self._boot()
            with self._passed_by(name):
                self._rebuild_server(
                    self.server, '155d900f-4e14-4e4c-a73d-069cbf4541e6'
                )
                self._check_guests(name)
                self._delete_server(self.server)
