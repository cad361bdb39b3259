# SPDX-License-Identifier: Apache-2.0
"""A flavor that requires hosts that enforce goes to no other host.

Run by ``python3 -m tests.lab.run_tests --soak``, which builds what it needs.
"""

from __future__ import annotations

from typing import Any

from svirt_nova.virt import traits
from tests.lab.case import LabTestCase
from tests.lab.progress import LabError

_VERSION = {'OpenStack-API-Version': 'placement 1.6'}


class TraitTest(LabTestCase):
    flavor: Any

    @classmethod
    def prepare(cls) -> None:
        compute = cls.cloud.api.compute
        tiny = compute.find_flavor('tiny')
        cls.flavor = compute.create_flavor(
            name='enforcing', ram=tiny.ram, vcpus=tiny.vcpus, disk=tiny.disk
        )
        compute.create_flavor_extra_specs(
            cls.flavor, {f'trait:{traits.ENFORCING}': 'required'}
        )
        cls.addClassCleanup(compute.delete_flavor, cls.flavor)

    def has_trait(self) -> bool:
        placement = self.cloud.api.placement
        [provider] = placement.resource_providers(name=self.host.name)
        answer = placement.get(
            f'/resource_providers/{provider.id}/traits', headers=_VERSION
        )
        return traits.ENFORCING in answer.json()['traits']

    def wait_for_trait(self, wanted: bool) -> None:
        for _ in self.cloud.poll(f'a trait of {self.host.name}: {wanted}'):
            if self.has_trait() == wanted:
                return

    def boot(self) -> Any:
        api = self.cloud.api
        server = api.compute.create_server(
            name='trusting',
            flavor_id=self.flavor.id,
            image_id=api.image.find_image('idle').id,
            networks=[{'uuid': api.network.find_network('private').id}],
        )
        self.addCleanup(self.cloud.delete, [server])
        return self.cloud.wait_active(server)

    def test_flavor_goes_to_a_host_that_enforces_alone(self) -> None:
        self.wait_for_trait(True)
        self.boot()
        self.addCleanup(self.cloud.restart_compute, self.host)
        self.cloud.restart_compute(self.host, {'mode': 'permissive'})
        self.wait_for_trait(False)
        with self.assertRaisesRegex(LabError, 'No valid host'):
            self.boot()
