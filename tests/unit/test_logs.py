# SPDX-License-Identifier: Apache-2.0

import io
import logging

import testtools
from oslo_config import cfg
from oslo_log import formatters
from oslo_log import log

from svirt_nova import logs
from svirt_nova import printing

NAME = 'svirt_nova.test_logs'
FORGED = 'b\n2026-11-27 INFO give_back: host c has nothing of instance u'


class LogsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = logs.get_logger(NAME)
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        # As Nova's programs write records.
        handler.setFormatter(
            formatters.ContextFormatter(config=self.make_conf())
        )
        logger = logging.getLogger(NAME)
        logger.addHandler(handler)
        logger.propagate = False
        self.addCleanup(logger.removeHandler, handler)

    @staticmethod
    def make_conf():
        conf = cfg.ConfigOpts()
        log.register_options(conf)
        conf([], default_config_files=[])
        return conf

    def lines(self):
        return self.stream.getvalue().splitlines()

    def test_argument_forges_no_line(self):
        for value in (FORGED, ValueError(FORGED), [FORGED], b'\n', object()):
            for text in ('host %s has it', 'host %r has it'):
                self.log.warning(text, value)
        self.log.warning('host %(name)s has it', {'name': FORGED})
        self.assertEqual(11, len(self.lines()))
        for line in self.lines():
            self.assertTrue(line.endswith(' has it'), line)
            self.assertTrue(line.isprintable())

    def test_argument_of_any_length_makes_a_line_of_bounded_length(self):
        for value in (5_000_000 * 'x', ['y' * 5_000_000], 5_000_000 * '\x1b'):
            self.log.warning('host %s has it', value)
        self.assertEqual(3, len(self.lines()))
        for line in self.lines():
            self.assertLess(len(line), printing.LONGEST + 1_000)
            self.assertTrue(line.endswith(' has it'))

    def test_numbers_are_formatted_as_numbers(self):
        self.log.warning('%d of %.1f, %s, %s', 5, 0.25, True, None)
        self.assertIn('5 of 0.2, True, None', self.stream.getvalue())

    def test_instance_is_named_as_nova_names_it(self):
        self.log.warning('%s', 'x', instance={'uuid': 'u-1'})
        self.assertIn('[instance: u-1] x', self.stream.getvalue())

    def test_text_of_an_error_forges_no_line_and_is_bounded(self):
        def fail():
            try:
                raise KeyError(FORGED)
            except KeyError as error:
                raise RuntimeError(5_000_000 * 'x' + FORGED) from error

        try:
            fail()
        except RuntimeError:
            self.log.exception('A call failed')
        text = self.stream.getvalue()
        self.assertLess(len(text), 3 * printing.LONGEST)
        self.assertNotIn('\n2026-11-27 INFO give_back', text)
        self.assertIn('Failure: RuntimeError: xxx', text)
        self.assertIn('Failure: KeyError: ', text)
        self.assertIn('in fail', text)
        self.assertIn('direct cause', text)

    def test_error_that_hides_another_one_hides_it_in_the_log(self):
        try:
            try:
                raise KeyError('inner')
            except KeyError:
                raise RuntimeError('outer') from None
        except RuntimeError:
            self.log.exception('A call failed')
        self.assertNotIn('inner', self.stream.getvalue())

    def test_chain_of_many_errors_is_bounded(self):
        error = None
        for number in range(10_000):
            new = ValueError(f'number {number}')
            new.__cause__ = error
            error = new
        self.log.warning('It failed', exc_info=error)
        self.assertIn('number 9999', self.stream.getvalue())
        self.assertLess(len(self.lines()), 100)

    def test_logger_that_is_asked_for_twice_shows_a_record_once(self):
        again = logs.get_logger(NAME)
        self.assertIs(self.log, again)
        self.assertEqual(1, logging.getLogger(NAME).filters.count(logs._show))
