# SPDX-License-Identifier: Apache-2.0
"""What happens in an invented cloud, and who has to be named for it."""

from __future__ import annotations

import dataclasses
import datetime

from tests.unit.denials import clouds


@dataclasses.dataclass(frozen=True)
class Scene:
    """What happened: an access, as the kernel saw it."""

    moment: datetime.datetime
    source_level: str
    target_level: str
    type: str = 'svirt_t'

    @property
    def source(self) -> str:
        """The context of the process."""
        return f'system_u:system_r:{self.type}:s0:{self.source_level}'

    @property
    def target(self) -> str:
        """The context of what it wanted."""
        return f'system_u:object_r:svirt_image_t:s0:{self.target_level}'

    @property
    def end(self) -> str:
        """The fields at the end of the record."""
        return (
            f'scontext={self.source} tcontext={self.target} tclass=file '
            f'permissive=0'
        )


def holder(level: str, moment: datetime.datetime) -> str | None:
    """Who is to be named for a level, as a person finds it in the cloud."""
    found = set()
    hour = datetime.timedelta(hours=1)
    near = datetime.timedelta(seconds=1)
    held = [
        each
        for each in clouds.CLOUDS['clouds']['by-instance']['levels'][level]
        if 'instance' in each
    ]
    for each in held:
        begin = clouds.moment(each['since'])
        end = None
        if 'until' in each:
            end = clouds.moment(each['until']) + hour
        if begin - near <= moment and (end is None or moment < end + near):
            is_inside = begin <= moment and (end is None or moment < end)
            found.add(each['instance'] if is_inside else None)
    return found.pop() if len(found) == 1 else None


LEVELS = tuple(clouds.CLOUDS['clouds']['by-instance']['levels'])
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SECONDS = int((clouds.NOW - BEGIN).total_seconds())
