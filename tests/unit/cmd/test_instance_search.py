# SPDX-License-Identifier: Apache-2.0

import contextlib
import json
import pathlib

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.cmd import instance_search
from svirt_nova.host import libvirtd
from tests.fakes import nova_api
from tests.unit.cmd import fake

WEB = fake.WEB.instance_uuid
OTHERS = [f'bbbbbbbb-0000-4000-8000-{n:012}' for n in range(30)]


class _Domain:
    def __init__(self, name, uuid):
        self._name = name
        self._uuid = uuid

    def name(self):
        return self._name

    def UUIDString(self):  # noqa: N802
        return self._uuid


class InstanceSearchTest(fake.ProgramTestCase):
    """``label show`` with the name of an instance."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.socket = self.directory / 'libvirt-sock-ro'
        self.patch(libvirtd, 'SOCKETS', (str(self.socket),))
        self.patch(libvirtd, 'connected', self.connected)
        self.domains = []
        self.config = self.directory / 'nova.conf'
        self.config.write_text('')

    @contextlib.contextmanager
    def connected(self, uri):
        if isinstance(self.domains, Exception):
            raise self.domains
        yield self

    def listAllDomains(self):  # noqa: N802
        return [_Domain(*each) for each in self.domains]

    def with_libvirt(self, *domains):
        self.socket.touch()
        self.domains = domains

    def with_nova(self, **names):
        """A Nova that has instances, by their UUIDs."""
        nova = self.useFixture(nova_api.NovaApi('a'))
        nova.names = names
        nova.servers = dict.fromkeys(names, 'p1')
        self.config.write_text(
            '[svirt_nova_api]\nauth_type = none\n'
            f'endpoint = {nova.url}\nendpoint_override = {nova.url}\n'
        )
        return nova

    def show(self, target):
        return self.program(
            '--config-file',
            str(self.config),
            'label',
            'show',
            '-f',
            'json',
            target,
        )

    def found(self, target):
        status, out, err = self.show(target)
        self.assertEqual((0, ''), (status, err))
        return json.loads(out)['Instance']

    def refusal(self, target):
        status, out, err = self.show(target)
        self.assertEqual((1, ''), (status, out))
        self.assertEqual(1, err.count('\n'), err)
        return err

    def test_a_domain_of_this_host_is_found_by_its_name(self):
        self.with_libvirt(('instance-0000002a', WEB), ('other', OTHERS[0]))
        self.assertEqual(WEB, self.found('instance-0000002a'))

    def test_an_instance_is_found_by_the_name_that_its_owner_gave(self):
        nova = self.with_nova(**{WEB: 'my web (1)', OTHERS[0]: 'my web [1]'})
        self.assertEqual(WEB, self.found('my web (1)'))
        self.assertEqual('1', nova.asked[-1].query['all_tenants'])

    def test_a_name_that_looks_like_a_part_of_a_level_is_a_name(self):
        for name in ('s3-backup', 'c3po', 'c3.example.org'):
            with self.subTest(name):
                self.with_nova(**{WEB: name})
                self.assertEqual(WEB, self.found(name))

    def test_a_name_of_several_is_refused_and_they_are_listed(self):
        self.with_nova(**{WEB: 'web', OTHERS[0]: 'web'})
        error = self.refusal('web')
        self.assertIn(WEB, error)
        self.assertIn(OTHERS[0], error)

    def test_a_tenant_that_takes_the_name_of_a_domain_hides_nothing(self):
        self.with_libvirt(('instance-0000002a', WEB))
        self.with_nova(**{OTHERS[0]: 'instance-0000002a'})
        error = self.refusal('instance-0000002a')
        self.assertIn(WEB, error)
        self.assertIn(OTHERS[0], error)

    def test_an_instance_that_both_name_is_one(self):
        self.with_libvirt(('web', WEB.upper()))
        self.with_nova(**{WEB: 'web'})
        self.assertEqual(WEB, self.found('web'))

    def test_of_many_some_are_listed(self):
        self.with_nova(**dict.fromkeys(OTHERS, 'web'))
        error = self.refusal('web')
        self.assertIn('30 instances', error)
        self.assertIn('10 more', error)

    def test_who_does_not_answer_leaves_doubt(self):
        self.with_libvirt()
        self.domains = exception.LibvirtUnreachable('it is down')
        self.with_nova(**{WEB: 'web'})
        self.assertIn('it is down', self.refusal('web'))

    def test_a_name_that_nobody_has_is_refused(self):
        self.with_nova(**{WEB: 'web'})
        self.assertIn('no instance has the name', self.refusal('we'))

    def test_without_anybody_to_ask_the_text_is_no_level(self):
        self.assertIn('web', self.refusal('web'))
        self.assertNotIn('name', self.refusal('web'))

    def test_a_level_that_is_wrong_is_not_taken_for_a_name(self):
        self.with_nova(**{WEB: 's0:c1,c1024'})
        for text in ('s0:c1,c1024', 'c1,c1024', 's0', 'a:b:c', 'x' * 256):
            with self.subTest(text):
                self.assertNotIn('name', self.refusal(text))

    def test_nova_that_cannot_list_all_gives_no_answer(self):
        nova = self.with_nova(**{WEB: 'web'})
        nova.lie = lambda question, truth: truth.with_json(
            truth.json | {'servers_links': [{'rel': 'next'}]}
        )
        self.assertIn('more instances', self.refusal('web'))

    def test_a_name_that_the_store_does_not_know_is_refused_by_its_uuid(self):
        self.with_nova(**{OTHERS[0]: 'web'})
        self.assertIn(OTHERS[0], self.refusal('web'))


class UuidOfTest(testtools.TestCase):
    def test_an_empty_name_is_none(self):
        refusal = exception.InvalidLevel('no')
        self.assertIs(
            refusal,
            self.assertRaises(
                exception.InvalidLevel,
                instance_search.uuid_of,
                None,
                '',
                refusal,
            ),
        )
