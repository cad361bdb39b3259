# SPDX-License-Identifier: Apache-2.0
"""Live migration: when the driver lets a guest go, and with what."""

from __future__ import annotations

from unittest import mock

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from svirt_nova.virt import live_migration
from tests import samples
from tests.unit.virt import case


class LiveMigrationTest(case.DriverTestCase):
    def setUp(self):
        super().setUp()
        held = self.allocator.get.return_value
        held.level, held.hosts = case.LEVEL, {'here', 'there'}
        held.levels = types.InstanceLevels(case.LEVEL, None)
        self._flag('instances_path', '/i')
        self.instance.uuid = 'u'
        self.headers = {'/i/u/disk': samples.qcow2_header(samples.BASE)}
        self.calls.read_header.side_effect = lambda root, path: (
            self.headers.get(path, bytes(512))
        )
        self.guest = mock.Mock()
        self.running(case.LEVEL)
        self.driver._host.get_guest.side_effect = None
        self.driver._host.get_guest.return_value = self.guest

    def running(self, level):
        self.guest.get_xml_desc.return_value = domain_xml.confine(
            samples.DOMAIN % '',
            samples.PROCESS.at(level),
            samples.IMAGE.at(level),
            samples.chains(),
        )

    def _migrate(self):
        self.driver.live_migration(
            'context',
            self.instance,
            'there',
            None,
            self.calls.recover,
            migrate_data='data',
        )

    def _assert_refused(self):
        self._migrate()
        self.calls.live_migration.assert_not_called()
        self.calls.recover.assert_called_once_with(
            'context', self.instance, 'there', migrate_data='data'
        )

    def _operate(self, *args, **kwargs):
        self.driver._live_migration_operation(
            'context',
            self.instance,
            'there',
            False,
            'data',
            self.guest,
            [],
        )

    def test_a_guest_moves_to_a_host_that_claimed_it(self):
        self._migrate()
        self.calls.live_migration.assert_called_once()
        self.calls.recover.assert_not_called()

    def test_a_host_that_did_not_claim_it_is_refused(self):
        self.allocator.get.return_value.hosts = {'here'}
        self._assert_refused()

    def test_a_guest_at_another_level_than_its_own_is_refused(self):
        self.running(levels.Level.parse('s0:c5,c6'))
        self._assert_refused()

    def test_the_error_tells_how_the_guest_runs(self):
        label = samples.PROCESS.at(levels.Level.parse('s0:c5,c6'))
        for running, told in (
            (None, 'runs as unconfined'),
            (domain_xml.Seclabel(True, None, None), 'runs as unconfined'),
            (domain_xml.Seclabel(True, label, None), f'runs as {label}'),
        ):
            error = self.assertRaises(
                exception.LabelError,
                live_migration.check,
                self.allocator.get.return_value,
                running,
                'there',
            )
            self.assertIn(told, str(error))

    def test_a_guest_with_a_forged_header_is_refused(self):
        self.headers['/i/u/disk'] = samples.qcow2_header('/i/v/disk', 'qcow2')
        self._assert_refused()

    def test_files_of_snapshots_are_named_where_the_share_is_there(self):
        self.headers['/m/h/read-only'] = samples.qcow2_header('read-only.1')
        chains = {}

        def operate(*args, **kwargs):
            self._operate()
            guest = self.calls._live_migration_operation.call_args.args[5]
            guest.migrate('uri', destination_xml=there)
            xml = self.guest.migrate.call_args.kwargs['destination_xml']
            chains.update(domain_xml.chains_of(xml))

        chain = dict(samples.chains())
        chain['/m/h/read-only'] = tuple(
            disk_chains.Link(path, 'qcow2', '/m/h', case.LEVEL)
            for path in ('/m/h/read-only', '/m/h/read-only.1')
        )
        xml = domain_xml.confine(
            samples.DOMAIN % '',
            samples.PROCESS.at(case.LEVEL),
            samples.IMAGE.at(case.LEVEL),
            chain,
        )
        self.guest.get_xml_desc.return_value = xml
        # Nova replaces the source and leaves the files below
        # (nova.virt.libvirt.migration._update_volume_xml).
        there = xml.replace('/m/h/read-only"', '/n/h/read-only"')
        self.calls.live_migration.side_effect = operate
        self._migrate()
        self.assertEqual(['/n/h/read-only.1'], chains['/n/h/read-only'])

    def test_a_store_that_is_away_is_refused(self):
        self.allocator.get.side_effect = exception.StoreUnreachable('away')
        self._assert_refused()

    def test_permissive_lets_it_go_as_nova_would(self):
        self._flag('mode', 'permissive', group='svirt')
        self.allocator.get.return_value.hosts = {'here'}

        self.calls.live_migration.side_effect = self._operate
        self._migrate()
        passed = self.calls._live_migration_operation.call_args.args
        self.assertIs(self.guest, passed[5])

    def test_the_destinations_xml_carries_the_level(self):
        def operate(*args, **kwargs):
            self._operate()
            guest = self.calls._live_migration_operation.call_args.args[5]
            guest.migrate(
                'uri',
                flags=1,
                destination_xml=(samples.DOMAIN % '').replace('/m/h', '/n/h'),
            )

        self.calls.live_migration.side_effect = operate
        self._migrate()

        arguments = self.guest.migrate.call_args
        self.assertEqual(('uri',), arguments.args)
        xml = arguments.kwargs['destination_xml']
        self.assertEqual(case.LEVEL, domain_xml.read(xml).label.level)
        self.assertIn(
            domain_xml.DiskLabel.OWN,
            [d.label for d in domain_xml.disks(xml) if d.target == 'vdb'],
        )
        # The share is mounted in another directory there.
        self.assertEqual(
            {
                '/i/u/disk': [samples.BASE],
                '/i/u/disk.config': [],
                '/n/h/read-only': [],
                '/n/h/shared': None,
            },
            domain_xml.chains_of(xml),
        )
        # Once the migration is over, nothing of it is kept.
        self.assertIs(
            self.guest,
            self.extension.migrating_guest(self.instance, self.guest),
        )
