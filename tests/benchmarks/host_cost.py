# SPDX-License-Identifier: Apache-2.0
"""What svirt-nova costs a host: the start of nova-compute, a reconciliation.

It runs on one host of Nova's functional tests, with its fake libvirt, a fake
kernel, and a store on SQLite. Timed are ``init_host`` of Nova's driver and of
ours, by turns, and all that a reconciliation does on a host with so many
guests: their domains, claims and directories are made without Nova. What
libvirtd and the kernel take for their answers is left out, so that this is
the work of our own code, of Nova's and of the store.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
import unittest
from collections.abc import Callable
from typing import Any

# This package settles how threads are made, and must come before anything
# else of Nova.
# isort: off
from nova.tests.functional.libvirt import base as functional

# isort: on
import nova.conf
from lxml import etree
from nova.virt.libvirt import driver as libvirt_driver
from oslo_utils import uuidutils

from tests.functional.nova import confined

CONF = nova.conf.CONF
HOST = 'compute1'


def _median_ms(repeats: int, work: Callable[[], object]) -> float:
    """The median time of what is done again and again, in milliseconds."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - begin))
    return statistics.median(taken)


class Bench(confined.ConfinedMixin, functional.ServersTestBase):
    """One host with many guests.

    :param guests: how many
    :param repeats: how often each figure is taken
    :param result: takes what was measured
    """

    api_major_version = 'v2.1'
    microversion = 'latest'

    def __init__(
        self, guests: int, repeats: int, result: dict[str, Any]
    ) -> None:
        super().__init__('measure')
        self.guests = guests
        self.repeats = repeats
        # Nova's test cases forget their attributes at their end.
        self.result = result

    def measure(self) -> None:
        """Take all figures, with one guest and with all."""
        self.start_compute(HOST)
        self.driver = self.computes[HOST].driver
        server = self._create_server(networks='none')
        self.result |= {
            'repeats': self.repeats,
            **self._figures(),
        }
        self._multiply(server['id'])
        self.result |= self._figures()

    def _figures(self) -> dict[str, Any]:
        extension = self.driver._extension
        found = self.allocator.list(host=HOST)
        told: list[Any] = []
        extension.running_guests._tell = lambda *args: told.append(args)
        starts: dict[str, list[float]] = {'nova': [], 'ours': []}
        ways: list[tuple[str, Callable[[], object]]] = [
            (
                'nova',
                lambda: libvirt_driver.LibvirtDriver.init_host(
                    self.driver, HOST
                ),
            ),
            ('ours', lambda: self.driver.init_host(HOST)),
        ]
        for number in range(self.repeats):
            for name, start in ways[:: 1 if number % 2 else -1]:
                starts[name].append(_median_ms(1, start))
        nova_ms, ours_ms = map(statistics.median, starts.values())
        figures = {
            'init_host_of_nova_ms': nova_ms,
            'init_host_of_ours_ms': ours_ms,
            'init_host_added_ms': ours_ms - nova_ms,
            'reconciliation_ms': _median_ms(
                self.repeats, extension._reconcile
            ),
            'of_which': {
                name: _median_ms(self.repeats, part)
                for name, part in (
                    ('policy_ms', extension.policy_watch.look_again),
                    ('claims_ms', extension.reconciler.reconcile),
                    ('guests_ms', extension.running_guests.check),
                )
            },
        }
        # All is as it should be, and stays so.
        assert not told, told
        assert found == self.allocator.list(host=HOST)
        return {f'{len(found)} guests': figures}

    def _multiply(self, uuid: str) -> None:
        """Make guests like that of an instance, each at its own level."""
        connection = self.driver._host.get_connection()
        template = connection.lookupByUUIDString(uuid).given_xml
        project = self.allocator.get(uuid).project_id
        assert project is not None
        for number in range(2, self.guests + 1):
            other = uuidutils.generate_uuid()
            held = self.allocator.acquire(other, project, HOST)
            root = etree.fromstring(template.replace(uuid, other))
            root.find('name').text = f'instance-{number:08x}'
            label = root.find('seclabel[@model="selinux"]/label')
            label.text = label.text.rpartition(':s0')[0] + f':{held.level}'
            connection.defineXML(etree.tostring(root, encoding='unicode'))
            connection.lookupByUUIDString(other)._state = 1
            os.mkdir(os.path.join(CONF.instances_path, other))

    def _check_invariants(self) -> None:
        """Most instances here have no rows in Nova's database to check."""


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--guests', type=int, default=200)
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE')
    args = parser.parse_args()
    result: dict[str, Any] = {}
    outcome = unittest.TestResult()
    Bench(args.guests, args.repeats, result).run(outcome)
    for _, text in outcome.errors + outcome.failures:
        print(text, file=sys.stderr)
    text = json.dumps(result, indent=2)
    print(text)
    if args.json is not None:
        args.json.write_text(text + '\n', encoding='utf-8')
    return int(not outcome.wasSuccessful())


if __name__ == '__main__':
    sys.exit(main())
