# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova host check`` on a good host, and on many that are not."""

from __future__ import annotations

import contextlib
import io
import json

import ddt
import testtools

from svirt_nova.cmd import manage
from tests import samples
from tests.fakes import compute_node
from tests.unit.cmd import broken_hosts

WEB, OTHER = compute_node.WEB, compute_node.OTHER
STRANGE = compute_node.STRANGE


class HostCheckTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.node = self.useFixture(compute_node.ComputeNode())

    def program(self, *args):
        """The exit status, standard output and standard error."""
        self.node.arrange()
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = manage.main(
                [
                    '--config-file',
                    str(self.node.config()),
                    'host',
                    'check',
                    *args,
                ]
            )
        return status, out.getvalue(), err.getvalue()

    def rows(self):
        """The exit status, and the rows that are not all right, by name."""
        status, out, err = self.program('-f', 'json')
        self.assertEqual('', err)
        return status, {
            row['Check']: row
            for row in json.loads(out)
            if row['Result'] != 'ok'
        }


class GoodHostTest(HostCheckTestCase):
    def test_a_good_host_has_no_finding(self):
        status, out, err = self.program('-f', 'json')
        found = json.loads(out)
        self.assertEqual([], [row for row in found if row['Result'] != 'ok'])
        self.assertEqual((0, ''), (status, err))
        self.assertEqual(
            [
                'mode',
                'driver found by Nova',
                'SELinux binding',
                'hooks in Nova',
                'driver in use',
                'kernel',
                'libvirt',
                'policy',
                "QEMU's user",
                'booleans',
                'privileged helper',
                'instances_path',
                "volumes' mounts",
                'read-only socket',
                'one store',
                'store',
                'what Nova remembers',
                'guest web',
            ],
            [row['Check'] for row in found],
        )
        self.assertEqual(
            {
                'Check': 'guest web',
                'Result': 'ok',
                'Instance': WEB,
                'Details': [
                    f"{self.node.level}: its process, libvirt's XML, 2 "
                    f'files, the store and its claim, what Nova remembers'
                ],
            },
            found[-1],
        )

    def test_a_table_for_people_fits_a_terminal(self):
        self.node.kernel.permissive = {'svirt_t'}
        status, out, err = self.program()
        self.assertEqual((4, ''), (status, err))
        self.assertIn('| guest web ', out)
        self.assertEqual(
            [], [line for line in out.splitlines() if len(line) > 160]
        )

    def test_a_stopped_guest_is_right_at_its_level(self):
        [domain] = self.node.domains
        domain.process = ''
        self.assertEqual((0, {}), self.rows())

    def test_a_guest_that_was_adopted_is_right(self):
        self.node.relabel(
            compute_node.seclabel(self.node.level, kind='dynamic')
        )
        [domain] = self.node.domains
        domain.definition = domain.xml
        self.assertEqual((0, {}), self.rows())

    def test_a_confined_guest_that_nova_did_not_make_is_right(self):
        self.node.domains.append(
            self.node.domain(
                OTHER, 'own', compute_node.seclabel(STRANGE), STRANGE, ''
            )
        )
        self.assertEqual((0, {}), self.rows())

    def test_volumes_on_labelled_nfs_are_right(self):
        self.node.mounts[self.node.directory / 'mnt/hash'] = (
            f'{compute_node.NFS},seclabel'
        )
        self.assertEqual((0, {}), self.rows())

    def test_the_mode_permissive_makes_a_warning_of_what_is_wrong(self):
        self.node.options['svirt']['mode'] = 'permissive'
        self.node.kernel.enforces = 0
        status, found = self.rows()
        self.assertEqual(3, status)
        self.assertIn('setenforce 1', found['kernel']['Details'][0])
        self.assertEqual('warning', found['kernel']['Result'])

    def test_guests_are_compared_where_the_store_is_away(self):
        """With the level that libvirt was given."""
        self.node.files[self.node.disk()] = samples.IMAGE
        self.node.options['svirt_database']['connection'] = 'sqlite:////x/y'
        status, found = self.rows()
        self.assertEqual(4, status)
        self.assertIn('there is no directory /x', found['store']['Details'][0])
        self.assertIn(
            f'the level of the instance is {self.node.level}',
            found['guest web']['Details'][0],
        )

    def test_what_nova_does_not_say_is_not_known(self):
        self.node.remembered = None
        status, found = self.rows()
        self.assertEqual(3, status)
        self.assertEqual({'one store', 'what Nova remembers'}, found.keys())
        self.assertEqual(
            {'unknown'}, {row['Result'] for row in found.values()}
        )


@ddt.ddt
class BrokenHostTest(HostCheckTestCase):
    def _check(self, status, result, break_it, expected):
        break_it(self.node)
        found_status, found = self.rows()
        self.assertEqual(status, found_status, found)
        for check, words in expected.items():
            self.assertIn(check, found)
            details = ' '.join(found[check]['Details'])
            self.assertIn(words, details)
            self.assertEqual(result, found[check]['Result'])
        # Nothing else is blamed than what depends on it.
        allowed = {
            *expected,
            *broken_hosts.DEPENDENT.get(next(iter(expected), ''), ()),
        }
        self.assertEqual(set(), found.keys() - allowed)

    @ddt.data(*broken_hosts.BROKEN)
    def test_it_is_an_error_if(self, name):
        self._check(4, 'error', *broken_hosts.BROKEN[name])

    @ddt.data(*broken_hosts.DOUBTFUL)
    def test_it_is_a_warning_if(self, name):
        self._check(3, 'warning', *broken_hosts.DOUBTFUL[name])
