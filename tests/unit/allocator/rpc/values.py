# SPDX-License-Identifier: Apache-2.0
"""Values of the arguments and results of calls, as hypothesis draws them."""

import datetime

from hypothesis import strategies as st

from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

LEVELS = st.frozensets(st.integers(0, 1023), min_size=2, max_size=4).map(
    lambda found: levels.Level.parse(f's0:{levels.format_categories(found)}')
)
TIMES = st.datetimes(timezones=st.just(datetime.UTC))
TEXTS = st.text(max_size=20)
COUNTS = st.dictionaries(TEXTS, st.integers(0, 10**6), max_size=3)
GENERATIONS = st.integers(0, 2**62)
STATES = st.frozensets(st.sampled_from(types.State))
ALLOCATIONS = st.builds(
    types.Allocation,
    level=LEVELS,
    instance_uuid=st.none() | TEXTS,
    project_id=st.none() | TEXTS,
    hosts=st.frozensets(TEXTS, max_size=3),
    created_at=TIMES,
    retired_at=st.none() | TIMES,
    note=TEXTS,
    project_level=st.none() | LEVELS,
    generation=st.none() | GENERATIONS,
    claims=st.dictionaries(TEXTS, GENERATIONS, max_size=3),
    last_claim=st.none() | GENERATIONS,
)
TRUSTS = st.builds(
    types.Trust,
    generation=GENERATIONS,
    distrusted_at=st.none() | TIMES,
    reason=TEXTS,
    awaited=st.lists(TEXTS, max_size=3).map(tuple),
)
CLOUDS = st.builds(
    clouds.Cloud,
    name=TEXTS,
    services=st.lists(
        st.builds(
            clouds.ComputeService,
            host=TEXTS,
            uuid=TEXTS,
            is_up=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
)
KNOWN_CLOUDS = st.builds(
    clouds.KnownCloud,
    name=TEXTS,
    hosts=st.lists(
        st.builds(
            clouds.KnownHost,
            name=TEXTS,
            service_uuid=st.none() | TEXTS,
            missing_since=st.none() | TIMES,
        ),
        max_size=3,
    ).map(tuple),
)
PERIODS = st.builds(
    types.ClaimPeriod,
    host=TEXTS,
    since=st.none() | TIMES,
    until=st.none() | TIMES,
)
HOLDINGS = st.builds(
    types.Holding,
    instance_uuid=TEXTS,
    project_id=TEXTS,
    since=TIMES,
    until=st.none() | TIMES,
    level=st.none() | LEVELS,
    claims=st.lists(PERIODS, max_size=3).map(tuple),
)
USAGES = st.builds(
    types.Usage,
    by_project=COUNTS,
    by_host=COUNTS,
    per_day=st.none() | st.floats(0, 1e9),
    full_at=st.none() | TIMES,
)
STATS = st.builds(types.Stats, *(st.integers(0, 10**6) for _ in range(5)))
SPACES = st.sampled_from(
    [
        spaces.LevelSpace.parse('c0.c1023'),
        spaces.LevelSpace.parse('c0.c99', 3, 'c5,c7'),
        spaces.LevelSpace.parse('c512.c1023', 2, '', 'c0.c511'),
    ]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=10,
)

_ARGUMENTS = {
    'instance_uuid': TEXTS,
    'project_id': TEXTS,
    'host': TEXTS,
    'level': LEVELS,
    'note': TEXTS,
    'space': SPACES,
    'states': STATES,
    'after': LEVELS,
    'limit': st.integers(1, 10**6),
    'begun_after': TIMES,
    'at': TIMES,
    'most': st.integers(1, 10**6),
    'seen': GENERATIONS,
    'number': GENERATIONS,
    'hosts': st.lists(TEXTS, max_size=3).map(sorted),
    'reason': TEXTS,
    'cloud': CLOUDS,
    'strangers': st.lists(TEXTS, max_size=3).map(sorted),
    'replaces': st.booleans(),
}
_RESULTS = {
    calls.PING: st.none(),
    calls.ACQUIRE: ALLOCATIONS,
    calls.ADOPT: ALLOCATIONS,
    calls.GET: ALLOCATIONS,
    calls.UNCLAIM: st.none(),
    calls.GIVE_BACK: st.none(),
    calls.CLAIMS: st.lists(ALLOCATIONS, max_size=3),
    calls.SPACE: SPACES,
    calls.IS_HELD: st.booleans(),
    calls.FIND: st.none() | ALLOCATIONS,
    calls.RETIRE: st.none(),
    calls.RESERVE: ALLOCATIONS,
    calls.RELEASE: st.none(),
    calls.LIST: st.lists(ALLOCATIONS, max_size=3),
    calls.SET_SPACE: st.none(),
    calls.HISTORY: st.lists(HOLDINGS, max_size=3),
    calls.STATS: STATS,
    calls.USAGE: USAGES,
    calls.TIDY: st.none(),
    calls.MEET: TRUSTS,
    calls.DOUBT: st.none(),
    calls.REPORT: TRUSTS,
    calls.DISTRUST: st.none(),
    calls.TRUST: st.none(),
    calls.SHOW_TRUST: TRUSTS,
    calls.SHOW_CLOUD: KNOWN_CLOUDS,
    calls.MEET_CLOUD: KNOWN_CLOUDS,
}


def arguments(call):
    """All arguments of a call."""
    return st.fixed_dictionaries(
        {
            each.name: st.none() | _ARGUMENTS[each.name]
            if takes_none(each)
            else _ARGUMENTS[each.name]
            for each in call.arguments
        }
    )


def takes_none(argument):
    """Whether an argument may be null."""
    try:
        return argument.kind.read(None) is None
    except TypeError:
        return False


def results(call):
    """The result of a call."""
    return _RESULTS[call]
