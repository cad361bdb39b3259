# SPDX-License-Identifier: Apache-2.0

import random

import testtools

from svirt_nova import exception
from svirt_nova.mcs import levels
from tests import libsepol

LEVELS = 10_000
ALPHABET = 'cs0123456789.,:- '

# The smallest policy with the categories of an MCS policy.
POLICY = f"""
(class file (read)) (classorder (file))
(sid kernel) (sidorder (kernel)) (sidcontext kernel (u r t ((s0) (s0))))
(user u) (role r) (type t) (userrole u r) (roletype r t)
{libsepol.CATEGORIES}
(userlevel u (s0)) (userrange u ((s0) (s0 (range c0 c1023))))
(allow t t (file (read)))
"""


def random_text(chance):
    """A level or range, often canonical, often not, often broken."""

    def categories():
        parts = []
        previous = 0
        for _ in range(chance.randrange(1, 7)):
            first = chance.randrange(1040 if chance.random() < 0.05 else 1024)
            if parts and chance.random() < 0.3:
                # Neighbours, which make runs.
                first = min(previous + 1, 1023)
            if chance.random() < 0.25:
                last = first + chance.randrange(-1, 6)
                parts.append(f'c{first}.c{last}')
                previous = max(first, last)
            else:
                parts.append(f'c{first}')
                previous = first
        if chance.random() < 0.3:
            chance.shuffle(parts)
        return ','.join(parts)

    def level():
        return 's0' if chance.random() < 0.1 else f's0:{categories()}'

    text = level()
    if chance.random() < 0.25:
        text = f'{text}-{chance.choice([level(), f"{text},c5", text])}'
    if chance.random() < 0.3:
        letters = list(text)
        for _ in range(chance.randrange(1, 3)):
            place = chance.randrange(len(letters) + 1)
            match chance.randrange(3):
                case 0:
                    letters.insert(place, chance.choice(ALPHABET))
                case 1 if place < len(letters):
                    letters[place] = chance.choice(ALPHABET)
                case _:
                    del letters[place : place + 1]
        text = ''.join(letters)
    return text


class LibsepolTest(testtools.TestCase):
    """We and libsepol agree on what is a level and how it is written."""

    def setUp(self):
        super().setUp()
        libsepol.require(self)
        self.policy = self.useFixture(libsepol.Policy(POLICY))

    def sid(self, text):
        """Number a level range, as libsepol does; None where it rejects it."""
        return self.policy.sid(f'u:r:t:{text}')

    def text(self, sid):
        """The canonical form of a level range."""
        return self.policy.text(sid).removeprefix('u:r:t:')

    def ours(self, text):
        try:
            return levels.LevelRange.parse(text)
        except exception.InvalidLevel:
            return None

    def test_random_levels(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        different = []
        valid = rewritten = miswritten = 0
        for _ in range(LEVELS):
            text = random_text(chance)
            ours, sid = self.ours(text), self.sid(text)
            if text.count('-') > 1:
                # libsepol stops reading at the second hyphen; the kernel
                # (mls_context_to_sid) looks for a category with that name.
                self.assertIsNone(ours, text)
                continue
            if ours is None or sid is None:
                if (ours is None) != (sid is None):
                    different.append((text, ours, sid))
                continue
            valid += 1
            form = self.text(sid)
            rewritten += form != text
            if self.sid(str(ours)) != sid:
                different.append((text, str(ours), form))
            elif self.sid(form) != sid:
                miswritten += 1
                if not ends_a_word(ours):
                    different.append((text, str(ours), form))
            elif form != str(ours):
                different.append((text, str(ours), form))
        self.assertEqual([], different[:10], f'seed {seed}')
        # The sample is worth something: much of each kind.
        self.assertGreater(valid, LEVELS // 4)
        self.assertGreater(LEVELS - valid, LEVELS // 10)
        self.assertGreater(rewritten, LEVELS // 20)
        self.assertLess(miswritten, LEVELS // 20)


def ends_a_word(found):
    """Whether a word of libsepol's bitmap ends before a gap.

    libsepol (3.4) then writes a later category as the end of a run, and
    rejects or misreads its own text; the kernel's writer, which is other
    code, does not.
    """
    return any(
        number % 64 == 63 and number + 1 not in level.categories
        for level in (found.low, found.high)
        for number in level.categories
    )
