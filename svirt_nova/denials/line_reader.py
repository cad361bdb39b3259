# SPDX-License-Identifier: Apache-2.0
"""Reads lines one after the other, and knows those that belong together.

setroubleshoot writes a report of many lines, in which names that guests chose
stand as they are. One with line ends in it could add lines of its own, and
even reports, behind the first line of the report that it is in. So a report is
believed only as a whole, and none is beside a part of one. Names with
line ends in a listing could add records: none is believed behind one. This
module does no I/O.
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
_MOST_LINES = 500
"""A report is no longer, unless a name has added lines to it. What is behind
so many lines can be of that name, too."""

_LISTED = re.compile(
    r'\?\s|total \d{1,20}$|LABEL +(?:USER +)?PID |'
    r'(?:\d{1,20} )?[-bcdlpsDM][-rwxsStT]{9}[.+@]?\s',
    re.ASCII,
)
"""Lines of ``ls`` and ``ps`` without a label."""

_SET_IN = re.compile(r'[ \t](?! {0,14}\d{1,20} +\S+:)', re.ASCII)
"""Programs that show messages of several lines set them in, as far as the time
and more is wide. ``ls -i`` and ``ps -o pid,label`` set in numbers."""

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
_CUT = (
    'the report, or another one beside it, is not whole: a name may have been '
    'made to look like the beginning of another. Give each report by itself'
)

_LONG = (
    f'the report, or one beside it, has more than {_MOST_LINES} lines: a name '
    f'has added some. Give each report by itself'
)
_BEHIND_REPORT = (
    'it comes behind a report of setroubleshoot, and a name in that could '
    'have added it. Give reports and records apart from each other'
)
_BEHIND_LISTING = (
    'it comes behind a line of ls or ps, and the name of a file could have '
    'added it. Give listings and records apart from each other'
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
    is_repeated: bool = False
    is_listed: bool = False

    @property
    def contexts(self) -> list[str | None]:
        """What the process and its object carried."""
        return [
            self.headings.get(f'{side} Context')
            for side in ('Source', 'Target')
        ]

    @property
    def is_long(self) -> bool:
        """Whether it has more lines than setroubleshoot writes."""
        return self.lines > _MOST_LINES

    @property
    def is_whole(self) -> bool:
        """Whether it goes to its end, where the kernel's records are."""
        return None not in self.contexts and bool(self.records)

    @property
    def is_forged(self) -> bool:
        """Whether a line of it is not setroubleshoot's."""
        return self.is_repeated or any(
            each.source is None
            or each.target is None
            or [each.source.text, each.target.text] != self.contexts
            for _, each in self.records
            if not each.doubt
        )


class LineReader:
    """Finds what lines say of levels.

    :param zone: of the machine that wrote local times; None for this one's
    """

    def __init__(self, zone: datetime.tzinfo | None = None) -> None:
        self._zone = zone
        self._number = 0
        self._reports: list[_Report] = []
        self._is_listed = False

    def read(self, line: str) -> list[Found]:
        """Read the next line.

        :returns: what it says; nothing for a line of a report
        """
        self._number += 1
        text = line.rstrip('\r\n')
        if text.startswith(_BEGIN):
            self._reports.append(
                _Report(self._number, is_listed=self._is_listed)
            )
        elif self._reports:
            report = self._reports[-1]
            report.lines += 1
            if report.is_long:
                return self._read_behind(text, _BEHIND_REPORT)
            self._read_report(report, text)
        elif not _SET_IN.match(text):
            return self._read_line(text)
        return []

    def finish(self) -> list[Found]:
        """There are no more lines: what the reports among them say."""
        found: list[Found] = []
        is_long = any(each.is_long for each in self._reports)
        # A name can end one report, and begin the next one; what is left of
        # the true one is not whole then, or has lines twice.
        is_cut = len(self._reports) > 1 and any(
            each.is_forged or not each.is_whole for each in self._reports
        )
        for report in self._reports:
            if not any(report.contexts) and not report.records:
                # Such is the first line alone, which syslog gets.
                continue
            reasons = (
                (report.is_listed, _BEHIND_LISTING),
                (is_long, _LONG),
                (is_cut, _CUT),
                (report.is_forged or None in report.contexts, _FORGED),
            )
            reason = next((text for is_so, text in reasons if is_so), '')
            if reason:
                found.append((report.number, sightings.in_doubt(reason)))
            elif report.records:
                found += report.records
            else:
                sighting = _of_headings(report.headings, self._zone)
                found.append((report.number, sighting))
        self._reports = []
        return found

    def _read_line(self, text: str) -> list[Found]:
        """Read a line that is in no report."""
        if self._is_listed and (
            behind := self._read_behind(text, _BEHIND_LISTING)
        ):
            return behind
        record = audit_records.read(text, self._zone)
        if record is not None and not record.doubt:
            return [(self._number, record)]
        shown = shown_labels.read(text)
        # A name that begins with a line end leaves the label alone.
        if shown or _LISTED.match(text):
            self._is_listed = True
        found = record or shown
        return [] if found is None else [(self._number, found)]

    def _read_behind(self, text: str, reason: str) -> list[Found]:
        """Read a record that a name may have added."""
        found = audit_records.read(text, self._zone)
        if found is None:
            return []
        return [
            (self._number, dataclasses.replace(found, doubt=reason)),
        ]

    def _read_report(self, report: _Report, text: str) -> None:
        if len(text) <= sightings.LONGEST_LINE and (
            heading := _HEADING.match(text)
        ):
            name, value = heading.groups()
            report.is_repeated |= name in report.headings
            report.headings[name] = value.strip()
        elif found := audit_records.read(text, self._zone):
            report.is_repeated |= 'Raw Audit Messages' not in report.headings
            report.records.append((self._number, found))


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
