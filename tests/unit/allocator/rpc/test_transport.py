# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova.allocator.rpc import transport
from tests.unit.allocator.rpc import wire


class ApartTest(testtools.TestCase):
    """Whether operators have a bus that computes do not reach."""

    def is_apart(self, operators, computes='rabbit://nova:x@mq:5672/'):
        conf = wire.make_conf(None)
        for name, url in (
            ('transport_url', computes),
            ('operator_transport_url', operators),
        ):
            conf.set_override(name, url, 'svirt_nova_allocator')
        return transport.is_apart(conf)

    def test_another_virtual_host_is_apart(self):
        for url in (
            'rabbit://svirt:x@mq:5672/svirt-nova',
            'rabbit://nova:x@mq/svirt-nova',
            'rabbit://svirt:x@other:5672/svirt-nova',
        ):
            self.assertTrue(self.is_apart(url), url)
        for url in ('rabbit://svirt:x@mq/', 'rabbit://svirt:x@mq/Nova'):
            self.assertTrue(self.is_apart(url, 'rabbit://x:y@mq/nova'), url)

    def test_another_user_of_the_same_virtual_host_is_not_apart(self):
        for url in (
            None,
            '',
            'rabbit://nova:x@mq:5672/',
            'rabbit://svirt:y@mq:5672/',
            'rabbit://svirt:y@mq/',
        ):
            self.assertFalse(self.is_apart(url), url)

    def test_another_name_of_the_virtual_host_is_not_apart(self):
        slashes = ('', '/', '//', '/%2F', '/%2f', '/%252F', '/?ssl=1')
        for path in slashes:
            urls = f'rabbit://a:x@mq{path}', 'rabbit://b:x@mq/'
            self.assertFalse(self.is_apart(*urls), urls)
            self.assertFalse(self.is_apart(*reversed(urls)), urls)
        for own in ('n', '%6e', '%256e', 'n?ssl=1', 'n%3Fx'):
            urls = f'rabbit://a:x@mq/{own}', 'rabbit://b:x@mq/n'
            self.assertFalse(self.is_apart(*urls), urls)

    def test_another_name_of_the_server_is_not_apart(self):
        """It may be the same server, or a node of the same cluster."""
        for hosts in (
            'svirt:x@MQ:5672',
            'svirt:x@mq.:5672',
            'svirt:x@mq.example.org:5672',
            'svirt:x@192.0.2.1:5672',
            'svirt:x@[2001:db8::1]:5672',
            'svirt:x@mq:5671',
            'svirt:x@mq2:5672',
            'svirt:x@mq2:5672,svirt:x@mq3:5672',
        ):
            for path in ('', '/', '/?ssl=1'):
                url = f'rabbit://{hosts}{path}'
                self.assertFalse(self.is_apart(url), url)

    def test_bus_of_nova_is_compared_where_there_is_no_other(self):
        conf = wire.make_conf(None)
        transport.connect(conf, 'fake:/').cleanup()
        conf.set_override('transport_url', 'rabbit://nova:x@mq:5672/')
        conf.set_override('transport_url', None, 'svirt_nova_allocator')
        for url, apart in (
            ('rabbit://a:x@mq:5672/', False),
            ('rabbit://a:x@mq:5672/b', True),
        ):
            conf.set_override(
                'operator_transport_url', url, 'svirt_nova_allocator'
            )
            self.assertEqual(apart, transport.is_apart(conf))
