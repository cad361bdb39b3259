# SPDX-License-Identifier: Apache-2.0
"""What is recorded of signed calls, what binds a host, and what it costs."""

import time

import fixtures
import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.sql import host_keys
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import key_rows
from tests.unit.allocator.sql import test_host_keys

KEYS = test_host_keys.KEYS
RECORDS = test_host_keys.RECORDS


class KeyRecordsTest(test_host_keys.EnrolledTestCase):
    def test_call_whose_record_may_be_gone_is_not_done(self):
        """The clock of the service may be minutes behind the database's."""
        done = []
        for age in (host_keys.MARGIN - 10, host_keys.MARGIN + 10):
            self.expires = time.time() - age
            try:
                self.acquire(self.allocator, self.keys, f'{age:43}')
            except exception.NotAllowed as error:
                self.assertIn('clock', str(error))
            else:
                done.append(age)
        self.assertEqual([host_keys.MARGIN - 10], done)

    def test_why_a_call_is_not_recorded_is_said_as_it_is(self):
        key = self.keys.find(KEYS[0])
        store = self.allocator._store

        def attempt(kind):
            def once():
                with self.keys.once(key, 'i' * 43, self.soon()):
                    pass

            return self.refusal(kind, once)

        store.write(
            lambda c: c.execute(
                sa.delete(key_rows.caller_key).where(
                    key_rows.caller_key.c.public_key == KEYS[0]
                )
            )
        )
        self.assertIn('not enrolled', attempt(exception.NotAllowed))
        self.assertIn(
            'not enrolled',
            self.refusal(exception.NotAllowed, self.keys.check, key),
        )
        self.keys.enroll(Role.HOST, 'a', KEYS[0])
        self.keys.revoke(Role.HOST, 'a')
        for text in (
            attempt(exception.NotAllowed),
            self.refusal(exception.NotAllowed, self.keys.check, key),
        ):
            self.assertIn('revoked', text)
            self.assertNotIn('not enrolled', text)

    def test_record_that_goes_meanwhile_makes_the_transaction_run_again(self):
        tries = []
        real = key_rows.record_call

        def record(*arguments):
            tries.append(arguments)
            return len(tries) > 1 and real(*arguments)

        self.useFixture(
            fixtures.MonkeyPatch(f'{key_rows.__name__}.record_call', record)
        )
        self.acquire(self.allocator, self.keys)
        self.assertEqual(2, len(tries))

    def test_caller_waits_for_one_batch_of_old_records_at_most(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{host_keys.__name__}._TIDY_LIMIT', 3)
        )
        self.allocator._store.write(
            lambda c: c.execute(
                sa.insert(key_rows.signed_call),
                [
                    {'identity': key_rows.call_of(n, 'x'), 'done_by': 'y'}
                    for n in range(10)
                ],
            )
        )
        self.use(self.keys, 'j' * 43)
        self.use(self.keys, 'k' * 43)
        left = self.allocator._store.read(lambda c: c.execute(RECORDS).all())
        self.assertEqual(7 + 2, len(left))
        self.keys._tidy_due = 0.0
        self.use(self.keys, 'l' * 43)
        self.assertEqual(
            4 + 3,
            len(
                self.allocator._store.read(lambda c: c.execute(RECORDS).all())
            ),
        )

    def writes(self):
        """Count the transactions that write, from now on."""
        run = stores.Store._run
        found = []

        def watch(store, work, *, writes):
            if writes:
                found.append(work)
            return run(store, work, writes=writes)

        self.useFixture(
            fixtures.MonkeyPatch(f'{stores.__name__}.Store._run', watch)
        )
        return found

    def test_call_that_only_reads_writes_once_for_each_key(self):
        writes = self.writes()
        for _ in range(3):
            self.keys.check(self.keys.find(KEYS[0]))
        self.assertEqual(1, len(writes))
        self.assertTrue(self.other().is_bound('a'))
        self.assertEqual(
            [],
            self.allocator._store.read(lambda c: c.execute(RECORDS).all()),
        )

    def test_revoked_key_does_not_read_either(self):
        key = self.keys.find(KEYS[0])
        self.keys.check(key)
        self.other().revoke(Role.HOST, 'a')
        self.assertIn(
            'revoked',
            self.refusal(exception.NotAllowed, self.keys.check, key),
        )

    def test_first_key_that_is_refused_costs_no_write(self):
        """Anybody on the bus can have it refused as often as they like."""
        writes = self.writes()
        for key in KEYS[1:]:
            self.refusal(
                exception.NotAllowed,
                self.keys.enroll,
                Role.HOST,
                'a',
                key,
                is_first_call=True,
            )
        self.assertEqual([], writes)

    def test_host_is_bound_at_its_enrolment_if_that_is_asked_for(self):
        enroll, bound = self.keys.enroll, self.keys.is_bound
        enroll(Role.HOST, 'new', KEYS[1], is_binding=True)
        self.assertTrue(bound('new'))
        # A key that is enrolled already; doing so again loosens nothing.
        self.assertFalse(bound('a'))
        for is_binding in (True, False):
            got = enroll(Role.HOST, 'a', KEYS[0], is_binding=is_binding)
            self.assertTrue(got.is_binding)
            self.assertTrue(bound('a'))
            self.assertTrue(self.other().is_bound('a'))

    def test_host_whose_key_was_revoked_unused_is_bound(self):
        self.assertFalse(self.keys.is_bound('a'))
        self.keys.revoke(Role.HOST, 'a')
        self.assertTrue(self.keys.is_bound('a'))
        self.assertTrue(self.other().is_bound('a'))
