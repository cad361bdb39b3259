# SPDX-License-Identifier: Apache-2.0
"""Views of a small cloud, for tests of what an audit finds in it."""

import datetime

import testtools

from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
ONE = levels.Level.parse('s0:c1,c2')
OTHER = levels.Level.parse('s0:c1,c3')
Kind = audit.Kind


def allocation(uuid='u', level=ONE, hosts=('a',), retired_at=None, part=None):
    return types.Allocation(
        level=level,
        instance_uuid=uuid,
        project_id=None if uuid is None else 'p',
        hosts=frozenset(hosts),
        retired_at=retired_at,
        project_level=part,
    )


def host(name='a', *sights, present=('u',), guests=(), **options):
    return audit.HostView(
        name,
        frozenset(present),
        tuple(guests),
        tuple(audit.Sight(uuid, 'the disk', level) for uuid, level in sights),
        **options,
    )


def guest(uuid='u', is_labelled=True, is_static=True, omitted=''):
    return audit.Guest(uuid, is_labelled, is_static, omitted)


def instance(*hosts, is_gone=False, is_busy=False, seen=()):
    return audit.InstanceView(
        frozenset(hosts), is_gone, is_busy, frozenset(seen)
    )


class AuditTestCase(testtools.TestCase):
    def kinds(self, *args, **kwargs):
        return [found.kind for found in audit.audit(*args, **kwargs)]
