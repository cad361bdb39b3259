# SPDX-License-Identifier: Apache-2.0
"""All hosts of a cloud come back at once, and start all their guests.

Each host does what nova-compute does then: it compares the store with what it
has seen, asks for the level space and for its claims, and claims each of its
instances, one after the other, at the level that Nova remembers. All hosts do
this at the same time, over one message bus and one allocator service, which
together with them has this machine. No call may fail, and every instance must
get the level that it had.

The hosts are shared out to client processes. Each process has one connection
for all its hosts, where a compute has its own; the service notices no
difference.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import kombu
import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator.rpc import caller
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import transport
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.virt import own_claims
from tests.benchmarks import simulated_cloud
from tests.benchmarks import stores as bench_stores
from tests.functional.allocator import rpc_service
from tests.functional.allocator import servers

SECONDS = 600.0
"""In which all guests of the cloud must have their level."""

_BATCH = 5_000
_PATIENCE = 120
_SERVICE = ('-W', 'ignore', '-m', 'svirt_nova.cmd.service')


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A host, and the instances that it ran.

    :param instances: the rank of the level of each, by its UUID
    :param key: the file of its private key; None if it has none
    """

    name: str
    instances: dict[str, int]
    key: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """How to reach the service.

    :param public_key: the file with the service's public key; None if the
        hosts have none either
    """

    bus: str
    topic: str
    public_key: str | None

    def conf(self, host: Host) -> Any:
        """The configuration of a host."""
        keys = {}
        if host.key is not None:
            keys = {
                'host_key_file': host.key,
                'service_public_key_file': self.public_key,
            }
        return rpc_service.make_conf(
            '', self.topic, transport_url=self.bus, host=host.name, **keys
        )


class _Shared(caller.Caller):
    """Makes the calls of a host over connections that other hosts share."""

    def __init__(self, conf: Any, connection: transport.Client) -> None:
        super().__init__(conf)
        self._connection = connection

    def _client(self, topic: calls.Topic) -> transport.Client:
        return self._connection


def _allocator(conf: Any, connection: transport.Client) -> client.RpcAllocator:
    made = client.RpcAllocator(conf)
    made._caller = _Shared(conf, connection)
    return made


def _start_guests(
    host: Host, allocator: client.RpcAllocator
) -> simulated_cloud.Meter:
    """Do what nova-compute does when its host comes back."""
    meter = simulated_cloud.Meter()
    own = own_claims.OwnClaims()
    meter.time('meet', lambda: allocator.meet(host.name, 0))
    meter.time('space', allocator.space)
    own.listing()
    listed = meter.time('claims', lambda: allocator.list(host=host.name))
    own.listed({a.instance_uuid: a.claims.get(host.name) for a in listed})
    if {a.instance_uuid for a in listed} != host.instances.keys():
        raise AssertionError(f'{host.name} lacks claims')
    for instance, rank in host.instances.items():
        level = levels.Level(ranking.unrank(rank))
        number = own.to_claim(instance)
        held = meter.time(
            'adopt',
            lambda i=instance, v=level, n=number: allocator.adopt(
                i, bench_stores.PROJECT, host.name, v, n
            ),
        )
        if held.level != level:
            raise AssertionError(f'{instance} lost its level {level}')
    return meter


def _run(
    service: Service, hosts: Sequence[Host], barrier: Any
) -> tuple[simulated_cloud.Meter, list[str], float]:
    """Start the guests of some hosts, all at the same time.

    :returns: how long calls took, what failed, and when the last call ended
        by the clock that all processes share
    """
    shared = transport.Client(service.conf(hosts[0]), calls.Topic.COMPUTES)
    callers = [_allocator(service.conf(host), shared) for host in hosts]
    callers[0].space()
    total = simulated_cloud.Meter()
    failures = []
    with futures.ThreadPoolExecutor(len(hosts)) as pool:
        barrier.wait(_PATIENCE * 5)
        for done in [
            pool.submit(_start_guests, host, caller)
            for host, caller in zip(hosts, callers, strict=True)
        ]:
            try:
                total.add(done.result())
            except (exception.SvirtError, AssertionError) as error:
                failures.append(str(error))
    ended = time.monotonic()
    shared.close()
    return total, failures, ended


def _in_process(
    service: Service, hosts: Sequence[Host], barrier: Any, results: Any
) -> None:
    results.put(_run(service, hosts, barrier))


def _fill(
    url: str, directory: pathlib.Path, hosts: int, each: int, keyed: bool
) -> list[Host]:
    """Let hosts hold the levels of their instances, by chance."""
    conf = bench_stores.make_conf(url)
    stores.sync(conf)
    store = stores.Store(conf)
    bench = bench_stores
    ranks = iter(
        random.sample(
            range(bench.FIRST, bench.FIRST + bench.SIZE), hosts * each
        )
    )
    keys = sql_allocator.SqlAllocator(conf).enrolled_keys()
    made = []
    rows: list[dict[str, Any]] = []
    for number in range(hosts):
        name = f'compute-{number}.example.org'
        instances = {bench.new_uuid(): next(ranks) for _ in range(each)}
        key = None
        if keyed:
            key = str(directory / name)
            public = key_files.make(pathlib.Path(key))
            keys.enroll(enrolled_keys.Role.HOST, name, public)
        made.append(Host(name, instances, key))
        rows += [
            {
                'level_rank': levels.Level(ranking.unrank(rank)),
                'instance_uuid': instance,
                'project_id': bench.PROJECT,
                'host': name,
                'is_outside': False,
                'note': '',
                'claim_number': 1,
                'last_claim': 1,
            }
            for instance, rank in instances.items()
        ]
    statement = sa.insert(schema.allocation).values(created_at=schema.utcnow())
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        store.write(lambda c, batch=batch: c.execute(statement, batch))
    store.close()
    return made


