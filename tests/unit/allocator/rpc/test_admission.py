# SPDX-License-Identifier: Apache-2.0

import threading

import fixtures
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.allocator.rpc import admission
from svirt_nova.allocator.rpc import calls
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests import quick_store

UUID = 'aaaaaaaa-0000-4000-8000-000000000001'
LEVEL = levels.Level.parse('s0:c1,c2')


class _Servers:
    """A Nova that waits for a gate before it answers."""

    def __init__(self, found):
        self.found = found
        self.gate = threading.Event()
        self.gate.set()
        self.asked = []

    def find(self, instance_uuid):
        self.asked.append(instance_uuid)
        self.gate.wait(60)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class AdmissionTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.allocator = memory.MemoryAllocator(
            quick_store.make_conf(''),
            memory_store.MemoryStore(spaces.LevelSpace.parse('c0.c99')),
        )
        self.servers = _Servers(clouds.Server('p', 'a'))

    def check(self, call=calls.ACQUIRE, most_wait=10, servers=True, **given):
        admits = admission.Admission(
            self.allocator, self.servers if servers else None, most_wait
        )
        if call is calls.ADOPT:
            given = {'level': LEVEL} | given
        admits.check(
            call,
            {'instance_uuid': UUID, 'project_id': 'p', 'host': 'a'} | given,
        )

    def refusal(self, kind, *arguments, **given):
        return str(self.assertRaises(kind, self.check, *arguments, **given))

    def test_instance_as_nova_has_it_is_admitted(self):
        for call in (calls.ACQUIRE, calls.ADOPT):
            self.check(call)
        self.assertEqual([UUID, UUID], self.servers.asked)

    def test_nova_is_asked_in_its_own_spelling(self):
        self.check(instance_uuid=UUID.upper())
        self.assertEqual([UUID], self.servers.asked)

    def test_what_is_no_uuid_is_asked_of_nobody(self):
        for call in (calls.ACQUIRE, calls.ADOPT):
            self.refusal(ValueError, call, instance_uuid='../os-services')
        self.assertEqual([], self.servers.asked)

    def test_other_calls_are_not_checked(self):
        for call in set(calls.CALLS) - {calls.ACQUIRE, calls.ADOPT}:
            self.check(call)
        self.assertEqual([], self.servers.asked)

    def test_project_that_nova_does_not_tell_is_refused(self):
        for project in (None, 'q', 'P'):
            self.servers.found = clouds.Server(project, 'a')
            self.refusal(exception.NotAllowed)
            self.refusal(exception.LevelTaken, calls.ADOPT)

    def test_host_counts_for_adoption_alone(self):
        for host in (None, 'b', 'A'):
            self.servers.found = clouds.Server('p', host)
            self.check()
            self.refusal(exception.LevelTaken, calls.ADOPT)

    def test_question_without_an_answer_is_a_warning(self):
        self.servers.found = exception.ComputeApiError('the cell is down')
        text = self.refusal(exception.NotAllowed)
        self.assertIn('the cell is down', text)
        self.assertIn(text, self.log.output)

    def test_nova_has_no_more_questions_open_than_it_should(self):
        self.servers.gate.clear()
        admits = admission.Admission(self.allocator, self.servers, 0.5)
        errors = []
        threads = [
            self.start(admits, f'host{number % 6}', errors)
            for number in range(12)
        ]
        while len(errors) < 4:
            threading.Event().wait(0.01)
        self.assertEqual(8, len(self.servers.asked))
        self.assertEqual([exception.NotAllowed] * 4, errors)
        self.servers.gate.set()
        for each in threads:
            each.join()
        # What was answered too late is not done.
        self.assertEqual([exception.StoreUnreachable] * 8, errors[4:])

    @staticmethod
    def start(admits, host, errors):
        """Let a host ask for an instance beside what others do."""
        given = {'instance_uuid': UUID, 'project_id': 'p', 'host': host}

        def ask():
            try:
                admits.check(calls.ACQUIRE, given)
            except exception.SvirtError as error:
                errors.append(type(error))

        thread = threading.Thread(target=ask)
        thread.start()
        return thread

    def test_host_that_asks_for_much_leaves_room_for_others(self):
        self.servers.gate.clear()
        admits = admission.Admission(self.allocator, self.servers, 60)
        errors = []
        threads = [self.start(admits, 'evil', errors) for _ in range(20)]
        while len(errors) < 12 or len(self.servers.asked) < 2:
            threading.Event().wait(0.01)
        # Two are asked about and six wait; the others hold no thread.
        self.assertEqual([exception.NotAllowed] * 12, errors)
        threads.append(self.start(admits, 'a', errors))
        while len(self.servers.asked) < 3:
            threading.Event().wait(0.01)
        self.servers.gate.set()
        for each in threads:
            each.join()
        self.assertEqual(9, len(self.servers.asked))
        self.assertEqual(12, len(errors))
        self.assertEqual({}, admits._turns._open | admits._turns._waiting)

    def test_known_instance_of_another_project_is_refused_at_once(self):
        self.allocator.adopt(UUID, 'q', 'a', LEVEL)
        for servers in (True, False):
            self.refusal(exception.LevelTaken, calls.ADOPT, servers=servers)
        self.refusal(exception.NotAllowed)
        self.check(project_id='q')
        self.assertEqual([], self.servers.asked)

    def test_level_that_cools_is_asked_about(self):
        """It may come free before the call is done."""
        other = 'aaaaaaaa-0000-4000-8000-000000000002'
        self.allocator.acquire(UUID, 'p', 'a')
        self.allocator.adopt(other, 'q', 'b', LEVEL)
        for uuid, host in ((UUID, 'a'), (other, 'b')):
            self.allocator.give_back(uuid, host)
        self.servers.found = None
        self.refusal(exception.NotAllowed)
        self.refusal(exception.LevelTaken, calls.ADOPT)
        self.assertEqual([UUID], self.servers.asked)

    def test_without_nova_only_adoptions_are_checked(self):
        self.check(servers=False, project_id='anything')
        self.check(calls.ADOPT, servers=False)
        held = self.allocator.adopt(
            'aaaaaaaa-0000-4000-8000-000000000002', 'q', 'b', LEVEL
        )
        text = self.refusal(exception.LevelTaken, calls.ADOPT, servers=False)
        self.assertIn(held.instance_uuid, text)

    def test_time_for_questions_is_what_the_callers_time_leaves(self):
        conf = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(conf)
        conf([], default_config_files=[])
        self.assertEqual(7.5, admission.time_for_questions(conf))
        conf.set_override('call_timeout', 20, 'svirt_nova_allocator')
        self.assertEqual(1.0, admission.time_for_questions(conf))
