# SPDX-License-Identifier: Apache-2.0

import threading
import time

import fixtures
import sqlalchemy as sa
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.sql import host_keys
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import key_rows
from tests import quick_store

KEYS = [letter * 43 for letter in 'ABCDEFG']

# The calls that were done, without the row that enrolments change.
RECORDS = sa.select(key_rows.signed_call).where(
    key_rows.signed_call.c.identity != key_rows.ENROLMENT
)


class KeysTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.useFixture(quick_store.QuickStore())
        self.allocator = self.store.make()
        self.keys = self.allocator.enrolled_keys()
        self.expires = time.time() + 20

    def other(self):
        """The keys as another process of the service has them."""
        return self.store.make().enrolled_keys()

    def soon(self):
        return self.expires

    def refusal(self, kind, call, *arguments, **options):
        error = self.assertRaises(kind, call, *arguments, **options)
        self.assertIs(kind, type(error))
        return str(error)

    def use(self, keys, identity='i' * 43, key=KEYS[0]):
        with keys.once(keys.find(key), identity, self.soon()):
            pass


class EnrolledTestCase(KeysTestCase):
    """The host a has a key."""

    def setUp(self):
        super().setUp()
        self.keys.enroll(Role.HOST, 'a', KEYS[0])
        self.uuid = contract.new_uuid()

    def acquire(self, allocator, keys, identity='i' * 43):
        """Acquire a level by a signed call."""
        with keys.once(keys.find(KEYS[0]), identity, self.soon()):
            return allocator.acquire(self.uuid, 'p', 'a')


class EnrollTest(KeysTestCase):
    def test_key_is_found_with_its_owner(self):
        self.assertIsNone(self.keys.find(KEYS[0]))
        got = self.keys.enroll(Role.HOST, 'compute1', KEYS[0])
        self.assertEqual(
            (KEYS[0], Role.HOST, 'compute1', None, None, False),
            (
                got.public_key,
                got.role,
                got.owner,
                got.used_at,
                got.revoked_at,
                got.is_first_call,
            ),
        )
        self.assertEqual(got, self.other().find(KEYS[0]))

    def test_key_that_is_enrolled_again_stays_what_it_is(self):
        got = self.keys.enroll(Role.HOST, 'compute1', KEYS[0])
        self.assertEqual(
            got, self.other().enroll(Role.HOST, 'compute1', KEYS[0])
        )
        self.assertEqual([got], self.keys.list(Role.HOST))

    def test_owner_has_two_keys_at_a_time(self):
        for key in KEYS[:2]:
            self.keys.enroll(Role.HOST, 'compute1', key)
        enroll = self.keys.enroll
        text = self.refusal(
            exception.NotAllowed, enroll, Role.HOST, 'compute1', KEYS[2]
        )
        self.assertIn('compute1', text)
        # Another owner, or another kind of owner, has its own two.
        enroll(Role.HOST, 'compute2', KEYS[3])
        enroll(Role.OPERATOR, 'compute1', KEYS[4])
        self.keys.revoke(Role.HOST, 'compute1', KEYS[0])
        enroll(Role.HOST, 'compute1', KEYS[2])

    def test_key_of_one_owner_is_not_enrolled_for_another(self):
        self.keys.enroll(Role.HOST, 'compute1', KEYS[0])
        for role, owner in (
            (Role.HOST, 'compute2'),
            (Role.OPERATOR, 'compute1'),
        ):
            text = self.refusal(
                exception.NotAllowed, self.keys.enroll, role, owner, KEYS[0]
            )
            self.assertIn('compute1', text)

    def test_revoked_key_is_never_enrolled_again(self):
        self.keys.enroll(Role.HOST, 'compute1', KEYS[0])
        [gone] = self.keys.revoke(Role.HOST, 'compute1')
        self.assertEqual(KEYS[0], gone.public_key)
        self.assertEqual([], self.keys.revoke(Role.HOST, 'compute1'))
        self.assertIn(
            'revoked',
            self.refusal(
                exception.NotAllowed,
                self.keys.enroll,
                Role.HOST,
                'compute1',
                KEYS[0],
            ),
        )

    def test_name_that_is_none_is_refused(self):
        for name in ('', 'a\nb', 'x' * 256):
            self.refusal(
                ValueError, self.keys.enroll, Role.HOST, name, KEYS[0]
            )

    def test_first_key_is_taken_only_from_who_never_had_one(self):
        first = self.keys.enroll(
            Role.HOST, 'compute1', KEYS[0], is_first_call=True
        )
        self.assertTrue(first.is_first_call)
        self.keys.revoke(Role.HOST, 'compute1')
        self.refusal(
            exception.NotAllowed,
            self.keys.enroll,
            Role.HOST,
            'compute1',
            KEYS[1],
            is_first_call=True,
        )


