# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova avc`` on a real store, with lines in the forms of tools.

See :mod:`tests.unit.denials.clouds` for how to add lines.
"""

import collections
import io
import json
import sys
from unittest import mock

import fixtures
import testtools

from tests import quick_store
from tests.unit.cmd import fake
from tests.unit.denials import clouds

NAMES = clouds.instances()


def _side(cell):
    then = cell and cell['then']
    if then is None:
        return '-'
    return f'{NAMES[then["instance"]]} of {then["project"]}'


def answer(row):
    """What a row of the command says, as the corpus writes it."""
    return (
        row['Verdict'] or 'label',
        _side(row['Source']),
        _side(row['Target']),
    )


class StoreCase(fake.ProgramTestCase):
    """Runs the program on stores that are filled from ``clouds.yaml``."""

    allocator = mock.Mock
    options = {
        name: clouds.CLOUDS[name] for name in ('cooling_time', 'history_time')
    }

    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.cmd.known_levels.now', lambda: clouds.NOW
            )
        )
        self.stores = {}

    def use_cloud(self, name):
        """Let the program use the store of a cloud."""
        if name not in self.stores:
            store = self.useFixture(quick_store.QuickStore(clouds.space(name)))
            clouds.fill(store, name)
            self.stores[name] = store.make(**self.options)
            self.conf = store.conf(**self.options)
        self.store = self.stores[name]
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.allocator.base.load', lambda conf: self.store
            )
        )

    def rows(self, arguments, data):
        """What the command says of what standard input has."""
        stream = io.TextIOWrapper(io.BytesIO(data), encoding='utf-8')
        with mock.patch.object(sys, 'stdin', stream):
            status, out, err = self.program('avc', '-f', 'json', *arguments)
        self.assertEqual((0, ''), (status, err))
        return json.loads(out)


class CorpusTest(StoreCase):
    def test_each_line_has_its_verdict_and_names_who_had_the_levels(self):
        wrong = []
        for form in clouds.forms():
            self.use_cloud(form.cloud)
            for case, found in self._answers(form):
                if found != [*case.expected]:
                    wrong.append(
                        f'{form.path.name}:{case.number}: expected '
                        f'{case.expected}, found {found}'
                    )
        self.assertEqual([], wrong, '\n'.join(wrong))

    def _answers(self, form):
        """Each case of a file, and what the command says of it."""
        if form.is_apart:
            for case in form.cases:
                text = '\n'.join(case.lines)
                rows = self.rows(form.arguments, text.encode())
                yield case, [answer(row) for row in rows]
            return
        rows = self.rows(form.arguments, form.path.read_bytes())
        found = collections.defaultdict(list)
        for row in rows:
            case = max(
                each.number
                for each in form.cases
                if each.number <= row['Line']
            )
            found[case].append(answer(row))
        for case in form.cases:
            yield case, found[case.number]


class SizeTest(testtools.TestCase):
    def test_it_has_lines_of_all_kinds(self):
        cases = [each for form in clouds.forms() for each in form.cases]
        self.assertGreater(len(cases), 300)
        verdicts = collections.Counter(
            verdict for each in cases for verdict, *_ in each.expected
        )
        self.assertLessEqual(
            {
                'cross-project',
                'same-project',
                'own',
                'host',
                'not-ours',
                'doubtful',
                'label',
            },
            {each for each, number in verdicts.items() if number > 10},
        )
        changed = [
            answer
            for each in cases
            for answer in each.expected
            if 'shop-web of shop' in answer and answer[0] != 'label'
        ]
        # Their level is another instance's now.
        self.assertGreater(len(changed), 30)
