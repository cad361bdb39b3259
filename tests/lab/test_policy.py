# SPDX-License-Identifier: Apache-2.0
"""Where the kernel's policy does not keep guests apart, none is started.

The labels stay as they are, and "getenforce" says Enforcing all the while.
The tests share two instances, and go by their names' order; each ends with
the host's own policy in the kernel.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any

from tests.lab import acts
from tests.lab import cache
from tests.lab import image
from tests.lab import policies
from tests.lab import preparation
from tests.lab.case import LabTestCase
from tests.lab.progress import LabError

#: What each instance has: its disk, its config drive.
FILES = 2
PERMISSIVE = 'permissive'
UNCONSTRAINED = 'unconstrained'
#: What an operator is told of each policy, and what to do.
WORDS = {
    PERMISSIVE: (
        'the domain svirt_t of guests is permissive',
        'Run "semanage permissive -d svirt_t"',
    ),
    UNCONSTRAINED: (
        'the loaded SELinux policy allows a guest',
        'to use the disk of another guest',
        'Categories do not confine svirt_t. Remove the policy module that '
        'exempts it',
    ),
}
STATUS = (
    f'{preparation.python()} {cache.VENV}/bin/svirt-nova-status '
    '--config-file /etc/nova/nova.conf upgrade check'
)


class PolicyTest(LabTestCase):
    servers: list[Any]
    policies: dict[str, Any]
    #: How long the log of nova-compute was.
    begin: int
    #: Whether nova-compute works.
    serves = True

    @classmethod
    def prepare(cls) -> None:
        place = cache.run_directory() / 'policies'
        place.mkdir()
        with (
            cls.cloud.progress.step('two instances, two policies'),
            concurrent.futures.ThreadPoolExecutor(1) as pool,
        ):
            built = pool.submit(
                policies.build,
                image.current(),
                place,
                {
                    PERMISSIVE: policies.permissive,
                    UNCONSTRAINED: policies.unconstrained,
                },
                cls.cloud.logs / 'policies.log',
            )
            cls.servers = cls.cloud.boot(['one', 'two'])
            cls.addClassCleanup(cls.cloud.delete, cls.servers)
            cls.policies = built.result()
        cls.begin = cls.host.compute_log_length()

    def setUp(self) -> None:
        self.compute = self.cloud.api.compute

    @classmethod
    def recover(cls) -> None:
        """Bring the host's own policy back, and nova-compute."""
        cls.host.load_policy()
        if not cls.serves:
            cls.cloud.restart_compute(cls.host)
            cls.serves = True

    def spoil(self, name: str) -> None:
        """Load a policy that does not keep guests apart."""
        self.addCleanup(self.recover)
        self.host.load_policy(self.policies[name])

    def check_open(self) -> None:
        """Each guest opens the other's files, and getenforce sees nothing."""
        self.assertEqual('Enforcing', self.host.run('getenforce').strip())
        outcome, _ = acts.try_all(
            self.cloud, self.servers, acts.look(self.cloud)
        )
        self.assertEqual([], outcome.errors())
        self.assertEqual(2 * FILES, outcome.counts()['own_opened'])
        self.assertEqual(2 * FILES, outcome.counts()['foreign_opened'])

    def check_apart(self) -> None:
        """Each guest opens its own files, and none of the other's."""
        assault = acts.attack(self.cloud, self.servers)
        self.assertEqual([], assault.faults)
        self.assertEqual(2 * FILES, assault.attack.counts()['foreign_denied'])

    def fault_of_new_instance(self) -> str:
        """Give Nova's fault of an instance that must not start."""
        name = 'refused'
        try:
            self.cloud.boot([name])
        except LabError as error:
            fault = str(error)
        else:
            fault = ''
        server = self.compute.find_server(name, ignore_missing=False)
        self.cloud.delete([server])
        return fault

    def tell(self, what: str, text: str) -> None:
        """Show people what an operator sees."""
        self.cloud.progress.say(f'{what}: {text}')

    def check_starts_are_refused(self, name: str) -> None:
        """Nova starts no guest, says why, and leaves alone what runs."""
        begin = self.host.compute_log_length()
        self.spoil(name)
        self.check_open()
        before = self.domain_of(self.servers[0])

        fault = self.fault_of_new_instance()
        self.tell('fault', fault)
        # Nova cuts a fault after 255 characters.
        self.assertIn('is in ERROR: Build of instance', fault)
        self.assertIn(WORDS[name][0], fault)

        self.compute.reboot_server(self.servers[0], 'HARD')
        self.cloud.wait_active(self.servers[0])
        self.assertEqual(before['pid'], self.domain_of(self.servers[0])['pid'])

        lines = self.host.compute_log(begin)
        critical = [line for line in lines if ' CRITICAL ' in line]
        for line in critical:
            self.tell('log', line)
        for words in ('no guest is started here until it does', *WORDS[name]):
            self.assertIn(words, '\n'.join(critical))
        reboot = [
            line
            for line in lines
            if ' ERROR ' in line and self.servers[0].id in line
        ]
        self.assertIn(WORDS[name][0], '\n'.join(reboot))

    def test_1_a_permissive_domain_stops_all_starts(self) -> None:
        self.check_starts_are_refused(PERMISSIVE)
        answer = self.host.run(f'{STATUS} || echo status $?')
        # It is a table, whose lines end with spaces and bars.
        said = ' '.join(answer.replace('|', ' ').split())
        self.tell('svirt-nova-status', said)
        self.assertTrue(said.endswith('status 2'), said)
        self.assertIn(WORDS[PERMISSIVE][0], said)
        status, rows = self.host.check()
        wrong = [row for row in rows if row['Result'] == 'error']
        self.tell('svirt-nova host check', str(wrong))
        self.assertEqual(4, status)
        self.assertIn(WORDS[PERMISSIVE][0], str(wrong))

    def test_2_guests_start_again_under_the_policy_of_before(self) -> None:
        self.check_apart()
        [server, _] = self.servers
        before = self.domain_of(server)
        self.compute.reboot_server(server, 'HARD')
        self.cloud.wait_active(server)
        after = self.domain_of(server)
        self.assertNotEqual(before['pid'], after['pid'])
        self.assertEqual(before['process'], after['process'])
        told = [
            line
            for line in self.host.compute_log(self.begin)
            if 'keeps guests apart again' in line
        ]
        self.assertEqual(1, len(told), told)
        self.tell('log', told[0])

    def test_3_a_domain_that_mcs_does_not_constrain_stops_all_starts(
        self,
    ) -> None:
        self.check_starts_are_refused(UNCONSTRAINED)

    def test_4_nova_compute_does_not_start_under_such_a_policy(self) -> None:
        for name, words in WORDS.items():
            with self.subTest(name):
                begin = self.host.compute_log_length()
                self.spoil(name)
                type(self).serves = False
                self.cloud.refused_start(self.host)
                critical = [
                    line
                    for line in self.host.compute_log(begin)
                    if ' CRITICAL ' in line and 'cannot start' in line
                ]
                for line in critical:
                    self.tell('log', line)
                for each in words:
                    self.assertIn(each, '\n'.join(critical))
        self.recover()
        self.check_apart()
