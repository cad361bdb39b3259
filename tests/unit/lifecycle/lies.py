# SPDX-License-Identifier: Apache-2.0
"""Lies of Nova's API about instances that live, or of what answers for it."""

import dataclasses
import uuid

from tests.fakes import nova_api

HOSTS = ('h0', 'h1', 'h2', 'h3')
CLAIMED = [f'aaaaaaaa-0000-4000-8000-{n:012x}' for n in range(20)]
SHELVED = [f'bbbbbbbb-0000-4000-8000-{n:012x}' for n in range(5)]
GONE = 'cccccccc-0000-4000-8000-00000000000a'
OTHER = 'dddddddd-0000-4000-8000-00000000000b'


def project(number):
    """One of four; each host has instances of all of them."""
    return f'project{number // 4 % 4}'


def _of(instances, change):
    """A lie about some instances only."""

    def lie(question, truth):
        if question.instance in instances:
            return change(question, truth)
        return truth

    return lie


def _shelved(change):
    """A lie that the controls do not notice: about unclaimed instances."""
    return _of(SHELVED, change)


def _server(**changes):
    """Another body of a server than Nova's."""

    def change(question, truth):
        server = {**truth.json['server'], **changes}
        return truth.with_json(
            {'server': {k: v for k, v in server.items() if v is not None}}
        )

    return change


def _body(body, status=None):
    """Nova's headers, with another body."""

    def change(question, truth):
        made = truth.with_json(body)
        return dataclasses.replace(made, status=status or truth.status)

    return change


def _text(text, status):
    return lambda question, truth: dataclasses.replace(
        truth, body=text, status=status
    )


def _not_found(version=nova_api.VERSION, **changes):
    """A 404 that resembles Nova's."""

    def change(question, truth):
        item = {
            'code': 404,
            'message': f'Instance {question.instance} could not be found.',
            **changes,
        }
        return nova_api.answer(404, {'itemNotFound': item}, version)

    return change


def _with_headers(change, **headers):
    def lie(question, truth):
        made = change(question, truth)
        made.headers.update(
            {name.replace('_', '-'): value for name, value in headers.items()}
        )
        return made

    return lie


def _everywhere(change):
    """A lie about everything that is asked."""
    return change


def _services(change):
    """A lie about the list of compute services."""

    def lie(question, truth):
        if question.path == 'os-services':
            return truth.with_json(
                {'services': change(truth.json['services'])}
            )
        return truth if question.path == 'servers' else _absent(question)

    return lie


def _absent(question, truth=None):
    return nova_api.not_found(question.instance)


def _hidden(instances):
    """Nova's own "not found" for some instances, and for the unclaimed."""
    return _of({*instances, *SHELVED}, _absent)


def _other_services(services):
    return [{**each, 'id': str(uuid.uuid4())} for each in services]


