# SPDX-License-Identifier: Apache-2.0

import contextlib
import io

import cotyledon
import fixtures
import testtools

from svirt_nova.cmd import service


class StartTest(testtools.TestCase):
    """The start of svirt-nova-allocator, up to its processes."""

    def refusal(self, **options):
        """What is printed when the service cannot be started."""
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{cotyledon.__name__}.ServiceManager', self.fail
            )
        )
        self.useFixture(
            fixtures.MonkeyPatch('oslo_log.log.setup', lambda *_: None)
        )
        self.useFixture(fixtures.FakeLogger())
        path = self.useFixture(fixtures.TempDir()).join('nova.conf')
        options = {'transport_url': 'fake:/'} | options
        with open(path, 'w') as file:
            file.write('[svirt_nova_allocator]\n')
            file.writelines(f'{k} = {v}\n' for k, v in options.items())
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            status = service.main(['--config-file', path])
        self.assertEqual(1, status)
        text = errors.getvalue()
        self.assertEqual(1, len(text.splitlines()), text)
        return text

    def test_driver_that_asks_the_service_is_refused(self):
        self.assertIn('driver', self.refusal(driver='rpc'))

    def test_driver_that_is_not_installed_is_refused_by_its_name(self):
        self.assertIn('nothing', self.refusal(driver='nothing'))

    def test_hosts_cannot_be_looked_up_without_credentials(self):
        self.assertIn('auth_type', self.refusal(known_hosts_only=True))

    def test_bus_that_is_none_is_refused_without_its_secrets(self):
        text = self.refusal(transport_url='nothing://secret@x')
        self.assertIn('transport_url', text)
        self.assertNotIn('secret', text)

    def test_operators_bus_that_is_none_is_refused_without_its_secrets(self):
        text = self.refusal(operator_transport_url='nothing://secret@x')
        self.assertIn('operator_transport_url', text)
        self.assertNotIn('secret', text)

    def test_value_of_another_kind_is_refused_by_its_option(self):
        self.assertIn('workers', self.refusal(workers='many'))

    def test_file_that_is_not_there_is_refused(self):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            status = service.main(['--config-file', '/nonexistent/nova.conf'])
        self.assertEqual(1, status)
        self.assertIn('/nonexistent/nova.conf', errors.getvalue())
