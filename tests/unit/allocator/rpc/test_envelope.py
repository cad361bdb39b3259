# SPDX-License-Identifier: Apache-2.0

import testtools
from hypothesis import assume
from hypothesis import given

from svirt_nova import exception
from svirt_nova.allocator.rpc import envelope
from tests.unit.allocator.rpc import values


def read(answer):
    return envelope.read(answer, lambda message: message)


class AnswersTest(testtools.TestCase):
    @given(values.JUNK)
    def test_result_is_given_out(self, junk):
        self.assertIs(junk, read(envelope.write_result(junk)))

    def test_refusal_keeps_its_kind_and_text(self):
        for error in (
            exception.LevelTaken('held by u1'),
            exception.SpaceFull('all 45'),
            ValueError('no name'),
        ):
            got = self.assertRaises(
                type(error), read, envelope.write_refusal(error)
            )
            self.assertIs(type(error), type(got))
            self.assertEqual(str(error), str(got))

    def test_fault_of_the_service_is_told_without_its_text(self):
        answer = envelope.write_refusal(RuntimeError('password is hunter2'))
        self.assertNotIn('hunter2', str(answer))
        self.assertRaises(exception.StoreUnusable, read, answer)

    def test_error_that_only_has_the_name_of_ours_is_a_fault(self):
        impostor = type('SpaceFull', (Exception,), {})('hunter2')
        self.assertNotIn('hunter2', str(envelope.write_refusal(impostor)))

    def test_refusal_that_names_another_class_raises_one_of_ours(self):
        for name in ('SystemExit', 'builtins.SystemExit', 'InvalidOption'):
            answer = {'error': {'name': name, 'text': 'x'}}
            error = self.assertRaises(exception.StoreUnusable, read, answer)
            self.assertIs(exception.StoreUnusable, type(error))

    @given(values.JUNK)
    def test_answer_of_another_shape_is_refused(self, junk):
        # Chance finds an answer that has the shape of a result, too.
        assume(not isinstance(junk, dict) or junk.keys() != {'result'})
        for answer in (junk, {'error': junk}, {'result': junk, 'a': 1}):
            self.assertRaises(exception.StoreUnusable, read, answer)