class _Queue:
    """Asks the bus once a second how many calls wait for the service."""

    def __init__(self, service: Service) -> None:
        self.most = 0
        self._topic = service.topic
        # Before the storm: later, the bus takes long to let anybody in.
        self._connection = kombu.Connection(
            service.bus.replace('rabbit://', 'amqp://')
        )
        self._connection.connect()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        """Ask from now on."""
        self._thread.start()

    def _watch(self) -> None:
        channel = self._connection.default_channel
        while not self._ended.wait(1):
            found = channel.queue_declare(self._topic, passive=True)
            self.most = max(self.most, found.message_count)

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join(10)
        self._connection.release()


def measure(
    service: Service, hosts: Sequence[Host], processes: int
) -> dict[str, Any]:
    """Let all hosts start their guests; what came of it."""
    context = multiprocessing.get_context('spawn')
    barrier = context.Barrier(processes + 1)
    results = context.Queue()
    workers = [
        context.Process(
            target=_in_process,
            args=(service, hosts[number::processes], barrier, results),
        )
        for number in range(processes)
    ]
    for each in workers:
        each.start()
    queue = _Queue(service)
    barrier.wait(_PATIENCE * 5)
    queue.begin()
    start = time.monotonic()
    total = simulated_cloud.Meter()
    failures: list[str] = []
    last = start
    for _ in workers:
        meter, failed, ended = results.get(timeout=SECONDS * 3)
        total.add(meter)
        failures += failed
        last = max(last, ended)
    seconds = last - start
    queue.end()
    for each in workers:
        each.join(_PATIENCE)
    made = sum(len(times) for times in total.times.values())
    return {
        'hosts': len(hosts),
        'instances': sum(len(host.instances) for host in hosts),
        'calls': made,
        'seconds': round(seconds, 1),
        'calls_a_second': round(made / seconds, 1),
        'longest_queue': queue.most,
        'failures': failures[:20],
        'times': {
            kind: {
                'median': round(statistics.median(times), 3),
                'p99': round(statistics.quantiles(times, n=100)[-1], 3),
                'most': round(max(times), 3),
            }
            for kind, times in total.times.items()
        },
    }


def _start_service(
    directory: pathlib.Path,
    service: Service,
    store: str,
    workers: int,
    keyed: bool,
) -> subprocess.Popen[bytes]:
    path = directory / 'service.conf'
    path.write_text(
        f'[svirt_database]\nconnection = {store}\n'
        f'[svirt_nova_allocator]\ntransport_url = {service.bus}\n'
        f'topic = {service.topic}\nworkers = {workers}\nreap_interval = 0\n'
        + (f'service_key_file = {directory / "service"}\n' if keyed else '')
    )
    with (directory / 'service.log').open('wb') as log:
        return subprocess.Popen(
            [sys.executable, *_SERVICE, f'--config-file={path}'],
            stdout=log,
            stderr=log,
        )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('store', nargs='?', default='mariadb')
    parser.add_argument('--hosts', type=int, default=2000)
    parser.add_argument('--instances', type=int, default=50, help='of a host')
    parser.add_argument('--processes', type=int, default=4, help='of clients')
    parser.add_argument(
        '--workers', type=int, default=2, help='of the service'
    )
    parser.add_argument('--keys', action='store_true', help='sign all calls')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir='/var/tmp') as made:
        directory = pathlib.Path(made)
        url = f'sqlite:///{directory}/levels.sqlite'
        if options.store != 'sqlite':
            # On a disk, which each commit waits for.
            server = servers.KINDS[options.store]()
            url = server.create_database()
        public = None
        if options.keys:
            key_files.make(directory / 'service')
            public = str(directory / 'service.pub')
        service = Service(servers.message_bus().url, uuid.uuid4().hex, public)
        hosts = _fill(
            url, directory, options.hosts, options.instances, options.keys
        )
        process = _start_service(
            directory, service, url, options.workers, options.keys
        )
        try:
            found = measure(service, hosts, options.processes)
        finally:
            process.terminate()
            process.wait(60)
            if options.store != 'sqlite':
                server.remove()
    print(json.dumps({**vars(options), **found}, indent=2))
    if found['failures']:
        print(f'{len(found["failures"])} hosts or more met a failure')
    if found['seconds'] > SECONDS:
        print(f'{found["seconds"]} s are more than {SECONDS:g}')
    return int(bool(found['failures']) or found['seconds'] > SECONDS)


if __name__ == '__main__':
    sys.exit(main())
