# SPDX-License-Identifier: Apache-2.0

import importlib.metadata
import pathlib
import subprocess
import sys
import unittest
import uuid

import testtools
from oslo_config import cfg
from tempest.test_discover import plugins

from svirt_nova.tempest import options

ROOT = pathlib.Path(__file__).parents[3]

WITHOUT_TEMPEST = """
import sys
import svirt_nova.cmd.manage
import svirt_nova.conf
import svirt_nova.host.privsep
import svirt_nova.host.domain_xml
import svirt_nova.tempest.access
import svirt_nova.tempest.answers
import svirt_nova.tempest.options
import svirt_nova.tempest.hosts
print([name for name in sys.modules if name.partition('.')[0] == 'tempest'])
"""

WITHOUT_NOVA = """
import sys
import svirt_nova.tempest.plugin
import svirt_nova.tempest.api.test_inside
import svirt_nova.tempest.api.test_outside
print([name for name in sys.modules if name.partition('.')[0] == 'nova'])
"""


def load():
    [point] = importlib.metadata.distribution(
        'svirt-nova'
    ).entry_points.select(group='tempest.test_plugins')
    return point.load()()


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


class PluginTest(testtools.TestCase):
    def test_the_entry_point_is_a_plugin(self):
        self.assertIsInstance(load(), plugins.TempestPlugin)

    def test_registered_options_can_be_read(self):
        conf = cfg.ConfigOpts()
        conf.register_group(cfg.OptGroup('service_available'))
        load().register_opts(conf)
        conf([], default_config_files=[], default_config_dirs=[])
        self.assertFalse(conf.service_available.svirt_nova)
        for opt in options.OPTS:
            getattr(conf.svirt_nova, opt.dest)

    def test_the_options_are_listed_for_a_sample(self):
        listed = load().get_opt_lists()
        self.assertEqual(
            ['svirt_nova', 'service_available'], [name for name, _ in listed]
        )
        names = {opt.name for _, opts in listed for opt in opts}
        self.assertLessEqual({'hosts', 'become', 'svirt_nova'}, names)

    def test_each_option_says_what_it_does(self):
        for _, opts in load().get_opt_lists():
            for opt in opts:
                self.assertTrue(opt.help, opt.name)
                if isinstance(opt, cfg.IntOpt):
                    self.assertIn('Seconds', opt.help, opt.name)

    def test_each_option_is_in_the_guide(self):
        guide = (ROOT / 'doc/source/tempest.rst').read_text()
        for opt in options.OPTS:
            self.assertIn(f'``{opt.name}``', guide)

    def test_all_tests_are_found_and_have_ids(self):
        directory, top = load().load_tests()
        found = list(
            tests_of(
                unittest.TestLoader().discover(directory, top_level_dir=top)
            )
        )
        self.assertEqual(
            {
                'InsideTest',
                'OutsideAdministrationTest',
                'OutsideOperationsTest',
            },
            {type(test).__name__ for test in found},
        )
        ids = {}
        for test in found:
            name, _, identity = test.id().partition('[id-')
            uuid.UUID(identity.rstrip(']'))
            ids.setdefault(identity, set()).add(name.rpartition('.')[2])
        for names in ids.values():
            self.assertEqual(1, len(names), names)


class ImportsTest(testtools.TestCase):
    def imported(self, program):
        return subprocess.run(
            [sys.executable, '-c', program],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def test_modules_beside_the_plugin_do_not_import_tempest(self):
        self.assertEqual('[]', self.imported(WITHOUT_TEMPEST))

    def test_the_plugin_does_not_import_nova(self):
        self.assertEqual('[]', self.imported(WITHOUT_NOVA))
