# SPDX-License-Identifier: Apache-2.0
"""Lines in the forms of kernels and tools, and the answer to each."""

import json
import pathlib

import testtools

from tests.unit.denials import world

CORPUS = pathlib.Path(__file__).with_name('corpus.jsonl')
NAMES = {uuid: name for name, uuid in world.INSTANCES.items()}


def name_of(account):
    if account is None or account.holding is None:
        return None
    return NAMES[account.holding.instance_uuid]


class CorpusTest(testtools.TestCase):
    def test_each_line_has_its_verdict_and_names_who_had_the_levels(self):
        cases = [json.loads(line) for line in CORPUS.read_text().splitlines()]
        self.assertGreater(len(cases), 200)
        wrong = []
        for case in cases:
            answers = world.judge(case['text'], case['zone'])
            found = [
                (
                    judged.verdict and judged.verdict.value,
                    name_of(judged.source),
                    name_of(judged.target),
                )
                for _, judged in answers
            ]
            expected = (case['verdict'], case['source'], case['target'])
            is_one = len(found) == 1 or case.get('many')
            if set(found) != {expected} or not is_one:
                wrong.append((case['about'], expected, found))
        self.assertEqual([], wrong)
