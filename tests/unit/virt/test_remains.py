# SPDX-License-Identifier: Apache-2.0
"""What a host has of instances."""

from __future__ import annotations

from nova import exception as nova_exception

from svirt_nova import exception
from svirt_nova.lifecycle import rules
from svirt_nova.virt import remains
from tests.fakes import domains
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import OTHER
from tests.unit.virt.cloud_case import UUID


class _Case(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.host = self.cloud.hosts['A']
        self.directory = f'{self.host.instances}/{UUID}'

    def of_instance(self):
        with self.cloud.processes.on('A'):
            return remains.of_instance(self.host, self.instance())

    def of_host(self):
        with self.cloud.processes.on('A'):
            return remains.of_host(self.host)


class LocalTest(_Case):
    def test_a_domain_and_its_directory_remain(self):
        self.assertEqual(
            rules.Remains(domain=True, local=(self.directory,)),
            self.of_instance(),
        )

    def test_a_domain_that_does_not_run_remains(self):
        self.api.stop(UUID)
        self.assertTrue(self.of_instance().domain)
        self.assertEqual({UUID}, self.of_host().domains.keys())

    def test_all_names_of_a_directory_are_found(self):
        for suffix in ('_resize', '_del'):
            self.cloud.storage.make_directory(self.directory + suffix)
        self.assertEqual(
            tuple(self.directory + s for s in ('', '_resize', '_del')),
            self.of_instance().local,
        )

    def test_a_libvirt_that_does_not_answer_may_have_the_domain(self):
        def fail(instance):
            raise nova_exception.InternalError('libvirt is away')

        self.host.get_guest = fail
        self.assertTrue(self.of_instance().domain)

    def test_a_host_has_instances_under_all_names_of_directories(self):
        self.host.put(UUID, None)
        for suffix in ('', '_resize', '_del'):
            self.cloud.storage.remove(self.directory)
            self.cloud.storage.make_directory(self.directory + suffix)
            self.assertEqual({UUID}, self.of_host().uuids, suffix)
            self.cloud.storage.remove(self.directory + suffix)

    def test_a_directory_of_something_else_is_not_an_instances(self):
        for name in ('_base', 'locks', f'x{OTHER}', f'{OTHER}_x', f'{OTHER}x'):
            self.cloud.storage.make_directory(f'/A/instances/{name}')
        self.assertEqual({UUID}, self.of_host().uuids)

    def test_a_domain_without_a_directory_is_of_the_host(self):
        self.cloud.storage.remove(self.directory)
        self.assertEqual({UUID}, self.of_host().uuids)
        self.assertEqual(frozenset(), self.of_host().directories)


class SharedTest(_Case):
    is_shared = True

    def test_a_shared_directory_is_not_the_hosts_own(self):
        self.assertEqual(
            rules.Remains(domain=True, shared=(self.directory,)),
            self.of_instance(),
        )
        self.assertEqual(frozenset(), self.of_host().directories)

    def test_a_host_has_its_domains_alone(self):
        self.host.put(UUID, None)
        self.assertEqual(frozenset(), self.of_host().uuids)
        self.assertEqual(
            rules.Remains(domain=False, shared=(self.directory,)),
            self.of_instance(),
        )


class LabelTest(_Case):
    def setUp(self):
        super().setUp()
        self.level = self.allocator.get(UUID).level
        self.guest = domains.Domain(self.host, UUID)

    def test_a_label_is_that_which_a_guest_runs_with(self):
        found = remains.label_of(self.guest)
        self.assertEqual(self.level, found.label.level)
        self.assertTrue(found.is_static)
        self.assertEqual(found, self.of_host().domains[UUID])

    def test_a_guest_that_has_gone_has_no_label(self):
        self.host.put(UUID, None)
        self.assertIsNone(remains.label_of(self.guest))

    def test_a_label_that_makes_no_sense_is_told_and_is_none(self):
        xml = self.record().live.replace('svirt_t', '!')
        self.redefine('A', live=xml)
        self.guest.get_xml_desc = lambda: xml
        self.assertIsNone(remains.label_of(self.guest))
        self.assertIn(self.guest.name, self.log.output)

    def test_the_defined_label_is_that_of_the_next_start(self):
        xml = self.record().definition.replace(str(self.level), 's0:c0,c1')
        self.redefine('A', definition=xml)
        found = remains.defined_label(self.host, self.instance())
        self.assertEqual('s0:c0,c1', str(found.label.level))

    def test_a_domain_without_a_label_has_none_defined(self):
        self.redefine('A', definition='<domain/>')
        self.assertIsNone(remains.defined_label(self.host, self.instance()))

    def test_there_is_no_defined_label_without_a_domain(self):
        self.host.put(UUID, None)
        self.assertRaises(
            nova_exception.InstanceNotFound,
            remains.defined_label,
            self.host,
            self.instance(),
        )

    def test_a_definition_that_makes_no_sense_is_an_error(self):
        self.redefine('A', definition='<domain>')
        self.assertRaises(
            exception.LabelError,
            remains.defined_label,
            self.host,
            self.instance(),
        )
