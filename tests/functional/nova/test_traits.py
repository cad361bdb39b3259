# SPDX-License-Identifier: Apache-2.0
"""The scheduler knows which hosts keep guests apart."""

from __future__ import annotations

from unittest import mock

from nova import context

from svirt_nova.virt import traits
from tests.functional.nova import two_hosts


class TraitTest(two_hosts.TwoHosts):
    def _traits(self, host):
        found = self.placement.get(f'/resource_providers?name={host}').body
        [provider] = found['resource_providers']
        return self._get_provider_traits(provider['uuid'])

    def _update(self, host):
        self.computes[host].manager.update_available_resource(
            context.get_admin_context()
        )

    def test_a_host_that_enforces_has_the_trait(self):
        for host in ('here', 'there'):
            self.assertIn(traits.ENFORCING, self._traits(host))

    def test_a_host_has_the_trait_as_long_as_its_kernel_does_its_part(self):
        kernel = self.host_fixture.kernel
        kernel.permissive = {'svirt_t'}
        self._update('here')
        self.assertNotIn(traits.ENFORCING, self._traits('here'))

        kernel.permissive = set()
        self._update('here')
        self.assertIn(traits.ENFORCING, self._traits('here'))

    def test_a_host_in_another_mode_loses_the_trait(self):
        for mode in ('permissive', 'disabled'):
            with self.subTest(mode):
                self.assertIn(traits.ENFORCING, self._traits('here'))
                self.flags(mode=mode, group='svirt')
                self.computes['here'] = self.restart_compute_service('here')
                self.assertNotIn(traits.ENFORCING, self._traits('here'))
                self.flags(mode='enforcing', group='svirt')
                self.computes['here'] = self.restart_compute_service('here')

    def test_a_flavor_that_requires_it_goes_to_no_host_without_it(self):
        flavor = self._create_flavor(
            extra_spec={f'trait:{traits.ENFORCING}': 'required'}
        )
        with mock.patch(
            'svirt_nova.virt.policy_watch.PolicyWatch.keeps_apart',
            lambda watch: watch is self._watch('there'),
        ):
            self._update('here')
            for _ in range(3):
                server = self._create_server(networks='none', flavor_id=flavor)
                self.assertEqual('there', server['OS-EXT-SRV-ATTR:host'])

    def _watch(self, host):
        return self.computes[host].driver._extension.policy_watch
