# SPDX-License-Identifier: Apache-2.0

import dataclasses
import json
import subprocess
import sys

import fixtures

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.lifecycle import compute_api
from tests.unit.cmd import fake

LOST = dataclasses.replace(
    fake.WEB,
    instance_uuid='aaaaaaaa-0000-4000-8000-000000000003',
    hosts=frozenset(),
)


CLOUD = clouds.Cloud(
    'http://nova',
    (
        clouds.ComputeService(
            'host1', 'bbbbbbbb-0000-4000-8000-000000000001', True
        ),
        clouds.ComputeService(
            'host2', 'bbbbbbbb-0000-4000-8000-000000000002', True
        ),
    ),
)


class Allocator(fake.Allocator):
    rows = (fake.WEB, fake.OLD, LOST)

    def __init__(self, conf):
        super().__init__(conf)
        self.retired = []
        self.tidied = 0
        self.known = clouds.KnownCloud()

    def show_cloud(self):
        return self.known

    def meet_cloud(self, cloud, strangers=(), replaces=False):
        known = clouds.KnownCloud() if replaces else self.known
        self.known = known.meet(cloud, strangers, fake.BORN)
        return self.known

    def retire(self, instance_uuid, number=None):
        self.retired.append(instance_uuid)

    def find(self, level):
        found = super().find(level)
        if found is None or found.instance_uuid in self.retired:
            return None
        return found

    def tidy(self):
        self.tidied += 1


class Servers:
    """A Nova that has the instance that hosts claim, and no other."""

    def __init__(self):
        self.asked = []
        self.failure = None

    def check(self):
        return CLOUD

    def exists(self, instance_uuid):
        self.asked.append(instance_uuid)
        if self.failure and self.asked.count(LOST.instance_uuid) > 2:
            raise exception.ComputeApiError(self.failure)
        return instance_uuid == fake.WEB.instance_uuid


class ReapTest(fake.ProgramTestCase):
    def setUp(self):
        self.made = Allocator(None)
        super().setUp()
        self.servers = Servers()
        self.slept = []
        for name, new in (
            (
                'svirt_nova.lifecycle.compute_api.load',
                lambda conf: self.servers,
            ),
            ('svirt_nova.cmd.reap.time.sleep', self.slept.append),
        ):
            self.useFixture(fixtures.MonkeyPatch(name, new))

    def allocator(self, conf):
        return self.made

    def reap(self, *args):
        status, out, err = self.program('reap', '-f', 'json', *args)
        self.assertEqual((0, ''), (status, err))
        return [
            (r['Level'], r['Instance'], r['Outcome']) for r in json.loads(out)
        ]

    def test_what_nova_denies_three_times_is_retired(self):
        self.assertEqual(
            [('s0:c1,c2', LOST.instance_uuid, 'retired')], self.reap()
        )
        self.assertEqual([LOST.instance_uuid], self.made.retired)
        self.assertEqual(1, self.made.tidied)
        self.assertEqual(3, self.servers.asked.count(LOST.instance_uuid))
        self.assertEqual([60, 60], self.slept)

    def test_a_dry_run_only_lists(self):
        self.assertEqual(
            [('s0:c1,c2', LOST.instance_uuid, 'would be retired')],
            self.reap('--dry-run', '--passes', '1'),
        )
        self.assertEqual([], self.made.retired)
        self.assertEqual(0, self.made.tidied)
        self.assertEqual([], self.slept)

    def test_passes_and_interval(self):
        self.reap('--passes', '5', '--interval', '7')
        self.assertEqual([7] * 4, self.slept)

    def test_an_answer_that_is_missing_retires_nothing(self):
        self.servers.failure = 'Nova answered 503'
        status, out, err = self.program('reap')
        self.assertEqual((1, '', 'Nova answered 503\n'), (status, out, err))
        self.assertEqual([], self.made.retired)

    def test_without_controls_the_store_must_know_its_cloud(self):
        self.made.rows = (fake.OLD, LOST)
        status, out, err = self.program('reap', '--without-controls')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('svirt-nova cloud accept', err)
        self.assertEqual([], self.made.retired)

    def test_without_controls_the_cloud_of_the_store_is_believed(self):
        self.made.meet_cloud(CLOUD)
        self.made.rows = (fake.OLD, LOST)
        status, out, err = self.program('reap')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('--without-controls', err)
        self.assertEqual([], self.made.retired)
        self.reap('--without-controls')
        self.assertEqual([LOST.instance_uuid], self.made.retired)

    def test_fewer_passes_are_refused(self):
        status, out, err = self.program('reap', '--passes', '2')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('fewer than 3', err)
        self.assertEqual([], self.servers.asked)

    def test_numbers_that_make_no_sense_are_usage_errors(self):
        for option in ('--passes', '--interval'):
            for value in ('0', '-1', 'x'):
                with self.subTest(option + value):
                    status, _, err = self.program('reap', option, value)
                    self.assertEqual(2, status)
                    self.assertIn('positive number', err)


class CredentialsTest(fake.ProgramTestCase):
    def test_without_credentials_it_says_which_option(self):
        status, out, err = self.program('reap')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('[svirt_nova_api] auth_type is not set', err)
        self.assertEqual(1, err.count('\n'), err)


class StartUpTest(fake.ProgramTestCase):
    def test_importing_the_commands_imports_no_heavy_library(self):
        self.assertIn('keystoneauth1', compute_api.loading.__name__)
        names = 'adopt', 'claim', 'cloud', 'reap'
        code = (
            'import json, sys\n'
            + ''.join(f'import svirt_nova.cmd.{name}\n' for name in names)
            + 'print(json.dumps(sorted(sys.modules)))\n'
        )
        loaded = json.loads(
            subprocess.check_output([sys.executable, '-c', code])
        )
        heavy = {'keystoneauth1', 'libvirt', 'lxml', 'nova', 'sqlalchemy'}
        self.assertEqual(set(), heavy.intersection(loaded))