LIES = {
    # A 200 that is not about the instance.
    '200 without an id': _shelved(_server(id=None)),
    '200 about another server': _shelved(_server(id=OTHER)),
    '200 with an id in capitals': _of(
        SHELVED,
        lambda question, truth: _server(id=question.instance.upper())(
            question, truth
        ),
    ),
    '200 with an id without hyphens': _of(
        SHELVED,
        lambda question, truth: _server(id=question.instance.replace('-', ''))(
            question, truth
        ),
    ),
    '200 with an id and a trailing space': _of(
        SHELVED,
        lambda question, truth: _server(id=f'{question.instance} ')(
            question, truth
        ),
    ),
    '200 with an id and a line end': _of(
        SHELVED,
        lambda question, truth: _server(id=f'{question.instance}\n')(
            question, truth
        ),
    ),
    '200 with an id in braces': _of(
        SHELVED,
        lambda question, truth: _server(id=f'{{{question.instance}}}')(
            question, truth
        ),
    ),
    '200 with an id that is a number': _shelved(_server(id=7)),
    '200 with an id that is a list': _shelved(_server(id=[OTHER])),
    '200 with an empty server': _shelved(_body({'server': {}})),
    '200 with a server that is a list': _shelved(_body({'server': []})),
    '200 with no server': _shelved(_body({'server': None})),
    '200 with a list of servers': _shelved(_body({'servers': []})),
    '200 with a page of servers': _shelved(
        _body({'servers': [{'id': OTHER}], 'servers_links': []})
    ),
    '200 with "not found"': _shelved(
        lambda question, truth: truth.with_json(_absent(question).json)
    ),
    '200 with a list': _shelved(_body([])),
    '200 with null': _shelved(_body(None)),
    '200 with a text': _shelved(_body('itemNotFound')),
    '200 without JSON': _shelved(_text(b'<html>', 200)),
    '200 with nothing': _shelved(_text(b'', 200)),
    '200 with half a server': _shelved(
        lambda question, truth: dataclasses.replace(
            truth, body=truth.body[:20]
        )
    ),
    '200 that breaks off': _shelved(
        lambda question, truth: dataclasses.replace(truth, promised=100)
    ),
    '200 that is nested without end': _shelved(_text(b'[' * 100_000, 200)),
    '200 that is no text': _shelved(_text(b'\xff\xfe\x00', 200)),
    # A 404 that is not Nova's word about the instance.
    '404 of a web server': _shelved(_text(b'<html>404</html>', 404)),
    '404 of a proxy with JSON': _shelved(
        lambda question, truth: nova_api.answer(
            404, {'error': 'no such backend'}, None
        )
    ),
    '404 of a proxy in the form of Nova': _shelved(_not_found(None)),
    '404 of a proxy with the headers of Nova': _shelved(
        _body({'error': 'not found'}, 404)
    ),
    '404 of volumes': _shelved(_not_found('volume 3.59')),
    '404 of volumes without a version': _shelved(
        _not_found(None, message=f'Volume {OTHER} could not be found.')
    ),
    '404 of shares': _shelved(
        _not_found(None, message='The resource could not be found.')
    ),
    '404 of a Nova that has only 2.1': _shelved(_not_found('compute 2.1')),
    '404 with the version of a down cell': _shelved(
        _not_found('compute 2.69')
    ),
    '404 of something else in Nova': _shelved(
        _not_found(message='The resource could not be found.')
    ),
    '404 about another instance': _shelved(
        _not_found(message=f'Instance {OTHER} could not be found.')
    ),
    '404 about a longer name': _of(
        SHELVED,
        lambda question, truth: _not_found(
            message=f'Instance {question.instance}0 could not be found.'
        )(question, truth),
    ),
    '404 about the host of the instance': _of(
        SHELVED,
        lambda question, truth: _not_found(
            message='Compute host h0 could not be found.'
        )(question, truth),
    ),
    '404 with another code': _shelved(_not_found(code=410)),
    '404 with no message': _shelved(_not_found(message=None)),
    '404 with a fault that is a text': _shelved(
        _body({'itemNotFound': 'gone'}, 404)
    ),
    '404 with the server': _shelved(
        lambda question, truth: dataclasses.replace(truth, status=404)
    ),
    '404 with two faults': _of(
        SHELVED,
        lambda question, truth: nova_api.answer(
            404, {**_absent(question).json, 'computeFault': {}}
        ),
    ),
    '404 in a list': _of(
        SHELVED,
        lambda question, truth: nova_api.answer(404, [_absent(question).json]),
    ),
    '404 of a cache, by its age': _shelved(_with_headers(_absent, Age='7')),
    '404 of a cache, the same again': _shelved(
        _with_headers(_absent, x_openstack_request_id='req-1')
    ),
    # Other answers.
    '204': _shelved(_text(b'', 204)),
    '203 of a proxy': _shelved(_body({'server': {'id': OTHER}}, 203)),
    '300 with choices': _shelved(_body({'choices': []}, 300)),
    '301 to a 404 of another service': _of(
        SHELVED,
        lambda question, truth: nova_api.Answer(
            301, b'', {'Location': f'/v2.1/servers/{GONE}'}
        ),
    ),
    '302 to a 404 of the same instance': lambda question, truth: (
        nova_api.Answer(
            302, b'', {'Location': f'/v2.1/servers/{question.instance}?x=1'}
        )
        if question.instance in SHELVED and not question.query
        else _absent(question)
        if question.query.get('x')
        else truth
    ),
    '400': _shelved(_body({'badRequest': {}}, 400)),
    '401': _shelved(_body({'unauthorized': {}}, 401)),
    '403 for some': _shelved(_body({'forbidden': {'code': 403}}, 403)),
    '406': _shelved(_body({'computeFault': {}}, 406)),
    '410': _of(
        SHELVED,
        lambda question, truth: dataclasses.replace(
            _absent(question), status=410
        ),
    ),
    '429': _shelved(_body({'overLimit': {}}, 429)),
    '500 of a cell that is down': _shelved(_body({'computeFault': {}}, 500)),
    '503': _shelved(_text(b'', 503)),
    'the status of a deleted server': _shelved(_server(status='DELETED')),
    'a server that is soft-deleted': _shelved(_server(status='SOFT_DELETED')),
    'a server that is shelved': _shelved(_server(status='SHELVED_OFFLOADED')),
    'a server without a status, in a cell that is down': _shelved(
        _server(status='UNKNOWN', tenant_id=None)
    ),
    # Nova denies what hosts have.
    '404 for all': lambda question, truth: (
        _absent(question) if question.instance else truth
    ),
    '404 for all but one of twenty': _hidden(CLAIMED[1:]),
    '404 for all of three projects': _hidden(
        [each for n, each in enumerate(CLAIMED) if project(n) != 'project0']
    ),
    '404 for all of three hosts': _hidden(
        [each for n, each in enumerate(CLAIMED) if n % 4]
    ),
    '404 for half': _hidden(CLAIMED[::2]),
    '404 for two of twenty': _hidden(CLAIMED[9:11]),
    '404 for the newest two': _hidden(CLAIMED[-2:]),
    # Nova's compute services.
    'no services': _services(lambda services: []),
    'services that are down': _services(
        lambda services: [{**each, 'state': 'down'} for each in services]
    ),
    'services of another cloud': _services(_other_services),
    'services of other hosts': _services(
        lambda services: [
            {**each, 'host': f'x{each["host"]}'} for each in services
        ]
    ),
    'services without ids': _services(
        lambda services: [{'host': each['host']} for each in services]
    ),
    'services with numbers, before 2.53': _services(
        lambda services: [{**each, 'id': n} for n, each in enumerate(services)]
    ),
    'services that are a map': _services(lambda services: {'h0': 'up'}),
    'services that are texts': _services(lambda services: ['h0']),
    'services of another program': _services(
        lambda services: [
            {**each, 'binary': 'nova-conductor'} for each in services
        ]
    ),
    '403 for the list of deleted servers': lambda question, truth: (
        nova_api.fault(403, 'forbidden', 'Only administrators')
        if question.path == 'servers'
        else _absent(question)
        if question.instance in SHELVED
        else truth
    ),
    'the headers of no Nova': lambda question, truth: nova_api.answer(
        truth.status,
        _absent(question).json if question.instance in SHELVED else truth.json,
        None,
    ),
}
