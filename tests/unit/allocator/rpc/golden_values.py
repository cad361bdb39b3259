# SPDX-License-Identifier: Apache-2.0
"""Values in the messages that releases in the field send and answer."""

from __future__ import annotations

import dataclasses
import datetime

from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

UUID = 'aaaaaaaa-0000-4000-8000-000000000001'
OTHER_UUID = 'aaaaaaaa-0000-4000-8000-000000000002'
LEVEL = levels.Level.parse('s0:c1,c512.c514')
PROJECT_LEVEL = levels.Level.parse('s0:c513,c514')
BORN = datetime.datetime(2026, 11, 1, 12, 30, 5, 999, datetime.UTC)
GONE = BORN + datetime.timedelta(days=3)

CLAIMED = types.Allocation(
    LEVEL, UUID, 'p1', frozenset({'host2', 'host1'}), BORN
)
ALONE = dataclasses.replace(CLAIMED, hosts=frozenset({'host1'}))
GIVEN = dataclasses.replace(
    ALONE, created_at=None, project_level=PROJECT_LEVEL
)
NUMBERED = dataclasses.replace(ALONE, claims={'host1': 7}, last_claim=8)
COOLING = types.Allocation(
    levels.Level.parse('s0:c3,c4'),
    OTHER_UUID,
    'proj\u00e9t',
    frozenset(),
    BORN,
    GONE,
    project_level=PROJECT_LEVEL,
)
RESERVED = types.Allocation(
    levels.Level.parse('s0'),
    None,
    None,
    frozenset(),
    BORN,
    note='a container, \u00b5',
)
DISTRUST = types.Trust(41, GONE, 'why, \u00b5', ('host1', 'host3'))
SERVICE_UUID = 'bbbbbbbb-0000-4000-8000-000000000001'
CLOUD = clouds.Cloud(
    'http://nova, \u00b5',
    (
        clouds.ComputeService('host1', SERVICE_UUID, True),
        clouds.ComputeService('host2', OTHER_UUID, False),
    ),
)
KNOWN_CLOUD = clouds.KnownCloud(
    'http://nova, \u00b5',
    (
        clouds.KnownHost('host1', SERVICE_UUID),
        clouds.KnownHost('host2', OTHER_UUID, GONE),
        clouds.KnownHost('host3', None),
    ),
)
INSTANCE_SPACE = spaces.LevelSpace.parse('c0.c99', 3, 'c5,c7')
PROJECT_SPACE = spaces.LevelSpace.parse('c512.c1023', 2, '', 'c0.c511')
WITH_HOSTS = types.Holding(
    UUID,
    'p1',
    BORN,
    None,
    LEVEL,
    (
        types.ClaimPeriod('host1', BORN, GONE),
        types.ClaimPeriod('host2', None, None),
    ),
)
