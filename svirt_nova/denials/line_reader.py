# SPDX-License-Identifier: Apache-2.0
"""Reads lines one after the other, and knows those that belong together.

setroubleshoot writes a report of many lines, in which names that guests chose
stand as they are. One with a line end in it could add a line of its own, so
that a report is believed only as a whole. This module does no I/O.
"""

from __future__ import annotations

import dataclasses
import datetime
import re

from svirt_nova import exception
from svirt_nova.denials import audit_records
from svirt_nova.denials import line_times
from svirt_nova.denials import shown_labels
from svirt_nova.denials import sightings

_BEGIN = 'SELinux is preventing '
_END = 'Hash: '
_MOST_LINES = 500
"""A longer report has no more than these lines read as its own."""

_HEADING = re.compile(
    r'(Source Context|Target Context|Target Objects|Source Path|Source|Host|'
    r'First Seen|Last Seen|Alert Count|Raw Audit Messages|'
    r'Additional Information)(?::|  +|$)\s*(.*)'
)
_OBJECT = re.compile(r'(.*) \[ (\w+) \]')
_SEEN = re.compile(r'(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(?: \w{1,6})?')

_FORGED = (
    'the report has a line twice, or records that are not of its contexts: a '
    'name may have been made to look like a line'
)

Found = tuple[int, sightings.Sighting]
"""A line's number, and what it says."""


@dataclasses.dataclass
class _Report:
    """A report of setroubleshoot, as far as it was read."""

    number: int
    lines: int = 1
    headings: dict[str, str] = dataclasses.field(default_factory=dict)
    records: list[Found] = dataclasses.field(default_factory=list)
    is_forged: bool = False


class LineReader:
    """Finds what lines say of levels.

    :param zone: of the machine that wrote local times; None for this one's
    """

    def __init__(self, zone: datetime.tzinfo | None = None) -> None:
        self._zone = zone
        self._number = 0
        self._report: _Report | None = None

    def read(self, line: str) -> list[Found]:
        """Read the next line.

        :returns: what is known now: nothing, or what this line or the report
            before it says
        """
        self._number += 1
        text = line.rstrip('\r\n')
        found: list[Found] = []
        if text.startswith(_BEGIN):
            found = self.finish()
            self._report = _Report(self._number)
            return found
        if self._report is None:
            sighting = self._one(text)
            return [] if sighting is None else [(self._number, sighting)]
        self._read_report(self._report, text)
        self._report.lines += 1
        if text.startswith(_END) or self._report.lines >= _MOST_LINES:
            found = self.finish()
        return found

    def finish(self) -> list[Found]:
        """There are no more lines: what the last report says."""
        report, self._report = self._report, None
        return [] if report is None else _conclude(report, self._zone)

    def _one(self, text: str) -> sightings.Sighting | None:
        return audit_records.read(text, self._zone) or shown_labels.read(text)

    def _read_report(self, report: _Report, text: str) -> None:
        if len(text) <= sightings.LONGEST_LINE and (
            heading := _HEADING.match(text)
        ):
            name, value = heading.groups()
            report.is_forged |= name in report.headings
            report.headings[name] = value.strip()
        elif found := audit_records.read(text, self._zone):
            if 'Raw Audit Messages' not in report.headings:
                report.is_forged = True
            report.records.append((self._number, found))


def _conclude(report: _Report, zone: datetime.tzinfo | None) -> list[Found]:
    headings = report.headings
    contexts = [
        headings.get(f'{side} Context') for side in ('Source', 'Target')
    ]
    if not any(contexts) and not report.records:
        return []
    if None in contexts or any(
        each.source is None
        or each.target is None
        or [each.source.text, each.target.text] != contexts
        for _, each in report.records
        if not each.doubt
    ):
        report.is_forged = True
    if report.is_forged:
        return [(report.number, sightings.in_doubt(_FORGED))]
    if report.records:
        return report.records
    return [(report.number, _of_headings(headings, zone))]


def _of_headings(
    headings: dict[str, str], zone: datetime.tzinfo | None
) -> sightings.Sighting:
    """What a report without its records says."""
    objects = _OBJECT.fullmatch(headings.get('Target Objects', ''))
    access = sightings.Access(
        process=headings.get('Source', ''),
        object_class=objects[2] if objects else '',
        path=objects[1] if objects else '',
    )
    try:
        source, target = (
            sightings.read_context(headings[f'{side} Context'])
            for side in ('Source', 'Target')
        )
    except exception.InvalidContext as error:
        return sightings.in_doubt(str(error), access)
    seen = _SEEN.fullmatch(headings.get('Last Seen', ''))
    is_single = headings.get('First Seen') == headings.get('Last Seen')
    written = seen and is_single and line_times.read_local(seen[1], zone)
    return sightings.Sighting(
        source,
        target,
        access,
        written or None,
        host=headings.get('Host', ''),
    )