class OnceTest(EnrolledTestCase):
    def test_call_is_done_once_by_whichever_process(self):
        held = self.acquire(self.allocator, self.keys)
        self.allocator.unclaim(self.uuid, 'a')
        second = self.store.make()
        for allocator, keys in (
            (self.allocator, self.keys),
            (second, second.enrolled_keys()),
        ):
            self.refusal(exception.RepeatedCall, self.acquire, allocator, keys)
            self.assertEqual(frozenset(), self.allocator.get(self.uuid).hosts)
        again = self.acquire(self.allocator, self.keys, 'j' * 43)
        self.assertEqual(held.level, again.level)

    def test_call_that_changes_nothing_is_done_once_too(self):
        self.use(self.keys)
        self.refusal(exception.RepeatedCall, self.use, self.keys)
        self.refusal(exception.RepeatedCall, self.use, self.other())

    def test_call_that_was_refused_is_not_done_later(self):
        def refused():
            with self.keys.once(
                self.keys.find(KEYS[0]), 'i' * 43, self.soon()
            ):
                raise exception.SpaceFull('full')

        self.refusal(exception.SpaceFull, refused)
        self.refusal(
            exception.RepeatedCall, self.acquire, self.allocator, self.keys
        )

    def test_change_that_fails_leaves_no_record_and_no_change(self):
        """What did not happen can be asked for again."""
        store = self.allocator._store

        def broken(connection):
            raise exception.StoreUnreachable('gone')

        def attempt():
            with self.keys.once(
                self.keys.find(KEYS[0]), 'i' * 43, self.soon()
            ):
                store.write(broken)

        self.refusal(exception.StoreUnreachable, attempt)
        self.acquire(self.allocator, self.keys)

    def test_key_that_was_revoked_a_moment_ago_changes_nothing(self):
        self.use(self.keys, 'k' * 43)
        self.keys.find(KEYS[0])
        self.other().revoke(Role.HOST, 'a')
        text = self.refusal(
            exception.NotAllowed, self.acquire, self.allocator, self.keys
        )
        self.assertIn('revoked', text)
        self.assertRaises(
            exception.UnknownInstance, self.allocator.get, self.uuid
        )

    def test_commit_whose_answer_was_lost_is_no_repetition(self):
        run = stores.Store._run
        lost = []

        def lossy(store, work, *, writes):
            if writes and not lost:
                lost.append(run(store, work, writes=writes))
                # As the store does it when it hears nothing of a commit.
            return run(store, work, writes=writes)

        self.useFixture(
            fixtures.MonkeyPatch(f'{stores.__name__}.Store._run', lossy)
        )
        self.acquire(self.allocator, self.keys)
        self.assertEqual(1, len(lost))

    def test_two_that_come_at_once_are_one_call(self):
        workers = [self.store.make() for _ in range(8)]
        outcomes = []
        together = threading.Barrier(8)

        def work(allocator):
            keys = allocator.enrolled_keys()
            keys.find(KEYS[0])
            together.wait()
            try:
                self.acquire(allocator, keys)
            except exception.RepeatedCall:
                outcomes.append('repeated')
            else:
                outcomes.append('done')

        threads = [threading.Thread(target=work, args=(w,)) for w in workers]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(['done', *['repeated'] * 7], sorted(outcomes))

    def test_record_that_collides_makes_the_transaction_run_again(self):
        tries = []

        def first(connection):
            tries.append(1)
            if len(tries) == 1:
                connection.execute(
                    sa.insert(key_rows.signed_call),
                    [{'identity': 'x', 'done_by': 'y'} for _ in range(2)],
                )

        with self.allocator._store.beginning_with(first):
            self.allocator.acquire(self.uuid, 'p', 'a')
        self.assertEqual(2, len(tries))
        self.assertEqual({'a'}, self.allocator.get(self.uuid).hosts)
        self.assertRaises(
            errors.Busy, self.allocator._store._begin_with, _conflict, None
        )

    def test_first_use_binds_a_host_and_revoking_does_not_free_it(self):
        self.assertFalse(self.keys.is_bound('a'))
        self.use(self.keys)
        for keys in (self.keys, self.other()):
            self.assertTrue(keys.is_bound('a'))
            self.assertFalse(keys.is_bound('b'))
        self.keys.revoke(Role.HOST, 'a')
        self.assertTrue(self.other().is_bound('a'))
        self.assertIsNotNone(self.other().find(KEYS[0]).used_at)

    def test_another_process_sees_some_seconds_later_that_a_host_is_bound(
        self,
    ):
        for period, seen in ((60, False), (0, True)):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'{host_keys.__name__}.UNBOUND_PERIOD', period
                )
            )
            host = f'host{period}'
            self.keys.enroll(Role.HOST, host, str(seen)[0] * 43)
            watching = self.other()
            self.assertFalse(watching.is_bound(host))
            self.use(self.keys, host.ljust(43), str(seen)[0] * 43)
            self.assertTrue(self.keys.is_bound(host))
            self.assertEqual(seen, watching.is_bound(host))

    def test_names_that_somebody_makes_up_fill_no_memory(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{host_keys.__name__}._MOST_UNBOUND', 5)
        )
        for number in range(20):
            self.assertFalse(self.keys.is_bound(f'made-up-{number}'))
        self.assertLessEqual(len(self.keys._unbound), 5)

    def test_record_is_kept_until_the_call_is_void_everywhere(self):
        left = []
        ages = (0, host_keys.MARGIN - 10, host_keys.MARGIN + 10)
        with fixtures.MonkeyPatch(f'{host_keys.__name__}.MARGIN', 10**6):
            for age in ages:
                keys = self.other()
                with keys.once(
                    keys.find(KEYS[0]), f'{age:43}', time.time() - age
                ):
                    pass
        self.use(self.other(), 'j' * 43)
        for row in self.allocator._store.read(
            lambda c: c.execute(RECORDS).all()
        ):
            left.append(row.identity.partition('.')[2].strip())
        self.assertEqual(
            ['0', str(host_keys.MARGIN - 10), 'j' * 43], sorted(left)
        )


def _conflict(_connection):
    raise sa.exc.IntegrityError('', {}, _Origin())


class _Origin(Exception):
    sqlite_errorname = 'SQLITE_CONSTRAINT_PRIMARYKEY'
