# SPDX-License-Identifier: Apache-2.0
"""What a caller can make the service log and answer, over RabbitMQ."""

import datetime
import json

import oslo_messaging
import sqlalchemy as sa

from svirt_nova import printing
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import sizes
from svirt_nova.allocator.sql.tables import schema
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service

FORGED = 'give_back: host c has nothing of instance u, which is retired'
FLOOD = 5_000_000
LONG_NAME = 255 * '\U0001f600'
"""The longest name, of the characters that JSON writes at most length."""


class Intruder:
    """A caller that sends what it likes."""

    def __init__(self, case, topic):
        bus = rpc_service.connect(rpc_service.make_conf('', topic))
        case.addCleanup(rpc_service.in_background, bus.cleanup)
        self._bus = bus
        self._topic = topic

    def ask(self, context, method, version='1.0', topic='', **arguments):
        """Make a call; what is answered, or the error's text."""
        asking = oslo_messaging.get_rpc_client(
            self._bus,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE,
                topic=f'{self._topic}{topic}',
                version=version,
            ),
            version_cap=version,
        )
        try:
            return asking.prepare(timeout=60).call(
                context, method, **arguments
            )
        except oslo_messaging.RemoteError as error:
            return error.value


class LogTest(rpc_service.ProcessTestCase):
    """The log of the program."""

    def test_caller_writes_no_lines_of_its_own_into_the_log(self):
        service = self.start()
        asking = self.client()
        self.wait_until_it_answers(asking)
        intruder = Intruder(self, self.topic)
        line = f'x\n2026-11-27 00:00:00.000 7 INFO svirt_nova {FORGED}'
        uuid = fixture.new_uuid()
        for text in (line, f'\x1b[2J\r{FORGED}', FLOOD * 'x', FLOOD * '\n'):
            for answer in (
                intruder.ask({'host': text}, 'get', instance_uuid=uuid),
                intruder.ask(
                    {'host': text}, 'unclaim', instance_uuid=uuid, host='a'
                ),
                intruder.ask(
                    {'host': 'a'}, 'unclaim', instance_uuid=text, host='a'
                ),
                intruder.ask(
                    {'host': text}, 'unclaim', instance_uuid=uuid, host=text
                ),
                intruder.ask(
                    {'host': 'a'},
                    'acquire',
                    instance_uuid=uuid,
                    project_id=text,
                    host='a',
                ),
                intruder.ask({'host': 'a'}, 'get', instance_uuid=text),
                intruder.ask({'host': 'a'}, 'get', **{text: 5}),
                intruder.ask({'host': 'a'}, text),
            ):
                self.assertLess(len(json.dumps(answer)), 2 * printing.LONGEST)
        self.assertEqual(0, self.below.stats().held)
        log = service.log.read_text()
        self.assertIn('Refused', log)
        for each in log.split('\n'):
            self.assertTrue(each.isprintable(), each[:500])
            self.assertLess(len(each), 2 * printing.LONGEST)
            self.assertFalse(each.startswith('2026-11-27 00:00:00'), each)


class AnswersTest(rpc_service.CallsTestCase):
    """Lists of more than the bus takes at once."""

    number = 6000

    def setUp(self):
        super().setUp()
        self.below.stats()
        engine = sa.create_engine(self.conf.svirt_database.connection)
        self.addCleanup(engine.dispose)
        chosen = iter(self.below.space())
        with engine.begin() as connection:
            connection.execute(
                sa.insert(schema.allocation),
                [
                    {
                        'level_rank': next(chosen),
                        'instance_uuid': fixture.new_uuid(),
                        'project_id': 'p',
                        'host': LONG_NAME,
                        'is_outside': False,
                        'created_at': datetime.datetime(2026, 11, 1),
                        'note': '',
                    }
                    for _ in range(self.number)
                ],
            )

    def test_list_that_is_too_large_for_the_bus_is_complete(self):
        self.serve()
        for host in (LONG_NAME, None):
            asking = self.client(host)
            found = asking.list(host=host)
            self.assertEqual(self.number, len(found))
            self.assertEqual(self.below.list(), found)

    def test_answer_that_is_too_large_for_the_bus_is_refused(self):
        self.serve()
        intruder = Intruder(self, self.topic)
        host = {'host': LONG_NAME}
        for limit in ({}, {'limit': None, 'after': None}, {'limit': 10**9}):
            answer = intruder.ask(host, 'claims', '1.1', **host, **limit)
            self.assertEqual('AnswerTooLarge', answer['error']['name'])
        answer = intruder.ask(
            host,
            'list',
            '1.0',
            '-operator',
            host=None,
            project_id=None,
            states=None,
        )
        self.assertEqual('AnswerTooLarge', answer['error']['name'])
        # What a former release asks for is answered where it fits.
        answer = intruder.ask(host, 'claims', '1.1', **host, limit=1000)
        self.assertEqual(1000, len(answer['result']))
        self.assertLess(len(json.dumps(answer)), sizes.LARGEST_ANSWER + 1000)
