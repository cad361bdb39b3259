# SPDX-License-Identifier: Apache-2.0
"""What a guest's disk tells of its writes."""

from __future__ import annotations

import struct

import hypothesis
import testtools
from hypothesis import strategies

from tests.lab import guest


def _disk(last, lost=()):
    """The sectors after writes 0 to last, but for those that are lost."""
    sectors = bytearray(guest.SLOTS * guest.SECTOR)
    for number in range(max(0, last - 2 * guest.SLOTS), last + 1):
        if number not in lost:
            _write(sectors, number)
    return sectors


def _write(sectors, number):
    struct.pack_into(
        f'<{guest.SECTOR // 4}I',
        sectors,
        number % guest.SLOTS * guest.SECTOR,
        *[number] * (guest.SECTOR // 4),
    )


class ReadWritesTest(testtools.TestCase):
    @hypothesis.given(strategies.integers(1, 5 * guest.SLOTS))
    @hypothesis.settings(max_examples=30, deadline=None)
    def test_writes_that_all_arrived_are_in_order(self, last):
        self.assertEqual(
            guest.Writes(last, []), guest.read_writes(bytes(_disk(last)))
        )

    def test_a_disk_never_written_has_none(self):
        self.assertEqual(
            guest.Writes(-1, []), guest.read_writes(bytes(_disk(-1)))
        )

    @hypothesis.given(strategies.data())
    @hypothesis.settings(max_examples=30, deadline=None)
    def test_a_lost_write_is_found(self, data):
        last = data.draw(strategies.integers(2, 5 * guest.SLOTS))
        # Nobody can tell that the last one is missing.
        lost = data.draw(
            strategies.integers(max(1, last - guest.SLOTS + 1), last - 1)
        )
        found = guest.read_writes(bytes(_disk(last, {lost})))
        self.assertEqual(last, found.last)
        [fault] = found.faults
        self.assertIn(f'not {lost}', fault)

    def test_a_memory_that_went_back_is_found(self):
        sectors = _disk(1000)
        _write(sectors, 400)
        self.assertEqual(
            ['sector 400 has write 400, not 912'],
            guest.read_writes(bytes(sectors)).faults,
        )

    def test_half_a_sector_is_found(self):
        sectors = _disk(600)
        struct.pack_into('<I', sectors, 3 * guest.SECTOR, 1)
        self.assertEqual(
            ['sector 3 is torn: it has 2 values'],
            guest.read_writes(bytes(sectors)).faults,
        )
