# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova avc`` on lines that someone wants to be read wrong.

``SVIRT_NOVA_AVC_LINES`` is how many texts of one or more lines are drawn.
"""

import collections
import os
import time
import zoneinfo

from svirt_nova.cmd import avc
from svirt_nova.cmd import avc_columns
from svirt_nova.cmd import known_levels
from svirt_nova.denials import holders
from svirt_nova.denials import line_reader
from tests.unit.cmd import test_avc_corpus
from tests.unit.denials import clouds
from tests.unit.denials import hostile_texts

LINES = int(os.environ.get('SVIRT_NOVA_AVC_LINES', '1500'))
SEED = int(os.environ.get('SVIRT_NOVA_AVC_SEED', '17'))

MOST_SECONDS = 2.0
"""How long a text may take of a processor: one of 600 lines, or of 400,000
characters."""

NAMES = clouds.instances()


class NoName:
    def of(self, uuid):
        return None


def _name(account):
    if account is None or account.holding is None:
        return None
    return NAMES[account.holding.instance_uuid]


class HostileLinesTest(test_avc_corpus.StoreCase):
    time_limit = max(300, LINES // 50)

    def setUp(self):
        super().setUp()
        self.use_cloud('by-instance')
        self.known = known_levels.KnownLevels(
            self.store, self.conf, holders.CLOCK_ERROR
        )

    def judge(self, text):
        """What the command makes of a text, as far as to its cells."""
        reader = line_reader.LineReader(zoneinfo.ZoneInfo('UTC'))
        found = [
            each for line in text.split('\n') for each in reader.read(line)
        ]
        found += reader.finish()
        for number, sighting in found:
            judged = avc._judge(sighting, self.known)
            for cell in avc_columns.row(number, sighting, judged, NoName()):
                if hasattr(cell, 'human_readable'):
                    for line in cell.human_readable().split('\n'):
                        self.assertTrue(line.isprintable(), repr(line))
            yield judged

    def test_nobody_is_named_but_whom_the_kernel_says(self):
        painter = hostile_texts.Painter(SEED)
        counted = collections.Counter()
        slowest = 0.0
        while counted['texts'] < LINES:
            drawn = painter.draw()
            begin = time.process_time()
            answers = [*self.judge(drawn.text)]
            slowest = max(slowest, time.process_time() - begin)
            counted['lines'] += drawn.text.count('\n') + 1
            counted['texts'] += 1
            for judged in answers:
                self._check(drawn, judged, counted)
            if drawn.is_whole:
                self._check_is_told(drawn, answers)
        self.assertLess(slowest, MOST_SECONDS)
        for what in ('doubtful', 'named'):
            self.assertGreater(counted[what], counted['texts'] // 20, what)
        if 'SVIRT_NOVA_AVC_LINES' in os.environ:
            print(dict(counted), f'slowest {slowest:.3f} s')

    def _check(self, drawn, judged, counted):
        source, target = _name(judged.source), _name(judged.target)
        verdict = judged.verdict and judged.verdict.value
        where = (drawn, judged)
        if drawn.may_show_labels and verdict is None:
            return
        self.assertIn(source, (None, drawn.source), where)
        self.assertIn(target, (None, drawn.target), where)
        if drawn.is_junk:
            self.assertEqual('doubtful', verdict, where)
        counted['doubtful' if verdict == 'doubtful' else 'answered'] += 1
        counted['named'] += bool(source or target)

    def _check_is_told(self, drawn, answers):
        """Check that a name has not hidden an attack."""
        self.assertEqual(1, len(answers), drawn)
        if drawn.source and drawn.target:
            self.assertEqual(
                (drawn.source, drawn.target),
                (_name(answers[0].source), _name(answers[0].target)),
                drawn,
            )
            self.assertNotEqual('doubtful', answers[0].verdict.value)
