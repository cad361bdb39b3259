# SPDX-License-Identifier: Apache-2.0

import ctypes
import os
import pathlib
import random
import shutil
import subprocess

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.mcs import levels

LIBRARY = 'libsepol.so.2'
LEVELS = 10_000
ALPHABET = 'cs0123456789.,:- '

# The smallest policy with the categories of an MCS policy.
POLICY = f"""
(class file (read)) (classorder (file))
(sid kernel) (sidorder (kernel)) (sidcontext kernel (u r t ((s0) (s0))))
(user u) (role r) (type t) (userrole u r) (roletype r t)
(sensitivity s0) (sensitivityorder (s0))
{' '.join(f'(category c{n})' for n in range(levels.CATEGORY_LIMIT))}
(categoryorder ({' '.join(f'c{n}' for n in range(levels.CATEGORY_LIMIT))}))
(sensitivitycategory s0 (range c0 c1023))
(userlevel u (s0)) (userrange u ((s0) (s0 (range c0 c1023))))
(allow t t (file (read)))
"""


class LibsepolPolicy(fixtures.Fixture):
    """A compiled MCS policy, loaded into libsepol."""

    def _setUp(self):
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        source = directory / 'mcs.cil'
        source.write_text(POLICY)
        binary = directory / 'policy'
        subprocess.run(
            ['secilc', '-M', 'true', '-o', binary, '-f', os.devnull, source],
            check=True,
            capture_output=True,
            timeout=60,
        )
        self._sepol = sepol = ctypes.CDLL(LIBRARY)
        sepol.sepol_debug(0)
        sepol.sepol_set_policydb_from_file.argtypes = [ctypes.c_void_p]
        sepol.sepol_context_to_sid.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.POINTER(ctypes.c_uint32),
        ]
        sepol.sepol_sid_to_context.argtypes = [
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_size_t),
        ]
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        libc.fopen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        libc.fclose.argtypes = [ctypes.c_void_p]
        libc.free.argtypes = [ctypes.c_void_p]
        self._free = libc.free
        opened = libc.fopen(os.fsencode(binary), b'r')
        status = sepol.sepol_set_policydb_from_file(opened)
        libc.fclose(opened)
        if status != 0:
            raise RuntimeError('libsepol cannot load the compiled policy')

    def sid(self, text):
        """A number for a level range, the same for equal ones.

        None when libsepol rejects the text.
        """
        context = f'u:r:t:{text}'.encode()
        sid = ctypes.c_uint32()
        if self._sepol.sepol_context_to_sid(
            context, len(context) + 1, ctypes.byref(sid)
        ):
            return None
        return sid.value

    def text(self, sid):
        """The canonical form of a level range."""
        found, length = ctypes.c_void_p(), ctypes.c_size_t()
        if self._sepol.sepol_sid_to_context(
            sid, ctypes.byref(found), ctypes.byref(length)
        ):
            raise RuntimeError(f'libsepol cannot write SID {sid}')
        written = ctypes.string_at(found.value).decode()
        self._free(found)
        return written.removeprefix('u:r:t:')


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
        missing = []
        if shutil.which('secilc') is None:
            missing.append('secilc')
        try:
            ctypes.CDLL(LIBRARY).sepol_context_to_sid  # noqa: B018
        except (OSError, AttributeError) as error:
            missing.append(f'{LIBRARY} 3.4 or later ({error})')
        if missing:
            reason = f'not installed: {" and ".join(missing)}'
            if os.environ.get('SVIRT_NOVA_REQUIRE_LIBSEPOL') == '1':
                self.fail(reason)
            self.skipTest(reason)
        self.policy = self.useFixture(LibsepolPolicy())

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
            ours, sid = self.ours(text), self.policy.sid(text)
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
            form = self.policy.text(sid)
            rewritten += form != text
            if self.policy.sid(str(ours)) != sid:
                different.append((text, str(ours), form))
            elif self.policy.sid(form) != sid:
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
