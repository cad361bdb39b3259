# SPDX-License-Identifier: Apache-2.0
"""Nova's API on loopback, which can be made to lie.

Honest answers have the form, the headers and the texts of Nova's own
(``nova.api.openstack.wsgi``, ``nova.api.openstack.compute.servers``).
"""

from __future__ import annotations

import dataclasses
import http.server
import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

import fixtures
from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint

from svirt_nova.lifecycle import compute_api

ADMIN = 'admin'
"""The token of an administrator; that of another user is a project's ID."""

_NO_AUTH = 'notused'
"""The token of keystoneauth's ``auth_type = none``."""

VERSION = 'compute 2.68'


@dataclasses.dataclass
class Question:
    """What was asked.

    :param path: below the endpoint, such as ``servers/UUID``
    :param project: of the credentials; None for an administrator
    """

    path: str
    query: dict[str, str]
    project: str | None = None

    @property
    def instance(self) -> str | None:
        """The UUID that is asked for, if it is an instance."""
        kind, _, name = self.path.partition('/')
        return name if kind == 'servers' and name else None


@dataclasses.dataclass
class Answer:
    """What is answered.

    :param promised: by how many bytes its length is announced too great
    """

    status: int
    body: bytes
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    promised: int = 0

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    def with_json(self, body: Any) -> Answer:
        """The same answer with another body."""
        return dataclasses.replace(self, body=json.dumps(body).encode())


def answer(status: int, body: Any, version: str | None = VERSION) -> Answer:
    """An answer with Nova's headers."""
    headers = {
        'Content-Type': 'application/json',
        'x-openstack-request-id': f'req-{uuid.uuid4()}',
    }
    if version:
        headers['OpenStack-API-Version'] = version
        headers['X-OpenStack-Nova-API-Version'] = version.split()[-1]
    return Answer(status, json.dumps(body).encode(), headers)


def fault(status: int, name: str, text: str) -> Answer:
    """An error as Nova answers it (``wsgi.Fault``)."""
    return answer(status, {name: {'code': status, 'message': text}})


def not_found(instance_uuid: str) -> Answer:
    """What Nova answers for an instance that it does not know."""
    return fault(
        404, 'itemNotFound', f'Instance {instance_uuid} could not be found.'
    )


Lie = Callable[[Question, Answer], Answer]


def honest(question: Question, truth: Answer) -> Answer:
    """No lie."""
    return truth


class NovaApi(fixtures.Fixture):
    """A Nova of some hosts and instances.

    :ivar servers: the project of each instance, by its UUID
    :ivar hosts: the host of each instance that has one
    :ivar names: the name of each instance that has one
    :ivar services: the compute services, as ``os-services`` lists them
    :ivar lie: makes the answer of a question and of the true answer
    :ivar asked: all questions
    """

    def __init__(self, *hosts: str) -> None:
        self.servers: dict[str, str] = {}
        self.hosts: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.services: list[dict[str, Any]] = []
        self.lie: Lie = honest
        self.asked: list[Question] = []
        for host in hosts:
            self.add(host)

    def add(self, host: str) -> dict[str, Any]:
        """Register the compute service of a host."""
        service = {
            'id': str(uuid.uuid4()),
            'binary': 'nova-compute',
            'host': host,
            'zone': 'nova',
            'status': 'enabled',
            'state': 'up',
            'updated_at': '2026-11-22T10:30:05.000000',
            'disabled_reason': None,
            'forced_down': False,
        }
        self.services.append(service)
        return service

    def _setUp(self) -> None:
        server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), _handler(self)
        )
        server.daemon_threads = True
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        )
        thread.start()
        self.url = f'http://127.0.0.1:{server.server_port}/v2.1'
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

    def client(self, token: str = ADMIN) -> compute_api.ComputeApi:
        """A client with the credentials of a token."""
        auth = token_endpoint.Token(self.url, token)
        return compute_api.ComputeApi(
            adapter.Adapter(
                session.Session(auth=auth, timeout=10),
                service_type='compute',
                region_name='RegionOne',
            )
        )

    def answer(self, question: Question) -> Answer:
        """What an honest Nova answers."""
        is_admin = question.project is None
        if question.path == 'os-services':
            if not is_admin:
                return fault(403, 'forbidden', 'Policy does not allow it.')
            return answer(200, {'services': self.services})
        if question.path == 'servers':
            if not is_admin:
                return fault(
                    403,
                    'forbidden',
                    'Only administrators may list deleted instances',
                )
            pattern = question.query.get('name')
            return answer(
                200,
                {
                    'servers': [
                        {'id': each, 'name': self.names[each]}
                        for each in self.servers
                        if pattern is not None
                        and re.search(pattern, self.names.get(each, ''))
                    ]
                },
            )
        name = question.instance
        project = self.servers.get(name or '')
        if name is None:
            return Answer(404, b'<html>404 Not Found</html>')
        if project is None or question.project not in (None, project):
            return not_found(name)
        return answer(
            200,
            {
                'server': {
                    'id': name,
                    'status': 'ACTIVE',
                    'tenant_id': project,
                    'OS-EXT-SRV-ATTR:host': self.hosts.get(name),
                }
            },
        )


def _handler(nova: NovaApi) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            token = self.headers.get('X-Auth-Token')
            question = Question(
                url.path.removeprefix('/v2.1/'),
                dict(urllib.parse.parse_qsl(url.query)),
                None if token in (ADMIN, _NO_AUTH) else token,
            )
            nova.asked.append(question)
            found = nova.lie(question, nova.answer(question))
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            length = len(found.body) + found.promised
            self.send_header('Content-Length', str(length))
            self.end_headers()
            self.wfile.write(found.body)
            self.close_connection = bool(found.promised)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
