# SPDX-License-Identifier: Apache-2.0
"""The table of hooks, and what is made of a Nova that does not fit it."""

from __future__ import annotations

import importlib.metadata
import inspect
from types import SimpleNamespace

import fixtures
import testtools
from nova import exception as nova_exception

from svirt_nova.virt import driver as svirt_driver
from svirt_nova.virt import hooks
from tests.fakes import libvirt_driver
from tests.unit.virt import cloud_case
from tests.unit.virt import nova_hooks


def changed(hook, change):
    """A finder of owners of which one has another function than Nova's.

    :param change: makes the functions of the owner other ones
    """

    def find(owner):
        found = hooks.find(owner)
        if owner != hook.owner:
            return found
        functions = {name: getattr(found, name) for name in dir(found)}
        change(functions)
        return SimpleNamespace(**functions)

    return find


class TableTest(testtools.TestCase):
    def test_the_nova_that_is_installed_has_each_hook(self):
        self.assertEqual([], hooks.problems())

    def test_each_override_of_the_driver_is_in_the_table(self):
        self.assertEqual(
            set(nova_hooks.overrides()),
            {hook.name for hook in hooks.OVERRIDDEN},
        )

    def test_each_override_has_the_parameters_of_the_table(self):
        for hook in hooks.OVERRIDDEN:
            if hook.compared is hooks.Parameters.LAST:
                # It passes whatever comes first.
                continue
            ours = getattr(svirt_driver.SvirtLibvirtDriver, hook.name)
            found = [*inspect.signature(ours).parameters.values()][1:]
            names = [
                # What Nova calls a context is called a request here.
                'context' if each.name == 'request' else each.name
                for each in found
                if each.kind is each.POSITIONAL_OR_KEYWORD
            ]
            self.assertEqual([*hook.parameters], names, hook.name)
            takes_more = len(names) < len(found)
            self.assertIs(
                hook.compared is hooks.Parameters.FIRST, takes_more, hook.name
            )

    def test_each_hook_that_is_renamed_is_missed(self):
        for hook in hooks.HOOKS:
            if hook.name == '__init__':
                continue

            def rename(functions, hook=hook):
                functions[f'{hook.name}_'] = functions.pop(hook.name)

            [found] = hooks.problems(changed(hook, rename))
            self.assertEqual(f'there is no {hook}', found)

    def test_each_hook_whose_parameters_are_renamed_is_noticed(self):
        for hook in hooks.HOOKS:
            if not hook.parameters:
                continue

            def rename(functions, hook=hook):
                functions[hook.name] = lambda self, another: None

            [found] = hooks.problems(changed(hook, rename))
            self.assertEqual(f'{hook} has the parameters another', found)

    def test_a_parameter_more_is_noticed_where_it_would_be_lost(self):
        for hook in hooks.OVERRIDDEN:
            if hook.compared is not hooks.Parameters.ALL:
                continue
            source = f'lambda self, {", ".join(hook.parameters)}, more: None'

            def extend(functions, hook=hook, source=source):
                functions[hook.name] = eval(source)

            [found] = hooks.problems(changed(hook, extend))
            self.assertIn('more', found)

    def test_an_owner_that_is_missing_is_noticed(self):
        def find(owner):
            if owner.endswith('.Guest'):
                raise AttributeError(owner)
            return hooks.find(owner)

        found = hooks.problems(find)
        self.assertIn('there is no Guest.poweroff()', found)

    def test_a_function_that_takes_anything_is_accepted(self):
        hook = hooks.OVERRIDDEN[1]

        def decorate(functions):
            functions[hook.name] = lambda *args, **kwargs: None

        self.assertEqual([], hooks.problems(changed(hook, decorate)))


class ReleaseTest(testtools.TestCase):
    def _installed(self, version):
        def find(name):
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        self.useFixture(
            fixtures.MonkeyPatch('importlib.metadata.version', find)
        )
        return hooks.untested()

    def test_a_tested_release_is_not_told(self):
        for version in ('33.0.0', '34.1.0.dev3'):
            self.assertIsNone(self._installed(version))

    def test_another_release_is_told(self):
        for version in ('29.4.0', '35.0.0', '3.4.0'):
            self.assertIn(f'Nova {version}', self._installed(version))

    def test_an_unknown_release_is_told(self):
        self.assertIn('unknown release', self._installed(None))


class StartTest(cloud_case.CloudTestCase):
    """A Nova that does not fit, on a host of the fake cloud."""

    def _breaks(self):
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.virt.hooks.problems',
                lambda: ['there is no LibvirtDriver._create_guest()'],
            )
        )

    def test_a_missing_hook_is_refused(self):
        self._breaks()
        error = self.assertRaises(
            nova_exception.InternalError, self.driver, 'A'
        )
        self.assertIn('does not fit Nova', str(error))
        self.assertIn('_create_guest', self.log.output)

    def test_a_missing_hook_is_told_in_permissive_mode(self):
        self.flag('mode', 'permissive')
        self._breaks()
        self.driver('A')
        self.assertIn('NOT isolated', self.log.output)

    def test_an_untested_release_is_told_and_starts(self):
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.virt.hooks.TESTED_RELEASES', ('1',)
            )
        )
        self.driver('A')
        self.assertIn('is tested beside Nova 1', self.log.output)


class PassedByTest(cloud_case.CloudTestCase):
    """Nova starts a guest without ``_create_guest``."""

    def setUp(self):
        super().setUp()
        self.driver('A')
        self.passed_by = True
        create = libvirt_driver.LibvirtDriver._create_guest

        def start(driver, context, xml, instance, *args, **kwargs):
            # Nova's method below the driver, rather than the driver's.
            call = create if self.passed_by else type(driver)._create_guest
            return call(driver, context, xml, instance)

        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.driver.LibvirtDriver.'
                '_create_guest_with_network',
                start,
            )
        )

    def _is_running(self):
        record = self.record()
        return record is not None and record.live is not None

    def test_a_spawn_is_checked_and_its_guest_is_stopped(self):
        self.api.boot(cloud_case.UUID, ('A',))
        self.assertFalse(self._is_running())
        self.assertEqual('error', self.instance().vm_state)
        self.assertIn('has started the instance without', self.log.output)

    def test_a_spawn_through_the_hook_is_not_checked_twice(self):
        self.passed_by = False
        self.api.boot(cloud_case.UUID, ('A',))
        self.assertTrue(self._is_running())
        self.assertNotIn('without', self.log.output)

    def test_a_hard_reboot_is_checked(self):
        self.passed_by = False
        self.api.boot(cloud_case.UUID, ('A',))
        self.passed_by = True
        self.api.reboot(cloud_case.UUID, 'HARD')
        self.assertFalse(self._is_running())

    def test_a_start_is_checked(self):
        self.passed_by = False
        self.api.boot(cloud_case.UUID, ('A',))
        self.api.stop(cloud_case.UUID)
        self.passed_by = True
        self.assertRaises(
            nova_exception.InternalError, self.api.start, cloud_case.UUID
        )
        self.assertFalse(self._is_running())

    def test_a_cold_migration_is_checked(self):
        self.passed_by = False
        self.api.boot(cloud_case.UUID, ('A',))
        self.passed_by = True
        self.assertRaises(
            nova_exception.InternalError,
            self.api.migrate,
            cloud_case.UUID,
            'B',
        )
        self.assertIsNone(self.record('B').live)
