# SPDX-License-Identifier: Apache-2.0
"""What the service costs a compute: acquire over RabbitMQ, and with keys.

Each figure is the median of the ratios of an acquire that the service is
asked for to the sum of two things that it cannot do without, measured right
before it: a call of oslo.messaging on the same bus that is answered at once,
and the same acquire made in this process on the same store. Both the service
and who answers the bare call are processes of their own.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

import oslo_messaging

from svirt_nova import exception
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import transport
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from tests.functional.allocator import rpc_service
from tests.functional.allocator import servers

MOST = 1.15
_PATIENCE = 120
_PYTHON = (sys.executable, '-W', 'ignore')
_ECHO = """
import sys, oslo_messaging
from oslo_messaging.rpc import dispatcher
from svirt_nova.allocator.rpc import transport
from tests.functional.allocator import rpc_service
url, topic = sys.argv[1:]
conf = rpc_service.make_conf('', topic, transport_url=url)
class Echo:
    target = oslo_messaging.Target(version='1.0')
    def echo(self, context, **arguments):
        return {'result': arguments}
oslo_messaging.get_rpc_server(
    transport.connect(conf, url),
    oslo_messaging.Target(topic=topic, server='echo'),
    [Echo()],
    executor='threading',
    access_policy=dispatcher.DefaultRPCAccessPolicy,
).start()
sys.stdin.read()
"""


class Bench:
    """A bus, a store, the service, and who answers bare calls.

    :param directory: where the store and keys are
    :param kind: of the store: sqlite, or a kind of server
    """

    def __init__(self, directory: pathlib.Path, kind: str) -> None:
        self.directory = directory
        self.topic = uuid.uuid4().hex
        self.bus = servers.message_bus().url
        self.store = f'sqlite:///{directory}/levels.sqlite'
        if kind != 'sqlite':
            self.store = servers.running(kind).create_database()
        self.conf = rpc_service.make_conf(self.store, self.topic)
        stores.sync(self.conf)
        self.direct = sql_allocator.SqlAllocator(self.conf)
        keys = self.direct.enrolled_keys()
        for owner in ('service', 'keyed'):
            name = key_files.make(directory / owner)
            if owner == 'keyed':
                keys.enroll(enrolled_keys.Role.HOST, owner, name)
        self.processes = [
            subprocess.Popen(
                [*_PYTHON, '-c', _ECHO, self.bus, f'{self.topic}-echo'],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ),
            self._start_service(),
        ]
        self.plain = self._client('plain')
        self.keyed = self._client(
            'keyed',
            host_key_file=str(directory / 'keyed'),
            service_public_key_file=str(directory / 'service.pub'),
        )
        self._bare = oslo_messaging.get_rpc_client(
            transport.connect(self.conf, self.bus),
            oslo_messaging.Target(topic=f'{self.topic}-echo', version='1.0'),
        )

    def _start_service(self) -> subprocess.Popen[bytes]:
        path = self.directory / 'service.conf'
        path.write_text(
            f'[svirt_database]\nconnection = {self.store}\n'
            f'[svirt_nova_allocator]\ntransport_url = {self.bus}\n'
            f'topic = {self.topic}\nworkers = 1\nreap_interval = 0\n'
            f'service_key_file = {self.directory / "service"}\n'
            # One host takes more here than a host can by default.
            'host_level_rate = 100000\n'
        )
        return subprocess.Popen(
            [
                *_PYTHON,
                '-m',
                'svirt_nova.cmd.service',
                f'--config-file={path}',
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _client(self, host: str, **options: Any) -> client.RpcAllocator:
        return client.RpcAllocator(
            rpc_service.make_conf('', self.topic, host=host, **options)
        )

    def wait(self) -> None:
        """Wait until both processes answer."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.plain.space()
                self.keyed.space()
                self.bare('x')
                return
            except (
                exception.StoreUnreachable,
                oslo_messaging.MessagingTimeout,
            ):
                if time.monotonic() > deadline:
                    raise

    def bare(self, instance: str) -> Any:
        """Make a call that is answered at once."""
        return self._bare.prepare(timeout=30).call(
            {'host': 'plain', 'timeout': 45.0},
            'echo',
            instance_uuid=instance,
            project_id='p',
            host='plain',
        )

    def close(self) -> None:
        """End the processes."""
        for each in self.processes:
            each.terminate()
        for each in self.processes:
            each.wait(60)


def measure(bench: Bench, rounds: int) -> dict[str, float]:
    """The median ratios, and times in milliseconds."""
    found: dict[str, list[float]] = {}

    def took(name: str, call: Callable[..., Any], *more: str) -> float:
        instance = str(uuid.uuid4())
        start = time.perf_counter()
        call(instance, *more)
        seconds = time.perf_counter() - start
        found.setdefault(name, []).append(seconds * 1e3)
        return seconds

    for each in range(rounds + 20):
        if each == 20:
            found.clear()
        least = took('bare_ms', bench.bare) + took(
            'direct_ms', bench.direct.acquire, 'p', 'direct'
        )
        for name, asking in (('plain', bench.plain), ('keyed', bench.keyed)):
            seconds = took(f'{name}_ms', asking.acquire, 'p', name)
            found.setdefault(name, []).append(seconds / least)
    return {name: statistics.median(each) for name, each in found.items()}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('kinds', nargs='*', metavar='STORE')
    parser.add_argument('--rounds', type=int, default=300)
    parser.add_argument('--dir', help='where an SQLite store is made')
    options = parser.parse_args(arguments)
    worst = 0.0
    for kind in options.kinds or ['sqlite']:
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            bench = Bench(pathlib.Path(directory), kind)
            try:
                bench.wait()
                found = measure(bench, options.rounds)
            finally:
                bench.close()
        print(kind, json.dumps({k: round(v, 3) for k, v in found.items()}))
        worst = max(worst, found['keyed'])
    if worst > MOST:
        print(f'with keys: {worst:.2f} is more than {MOST}')
    return int(worst > MOST)


if __name__ == '__main__':
    sys.exit(main())
