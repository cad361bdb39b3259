# SPDX-License-Identifier: Apache-2.0
"""The alert rules, the dashboard and the metrics that they are about."""

import json
import pathlib
import re

import fixtures
import prometheus_client
import testtools
import yaml

from svirt_nova.metrics import definitions
from svirt_nova.metrics import tallies
from tests import promtool
from tools import metrics_list

ROOT = pathlib.Path(__file__).parents[3]
RULES = ROOT / 'etc/prometheus/svirt_nova.rules.yml'
RULES_TEST = pathlib.Path(__file__).with_name('svirt_nova.rules.test.yml')
DASHBOARD = ROOT / 'etc/grafana/svirt_nova.json'

# Of Prometheus and of node_exporter.
FOREIGN = {'up', 'node_textfile_mtime_seconds'}
FOREIGN_LABELS = {'instance', 'job', 'le', 'file'}

KNOWN = {
    sample: each
    for defined in metrics_list.PROGRAMS.values()
    for each in defined
    for sample in each.samples
}


def alerts():
    groups = yaml.safe_load(RULES.read_text())['groups']
    return [rule for group in groups for rule in group['rules']]


def panels():
    """The expressions of the dashboard, with the variables that it sets."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard['panels']:
        for target in panel.get('targets', ()):
            yield target['expr'].replace('$__rate_interval', '5m')


def metrics_in(expression):
    """The metrics of an expression, with their matchers of labels."""
    return re.findall(
        r'\b(svirt_nova_\w+|node_\w+|up\b)(?:\{([^}]*)\})?', expression
    )


def unknown(expression):
    """What an expression has that no program shows."""
    for name, matchers in metrics_in(expression):
        if name in FOREIGN:
            continue
        if name not in KNOWN:
            yield name
            continue
        labels = KNOWN[name].labels
        for label, operator, value in re.findall(
            r'(\w+)(!?=~?)"([^"]*)"', matchers
        ):
            if label in FOREIGN_LABELS | {'program'}:
                continue
            if label not in labels or (
                '~' not in operator and value not in labels[label]
            ):
                yield f'{name}{{{label}="{value}"}}'


class ShippedTest(testtools.TestCase):
    def test_promtool_accepts_the_rules(self):
        promtool.check(self, 'check', 'rules', str(RULES))

    def test_alerts_fire_when_they_should_and_no_sooner(self):
        promtool.check(self, 'test', 'rules', str(RULES_TEST))

    def test_each_alert_is_shown_to_fire(self):
        text = RULES_TEST.read_text()
        self.assertEqual(
            [],
            [each['alert'] for each in alerts() if each['alert'] not in text],
        )

    def test_each_alert_says_what_happened_and_what_to_do(self):
        for each in alerts():
            self.assertIn(each['labels']['severity'], ('warning', 'critical'))
            notes = each['annotations']
            self.assertEqual({'summary', 'description'}, set(notes))
            for note in notes.values():
                self.assertTrue(note.rstrip().endswith('.'), note)

    def test_alerts_use_only_what_is_shown(self):
        self.assertEqual(
            [], [name for each in alerts() for name in unknown(each['expr'])]
        )

    def test_panels_use_only_what_is_shown(self):
        self.assertLess(20, len([*panels()]))
        self.assertEqual(
            [], [name for each in panels() for name in unknown(each)]
        )

    def test_what_is_not_shown_is_found(self):
        self.assertEqual(
            ['svirt_nova_x', 'svirt_nova_levels{state="y"}'],
            [*unknown('svirt_nova_x + svirt_nova_levels{state="y"} / up')],
        )

    def test_promtool_reads_the_expressions_of_all_panels(self):
        path = self.useFixture(fixtures.TempDir()).join('panels.yml')
        rules = [
            {'record': f'panel:{number}', 'expr': each}
            for number, each in enumerate(panels())
        ]
        with open(path, 'w') as file:
            yaml.safe_dump({'groups': [{'name': 'x', 'rules': rules}]}, file)
        promtool.check(self, 'check', 'rules', path)

    def test_panels_do_not_overlap_and_say_what_they_show(self):
        taken = set()
        for panel in json.loads(DASHBOARD.read_text())['panels']:
            at = panel['gridPos']
            cells = {
                (x, y)
                for x in range(at['x'], at['x'] + at['w'])
                for y in range(at['y'], at['y'] + at['h'])
            }
            self.assertEqual(set(), cells & taken, panel['title'])
            self.assertTrue(all(x < 24 for x, _ in cells))
            taken |= cells
            self.assertTrue(panel['type'] == 'row' or panel['description'])


class MetricsTest(testtools.TestCase):
    def values(self, program):
        """The metrics of a program, with a value for each series."""
        defined = metrics_list.PROGRAMS[program]
        made = tallies.Tallies(program, defined)
        for each in defined:
            for labels in each.series():
                if each.kind is definitions.Kind.GAUGE:
                    made.set(each, 1, *labels)
        return made

    def shown(self, programs):
        """What Prometheus or node_exporter reads of some programs."""
        text = ''
        for program in programs:
            registry = prometheus_client.CollectorRegistry()
            registry.register(self.values(program))
            text += prometheus_client.generate_latest(registry).decode()
        return text

    def test_promtool_accepts_the_metrics_of_each_program(self):
        for program in metrics_list.PROGRAMS:
            promtool.check(
                self, 'check', 'metrics', text=self.shown([program])
            )

    def test_no_two_programs_of_a_host_have_the_same_series(self):
        """node_exporter refuses all files of a host then."""
        lines = [
            line.rpartition(' ')[0]
            for line in self.shown(metrics_list.PROGRAMS).splitlines()
            if not line.startswith('#')
        ]
        self.assertEqual(len(lines), len(set(lines)))

    def test_a_program_has_a_number_of_series_that_is_known(self):
        for program in metrics_list.PROGRAMS:
            lines = self.shown([program]).splitlines()
            self.assertLess(
                len([line for line in lines if line[0] != '#']), 800
            )

    def test_helps_are_sentences(self):
        for each in KNOWN.values():
            self.assertRegex(each.help, r'^[A-Z].*\.$')
