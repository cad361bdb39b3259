# SPDX-License-Identifier: Apache-2.0
"""The manual pages: each option of a program is described there."""

import contextlib
import io
import pathlib
import re

import testtools
from cliff import commandmanager

from svirt_nova.cmd import manage
from svirt_nova.cmd import service
from svirt_nova.cmd import status

PAGES = pathlib.Path(__file__).parents[3] / 'doc/source/cli'

_OPTION = re.compile(r'(?<![\w-])--?[a-z][\w-]*')


def page(name):
    """The source of a page, with what it includes."""
    text = (PAGES / f'{name}.rst').read_text()
    for included in re.findall(r'^\.\. include:: (\S+)', text, re.M):
        text += (PAGES / included).read_text()
    return text


def options_of(main, *args):
    """The options that a program's help lists."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.suppress(SystemExit),
    ):
        main([*args, '--help'])
    lines = [
        line
        for line in out.getvalue().splitlines()
        if re.match(r' {2,4}-', line)
    ]
    return {each for line in lines for each in _OPTION.findall(line[:60])}


class ManualPagesTest(testtools.TestCase):
    def check(self, name, options):
        self.assertIn('--config-file', options)
        described = {
            each
            for line in page(name).splitlines()
            if line.startswith('.. option::')
            for each in _OPTION.findall(line)
        }
        self.assertEqual(set(), options - described)

    def test_each_option_of_the_programs_is_described(self):
        self.check('svirt-nova-allocator', options_of(service.main))
        self.check(
            'svirt-nova-status',
            options_of(status.main) | options_of(status.main, 'upgrade'),
        )
        self.check('svirt-nova', options_of(manage.main))

    def test_each_option_that_all_commands_have_is_described_once(self):
        conf = {}
        exec((PAGES.parent / 'conf.py').read_text(), conf)
        for option in conf['autoprogram_cliff_ignored']:
            self.assertIn(option, page('svirt-nova'))

    def test_each_command_says_what_it_does_and_what_its_options_do(self):
        found = commandmanager.CommandManager(manage.NAMESPACE)
        app = manage.SvirtNova()
        for name, _ in found:
            made, _, _ = found.find_command(name.split())
            command = made(app, None)
            parser = command.get_parser(name)
            self.assertTrue(command.get_description(), name)
            for action in parser._actions:
                if action.option_strings:
                    self.assertTrue(action.help, (name, action))
