# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova import exception
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

GUEST = 'system_u:system_r:svirt_t:s0:c1,c2'


class ContextTest(testtools.TestCase):
    """Contexts as texts, and how they compare."""

    def test_a_context_has_its_parts_and_its_text(self):
        found = contexts.Context.parse(GUEST)
        self.assertEqual(
            ('system_u', 'system_r', 'svirt_t'),
            (found.user, found.role, found.type),
        )
        self.assertEqual(levels.Level.parse('s0:c2,c1'), found.level)
        self.assertEqual(GUEST, str(found))

    def test_compares_category_sets(self):
        self.assertEqual(
            contexts.Context.parse('u:r:t:s0:c7,c8,c9'),
            contexts.Context.parse('u:r:t:s0:c9,c7.c8'),
        )
        self.assertNotEqual(
            contexts.Context.parse('u:r:t:s0:c7'),
            contexts.Context.parse('u:r:t:s0-s0:c7'),
        )

    def test_the_high_level_counts(self):
        found = contexts.Context.parse('u:r:t:s0-s0:c0.c1023')
        self.assertEqual(1024, len(found.level.categories))
        self.assertEqual('u:r:t:s0-s0:c0.c1023', str(found))

    def test_one_trailing_nul(self):
        self.assertEqual(
            contexts.Context.parse(GUEST),
            contexts.Context.parse(GUEST + '\0'),
        )
        self.assertRaises(
            exception.InvalidContext,
            contexts.Context.parse,
            GUEST + '\0\0',
        )

    def test_another_level(self):
        level = levels.Level.parse('s0:c5,c6')
        found = contexts.Context.parse('u:r:t:s0-s0:c0.c1023').at(level)
        self.assertEqual('u:r:t:s0:c5,c6', str(found))

    def test_what_is_no_context(self):
        for text in (
            '', 'u', 'u:r:t', 'u:r:t:', ':r:t:s0', 'u::t:s0', 'u:r::s0',
            'u:r:t:s1', 'u:r:t:s0:c5000', 'u r:r:t:s0', 'u:r:t\n:s0',
            'unlabeled', '1u:r:t:s0', 'u:r:t:s0:c1:c2',
        ):  # fmt: skip
            error = self.assertRaises(
                exception.InvalidContext, contexts.Context.parse, text
            )
            self.assertNotIn('\n', str(error))
