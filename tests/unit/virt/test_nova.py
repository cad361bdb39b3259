# SPDX-License-Identifier: Apache-2.0
"""What the driver relies on in Nova is there, as it is called here.

The other unit tests replace it, and would not notice that Nova renames it.
"""

from __future__ import annotations

import inspect
import threading
from unittest import mock

import fixtures
import nova.conf
import testtools
from nova import exception as nova_exception
from nova import objects
from nova import utils as nova_utils
from nova.compute import task_states
from nova.compute import vm_states
from nova.objects import fields
from nova.objects import migration
from nova.objects import migration_context
from nova.virt.libvirt import config as libvirt_config
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import host as libvirt_host
from nova.virt.libvirt import imagebackend
from nova.virt.libvirt.volume import fs
from nova.virt.libvirt.volume import nfs
from nova.volume import cinder
from oslo_concurrency import lockutils

from svirt_nova.lifecycle import rules
from tests.fakes import patches
from tests.unit.virt import nova_hooks

CONF = nova.conf.CONF
REAL = libvirt_driver.LibvirtDriver
MigrationContext = migration_context.MigrationContext


def parameters(function):
    """The parameters of a function that have names, and their kinds."""
    return list(inspect.signature(function).parameters.values())


def names(function):
    return [
        each.name
        for each in parameters(function)
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        # A static method of Nova, which it calls as one of its object, may
        # be overridden by a method that is not static.
        and each.name != 'self'
    ]


class OverriddenTest(testtools.TestCase):
    """Each hook is a method of Nova's driver, and called as that one."""

    def _hooks(self):
        for name, function in nova_hooks.overrides().items():
            yield name, function, getattr(REAL, name)

    def test_each_hook_has_the_parameters_of_novas_method(self):
        for name, ours, theirs in self._hooks():
            found = [
                # What Nova calls a context is called a request here.
                'context' if each == 'request' else each
                for each in names(ours)
            ]
            self.assertEqual(names(theirs)[: len(found)], found, name)

    def test_each_hook_passes_all_that_nova_may_give_it(self):
        for name, ours, theirs in self._hooks():
            kinds = {each.kind for each in parameters(ours)}
            if inspect.Parameter.VAR_POSITIONAL not in kinds:
                self.assertEqual(len(names(theirs)), len(names(ours)), name)

    def test_each_parameter_has_novas_default(self):
        for name, ours, theirs in self._hooks():
            defaults = {each.name: each.default for each in parameters(theirs)}
            for each in parameters(ours):
                if each.default is not each.empty:
                    self.assertEqual(
                        defaults[each.name], each.default, (name, each.name)
                    )

    def test_the_disk_of_a_volume_is_described_by_its_last_two_arguments(
        self,
    ):
        self.assertEqual(
            ['connection_info', 'disk_info'],
            names(REAL._get_volume_config)[-2:],
        )


class UsedTest(testtools.TestCase):
    """What is used beside the table of hooks is there, too."""

    def test_the_driver_has_its_host_and_cinder(self):
        driver = REAL(mock.Mock())
        self.assertIsInstance(driver._host, libvirt_host.Host)
        self.assertIsInstance(driver._volume_api, cinder.API)
        self.assertIsInstance(driver.image_backend, imagebackend.Backend)

    def test_novas_records_and_volumes_have_what_is_called(self):
        for owner, name, expected in (
            (cinder.API, 'attachment_get_all', ['context', 'volume_id']),
            (
                fs.LibvirtBaseFileSystemVolumeDriver,
                '_get_device_path',
                ['connection_info'],
            ),
            (objects.Instance, 'get_by_uuid', ['context', 'uuid']),
            (
                objects.ServiceList,
                'get_by_binary',
                ['context', 'binary', 'include_disabled'],
            ),
            (
                migration.MigrationList,
                'get_by_filters',
                ['context', 'filters'],
            ),
        ):
            function = getattr(owner, name)
            function = getattr(function, 'original_fn', function)
            missing = set(expected) - set(names(function))
            self.assertEqual(set(), missing, name)

    def test_a_guest_has_its_domain(self):
        domain = mock.Mock()
        guest = libvirt_guest.Guest(domain)
        self.assertIs(domain, guest._domain)
        self.assertIs(domain.name.return_value, guest.name)
        self.assertIs(domain.UUIDString.return_value, guest.uuid)

    def test_states_are_those_that_the_rules_know(self):
        self.assertEqual(
            (rules.DELETED, rules.DELETING, rules.SOFT_DELETED),
            (
                vm_states.DELETED,
                task_states.DELETING,
                vm_states.SOFT_DELETED,
            ),
        )

    def test_an_evacuation_is_of_a_kind_that_nova_knows(self):
        self.assertIn(
            fields.MigrationType.EVACUATION, fields.MigrationType.ALL
        )

    def test_a_volume_in_a_file_has_a_driver_of_the_common_class(self):
        self.assertTrue(
            issubclass(
                nfs.LibvirtNFSVolumeDriver,
                fs.LibvirtBaseFileSystemVolumeDriver,
            )
        )

    def test_a_disk_is_written_by_format_dom(self):
        config = libvirt_config.LibvirtConfigGuestDisk()
        config.source_type, config.source_path = 'file', '/x'
        config.target_dev, config.target_bus = 'vdb', 'virtio'
        written = []
        format_dom = config.format_dom
        config.format_dom = lambda **kwargs: (
            written.append(kwargs) or format_dom(**kwargs)
        )
        config.to_xml()
        self.assertEqual(1, len(written))

    def test_a_lock_that_somebody_holds_is_not_waited_for(self):
        held, done = threading.Event(), threading.Event()

        @nova_utils.synchronized('uuid')
        def hold():
            held.set()
            done.wait(10)

        @nova_utils.synchronized('uuid', blocking=False)
        def take():
            return 'taken'

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(10)
        self.assertRaises(lockutils.AcquireLockFailedException, take)
        done.set()
        holder.join()
        self.assertEqual('taken', take())

    def test_a_start_may_be_aborted(self):
        error = nova_exception.BuildAbortException(
            instance_uuid='uuid', reason='it is full'
        )
        self.assertIn('it is full', str(error))


class FakeTest(testtools.TestCase):
    """The fake LibvirtDriver has nothing that Nova's has otherwise."""

    def test_each_method_has_parameters_of_novas_alone(self):
        common = {
            name: method
            for name, method in patches.methods().items()
            if hasattr(REAL, name)
        }
        self.assertIn('_create_guest', common)
        for name, method in common.items():
            if name != '_get_volume_config':
                surplus = set(names(method)) - set(names(getattr(REAL, name)))
                self.assertEqual(set(), surplus, name)

    def test_each_hook_stands_in_front_of_a_fake_method(self):
        """A hook above Nova's own method would work on a real libvirt."""
        self.assertEqual(
            set(), nova_hooks.overrides().keys() - patches.methods().keys()
        )

    def test_the_fake_goes_when_the_test_ends(self):
        before = {name: getattr(REAL, name, None) for name in dir(REAL)}
        with fixtures.TempDir(), patches.BelowTheDriver():
            self.assertIsNot(before['spawn'], REAL.spawn)
        self.assertEqual(
            before, {name: getattr(REAL, name, None) for name in dir(REAL)}
        )
