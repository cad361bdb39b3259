# SPDX-License-Identifier: Apache-2.0

import fixtures

from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from tests.unit.cmd import fake


class HostUsageTest(fake.ProgramTestCase):
    def test_hosts_are_shown_with_their_limit_and_what_nova_lists(self):
        uuid = 'bbbbbbbb-0000-4000-8000-000000000001'
        known = clouds.KnownCloud(
            'http://nova',
            (
                clouds.KnownHost('listed', uuid),
                clouds.KnownHost('missing', uuid, fake.GONE),
                clouds.KnownHost('noted', None, fake.GONE),
            ),
        )
        claims = {'listed': 4000, 'missing': 7, 'noted': 5, 'new': 6}

        class Allocator(fake.Allocator):
            def usage(self):
                return types.Usage({}, claims, None, None)

            def show_cloud(self):
                return known

        self.useFixture(
            fixtures.MockPatch('svirt_nova.allocator.base.load', Allocator)
        )
        status, out, _ = self.program(
            'label', 'usage', '--by', 'host', '-f', 'value'
        )
        self.assertEqual(0, status)
        self.assertEqual(
            [
                'listed 4000 97 % listed',
                'missing 7 0 % missing',
                'new 6 0 % unknown',
                'noted 5 0 % unknown',
            ],
            out.splitlines(),
        )
