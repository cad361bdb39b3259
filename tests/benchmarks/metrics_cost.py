# SPDX-License-Identifier: Apache-2.0
"""What metrics cost a call of the service: 2 % of the cheapest at most.

The cheapest call of the service is one that reads one row of an SQLite file.
The bus, which takes longer than the store, is left out, so that the share is
an upper bound.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable

from svirt_nova.allocator import contract
from svirt_nova.allocator.rpc import call_counts
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.cmd import exporter
from svirt_nova.metrics import recorder
from svirt_nova.metrics import tallies
from tests import quick_store

MOST = 0.02
_NUMBER = 2_000


def best(work: Callable[[], object]) -> float:
    """Seconds that something takes at best."""
    timer = timeit.Timer(work)
    return min(timer.repeat(7, _NUMBER)) / _NUMBER


def main() -> int:
    """Measure, and print the figures."""
    with quick_store.QuickStore() as store:
        allocator = store.make()
        endpoint = endpoints.ComputeEndpoint(allocator)
        uuid = contract.new_uuid()
        allocator.acquire(uuid, 'p', 'a')
        call = best(lambda: endpoint.get({'host': 'a'}, instance_uuid=uuid))
        recorder.start(tallies.Tallies('p', exporter.DEFINITIONS, ['0', '1']))
        counting = best(lambda: call_counts.answered('get', None, 0.001))
        recorder.start(None)
        without = best(lambda: call_counts.answered('get', None, 0.001))
    share = counting / call
    print(
        f'a call {1e6 * call:.0f} us; counting it {1e6 * counting:.2f} us, '
        f'{share:.2%}; without metrics {1e6 * without:.2f} us'
    )
    return int(share > MOST)


if __name__ == '__main__':
    sys.exit(main())
