# SPDX-License-Identifier: Apache-2.0

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.tempest import access


class TargetTest(testtools.TestCase):
    def test_each_form_of_a_target_is_read(self):
        for text, target in (
            ('192.0.2.1', access.Target('192.0.2.1')),
            (' compute1.example.org ', access.Target('compute1.example.org')),
            ('192.0.2.1:2222', access.Target('192.0.2.1', 2222)),
            ('me@192.0.2.1', access.Target('192.0.2.1', None, 'me')),
            ('me@[2001:db8::1]:22', access.Target('2001:db8::1', 22, 'me')),
            ('[fe80::1%eth0]', access.Target('fe80::1%eth0')),
        ):
            self.assertEqual(target, access.Target.parse(text))

    def test_a_text_that_is_no_target_is_refused(self):
        for text in (
            '', ':22', 'a:', 'a:0', 'a:65536', 'a:b', '2001:db8::1', 'a b',
            '-oProxyCommand=x', 'me@-oProxyCommand=x', '-l@a', 'a;b@c', '@a',
            '[]', '[a', "a'b", 'a\nb',
        ):  # fmt: skip
            error = self.assertRaises(
                exception.InvalidOption, access.Target.parse, text
            )
            self.assertIn('[svirt_nova] hosts', str(error))

    @given(st.text())
    def test_a_target_is_never_taken_for_an_option(self, text):
        try:
            target = access.Target.parse(text)
        except exception.InvalidOption:
            return
        self.assertFalse(target.address.startswith('-'))
        self.assertFalse((target.user or '').startswith('-'))


class AccessTest(testtools.TestCase):
    def test_ssh_gets_what_is_configured(self):
        ssh = access.Access(
            user='root',
            key_file='/k',
            known_hosts='/h',
            strict='no',
            connect_timeout=7,
        )
        self.assertEqual(
            'ssh -T -x -o BatchMode=yes -o ConnectTimeout=7 -o LogLevel=ERROR '
            '-o StrictHostKeyChecking=no -o UserKnownHostsFile=/h -p 2222 '
            '-o IdentitiesOnly=yes -i /k -l me -- 192.0.2.1 true',
            ' '.join(
                ssh.arguments(access.Target('192.0.2.1', 2222, 'me'), 'true')
            ),
        )

    def test_what_is_not_configured_is_left_to_ssh(self):
        words = access.Access().arguments(access.Target('192.0.2.1'), 'true')
        self.assertNotIn('-i', words)
        self.assertNotIn('-p', words)
        self.assertIn('StrictHostKeyChecking=yes', words)
        self.assertIn('root', words)
