# SPDX-License-Identifier: Apache-2.0
"""Every entry point loads, and is what its namespace wants."""

import configparser
import importlib.metadata
import pathlib

import fixtures
import testtools
from cliff import command
from oslo_config import cfg
from oslo_config import generator
from tempest.test_discover import plugins

from svirt_nova.allocator import base

ROOT = pathlib.Path(__file__).parents[2]

SAMPLE = ROOT / 'etc' / 'svirt-nova.conf.sample'


def declared() -> dict[str, set[str]]:
    """The entry points of setup.cfg, by namespace."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    return {
        namespace: {
            ' '.join(line.split()) for line in text.strip().splitlines()
        }
        for namespace, text in setup['options.entry_points'].items()
    }


class EntryPointsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.installed = importlib.metadata.distribution(
            'svirt-nova'
        ).entry_points

    def test_the_installed_ones_are_those_of_this_checkout(self):
        found: dict[str, set[str]] = {}
        for point in self.installed:
            found.setdefault(point.group, set()).add(
                f'{point.name} = {point.value}'
            )
        self.assertEqual(declared(), found)

    def test_each_loads(self):
        kinds = {
            'console_scripts': callable,
            'oslo.config.opts': callable,
            base.NAMESPACE: lambda found: issubclass(found, base.Allocator),
            'tempest.test_plugins': lambda found: issubclass(
                found, plugins.TempestPlugin
            ),
            'svirt_nova.cli': lambda found: issubclass(found, command.Command),
        }
        for point in self.installed:
            with self.subTest(point.name):
                self.assertTrue(kinds[point.group](point.load()), point)

    def test_each_list_of_options_can_be_registered_and_read(self):
        points = self.installed.select(group='oslo.config.opts')
        self.assertNotEqual(0, len(points))
        for point in points:
            conf = cfg.ConfigOpts()
            conf([], default_config_files=[], default_config_dirs=[])
            for group, opts in point.load()():
                conf.register_opts(opts, group=group)
                for opt in opts:
                    self.assertTrue(opt.help, f'{group}.{opt.name}')
                    getattr(conf[str(group)], opt.dest)


class SampleTest(testtools.TestCase):
    def test_the_sample_is_what_the_generator_makes_now(self):
        directory = self.useFixture(fixtures.TempDir()).path
        made = pathlib.Path(directory, 'sample')
        generator.main(
            [
                '--config-file',
                str(ROOT / 'etc' / 'svirt-nova-config-generator.conf'),
                '--output-file',
                str(made),
            ]
        )
        self.assertEqual(
            SAMPLE.read_text(),
            made.read_text(),
            'run "tox -e genconfig" and commit the sample',
        )
