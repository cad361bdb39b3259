# SPDX-License-Identifier: Apache-2.0
"""On an enforcing host, with guests of Nova's: each behind its own level.

Run by ``python3 -m tests.lab.run_tests``, which builds what it needs. The
tests share one cloud and three instances, and go by their names' order.
"""

from __future__ import annotations

import re
from typing import Any

from tests.lab import acts
from tests.lab import cache
from tests.lab import exposure
from tests.lab import isolation
from tests.lab import survey
from tests.lab.case import LabTestCase

PERMISSIVE = set(
    re.findall(
        r'\(typepermissive (\w+)\)', (cache.HERE / 'policy.cil').read_text()
    )
)


class IsolationTest(LabTestCase):
    servers: list[Any]

    @classmethod
    def prepare(cls) -> None:
        with cls.cloud.progress.step('three instances'):
            cls.servers = cls.cloud.boot(['alpha', 'beta', 'gamma'])

    def test_1_kernel_enforces_the_policy_on_guests(self) -> None:
        self.assertEqual(
            '1', self.host.run('cat /sys/fs/selinux/enforce').strip()
        )
        for domain in self.host.probe('look'):
            kind = domain['process'].split(':')[2]
            self.assertEqual('svirt_t', kind)
            self.assertNotIn(kind, PERMISSIVE)

    def test_8_types_that_the_lab_does_not_name_are_enforced(self) -> None:
        told = self.host.probe('denials', self.host.enforced_at)
        excused = {
            row['source'].split(':')[2]
            for row in told
            if row['permissive'] == '1'
        }
        self.assertLessEqual(excused, PERMISSIVE)
        guests = {
            row['permissive']
            for row in told
            if row['source'].split(':')[2] == 'svirt_t'
        }
        self.assertEqual({'0'}, guests)

    def test_2_allocator_process_and_files_agree(self) -> None:
        levels = acts.show_levels(self.cloud, self.servers)
        self.assertEqual(3, len(levels.instances))
        self.assertEqual([], levels.faults)

    def test_2_label_is_static_and_relabels(self) -> None:
        for domain in self.host.probe('look'):
            [label] = domain['seclabels']
            self.assertEqual(
                ('static', 'yes'), (label['type'], label['relabel'])
            )
            self.assertTrue(
                isolation.categories(isolation.level_of(label['label']))
            )

    def test_2_the_console_of_a_guest_is_read(self) -> None:
        # QEMU has named a terminal of its own, which the driver checks.
        [server, *_] = self.servers
        self.cloud.api.compute.get_server_console_output(server)

    def test_2_the_check_of_the_host_finds_a_wrong_label_alone(self) -> None:
        status, rows = self.host.check()
        self.assertEqual([], [row for row in rows if row['Result'] != 'ok'])
        self.assertEqual(0, status)
        instances = {each.id for each in self.servers}
        self.assertLessEqual(instances, {row['Instance'] for row in rows})

        [path, *_] = [
            file['path'] for file in self.domain_of(self.servers[0])['files']
        ]
        [context] = self.host.probe('contexts', path).values()
        self.host.run(f'chcon -l s0:c1,c2 {path}')
        try:
            status, rows = self.host.check()
        finally:
            self.host.run(f'chcon {context} {path}')
        [wrong] = [row for row in rows if row['Result'] != 'ok']
        self.cloud.progress.say(f'host check: {wrong}')
        self.assertEqual(
            (4, 'error', self.servers[0].id),
            (status, wrong['Result'], wrong['Instance']),
        )
        self.assertIn(path, str(wrong['Details']))

    def test_3_each_guest_opens_its_own_files_alone(self) -> None:
        assault = acts.attack(self.cloud, self.servers)
        self.assertEqual([], assault.faults)
        self.assertEqual(
            {
                'own_attempts': 6,
                'own_opened': 6,
                'own_denied': 0,
                'foreign_attempts': 12,
                'foreign_opened': 0,
                'foreign_denied': 12,
            },
            assault.attack.counts(),
        )
        self.assertEqual(12, assault.denials)

    def test_3_the_census_opens_nothing_foreign(self) -> None:
        found = survey.take(self.cloud, self.servers)
        self.cloud.progress.say(f'census: {found}')
        self.assertEqual([], found.faults)
        self.assertEqual(3, found.guests)
        # Each may open its disk and its config drive; each is refused those
        # of the two others, and the log says so.
        self.assertGreaterEqual(found.counts[exposure.OWN], 6)
        self.assertGreaterEqual(found.audited, 12)

    def test_4_a_guest_of_the_same_level_opens_the_files(self) -> None:
        contrast = acts.contrast(self.cloud)
        self.assertEqual([], contrast.faults)
        self.assertEqual(2, contrast.attack.counts()['foreign_opened'])

    def test_5_reboot_keeps_the_level(self) -> None:
        [server, *_] = self.servers
        before = self.domain_of(server)
        self.cloud.api.compute.reboot_server(server, 'HARD')
        self.cloud.wait_active(server)
        after = self.domain_of(server)
        self.assertNotEqual(before['pid'], after['pid'])
        self.assertEqual(before['process'], after['process'])
        levels = acts.show_levels(self.cloud, self.servers)
        self.assertEqual([], levels.faults)

    def test_6_stop_and_start_keep_the_level(self) -> None:
        server = self.servers[1]
        before = self.domain_of(server)
        compute = self.cloud.api.compute
        compute.stop_server(server)
        self.cloud.wait_status(server, 'SHUTOFF')
        compute.start_server(server)
        self.cloud.wait_active(server)
        self.assertEqual(before['process'], self.domain_of(server)['process'])

    def test_7_deletion_retires_the_levels(self) -> None:
        departure = acts.depart(self.cloud, self.servers)
        self.assertEqual([], departure.faults)
        self.assertEqual(3, len(departure.states))
