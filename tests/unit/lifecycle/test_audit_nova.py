# SPDX-License-Identifier: Apache-2.0
"""What an audit finds when Nova says which instances there are."""

from svirt_nova.lifecycle import audit
from tests.unit.lifecycle.audit_case import allocation
from tests.unit.lifecycle.audit_case import AuditTestCase
from tests.unit.lifecycle.audit_case import host
from tests.unit.lifecycle.audit_case import instance
from tests.unit.lifecycle.audit_case import Kind
from tests.unit.lifecycle.audit_case import NOW
from tests.unit.lifecycle.audit_case import ONE
from tests.unit.lifecycle.audit_case import OTHER


class NovaTest(AuditTestCase):
    # What Nova says

    def test_an_instance_whose_level_is_free_is_found(self):
        for found in (
            [],
            [allocation(hosts=(), retired_at=NOW)],
            [allocation(retired_at=NOW)],
        ):
            self.assertEqual(
                [Kind.EARLY_RELEASE],
                self.kinds(found, [], {'u': instance(seen=[ONE])}),
            )
        [found] = audit.audit([], [], {'u': instance(seen=[ONE])})
        self.assertIn('instance u, and its level s0:c1,c2 is free', found.text)

    def test_an_instance_that_never_had_a_level_needs_none(self):
        self.assertEqual([], self.kinds([], [], {'u': instance('a')}))

    def test_the_level_of_a_gone_instance_may_cool(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(hosts=(), retired_at=NOW)],
                [],
                {'u': instance(is_gone=True, seen=[ONE])},
            ),
        )

    def test_a_gone_instance_keeps_its_level_while_a_host_has_it(self):
        [found] = audit.audit(
            [], [host('a')], {'u': instance(is_gone=True, seen=[ONE])}
        )
        self.assertIs(Kind.EARLY_RELEASE, found.kind)
        self.assertEqual('a', found.host)

    def test_an_instance_with_two_levels_is_found(self):
        for seen in ([ONE, OTHER], [OTHER]):
            [found] = audit.audit(
                [allocation()], [], {'u': instance(seen=seen)}
            )
            self.assertIs(Kind.LEVEL_CHANGED, found.kind)
            self.assertIn('s0:c1,c3 and has s0:c1,c2 now', found.text)

    # What must be so when Nova and the hosts have cleaned up

    def test_an_operation_that_is_not_over_leaves_no_violation(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(hosts=['a', 'b'])],
                [host('a'), host('b')],
                {'u': instance('b')},
            ),
        )

    def test_a_domain_where_nova_has_no_instance_is_left_over(self):
        for nova, text in (
            ({'u': instance('b')}, 'u, which is on b'),
            ({'u': instance()}, 'u, which is on no host'),
            ({'u': instance('a', is_gone=True)}, 'u, which is deleted'),
            ({}, 'u, which is deleted'),
        ):
            [found] = audit.audit(
                [allocation()],
                [host('a', traces={'u': ['the domain']})],
                nova,
                is_settled=True,
            )
            self.assertIs(Kind.LEFTOVER, found.kind)
            self.assertEqual('a', found.host)
            self.assertIn(
                'a still has the domain of instance ' + text, str(found)
            )

    def test_a_claim_of_a_host_where_nova_has_no_instance_is_stale(self):
        claimed = [allocation(hosts=['a', 'b'])]
        for views, text in (
            ([host('a')], 'b claims instance u, which is on a'),
            ([host('a'), host('b', present=())], 'and has nothing of it'),
        ):
            [found] = audit.audit(
                claimed, views, {'u': instance('a')}, is_settled=True
            )
            self.assertIs(Kind.STALE_CLAIM, found.kind)
            self.assertEqual('b', found.host)
            self.assertIn(text, found.text)

    def test_a_claim_of_a_host_that_has_something_left_is_no_violation(self):
        self.assertEqual(
            [Kind.LEFTOVER],
            self.kinds(
                [allocation()], [host('a')], {'u': instance()}, is_settled=True
            ),
        )

    def test_a_retired_level_may_wait_for_the_claims_of_its_hosts(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(retired_at=NOW)],
                [host('a', present=())],
                {'u': instance(is_gone=True)},
                is_settled=True,
            ),
        )

    def test_a_held_level_of_a_deleted_instance_has_leaked(self):
        found = audit.audit(
            [allocation()], [], {'u': instance(is_gone=True)}, is_settled=True
        )
        self.assertEqual(
            [Kind.STALE_CLAIM, Kind.LEAK], [each.kind for each in found]
        )
        self.assertIn('claimed by a, is still held', found[1].text)

    def test_what_nova_was_not_asked_about_is_not_left_over(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(hosts=['a', 'b'])], [host('a')], is_settled=True
            ),
        )

    def test_a_busy_instance_has_nothing_left_over(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(hosts=['a', 'b'])],
                [host('a')],
                {'u': instance('c', is_busy=True)},
                is_settled=True,
            ),
        )

    def test_a_gone_instance_that_had_two_levels_is_found(self):
        self.assertEqual(
            [Kind.LEVEL_CHANGED],
            self.kinds(
                [], [], {'u': instance(is_gone=True, seen=[ONE, OTHER])}
            ),
        )

    def test_a_gone_instance_may_be_given_another_level_by_a_late_call(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation()],
                [],
                {'u': instance(is_gone=True, seen=[OTHER])},
            ),
        )

    # What must be so at rest

    def test_a_claim_where_there_is_nothing_is_stale(self):
        claimed = [allocation(hosts=['a', 'b'])]
        views = [host('a'), host('b', present=())]
        nova = {'u': instance('a')}
        self.assertEqual([], self.kinds(claimed, views, nova))
        [found] = audit.audit(claimed, views, nova, is_at_rest=True)
        self.assertIs(Kind.STALE_CLAIM, found.kind)
        self.assertEqual('b', found.host)

    def test_the_host_of_an_instance_may_claim_it_without_having_it(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation()],
                [host('a', present=())],
                {'u': instance('a')},
                is_at_rest=True,
            ),
        )

    def test_a_host_that_was_not_looked_at_has_no_stale_claim(self):
        self.assertEqual(
            [], self.kinds([allocation()], [], {}, is_at_rest=True)
        )

    def test_an_instance_that_is_worked_on_is_not_judged(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(hosts=['b'])],
                [host('b', present=())],
                {'u': instance('a', is_busy=True)},
                is_at_rest=True,
            ),
        )

    def test_a_level_of_an_instance_that_nova_does_not_know_has_leaked(self):
        for nova in ({}, {'u': instance('a', is_gone=True)}):
            self.assertEqual(
                [Kind.LEAK],
                self.kinds(
                    [allocation(hosts=())],
                    [host('a', present=())],
                    nova,
                    is_at_rest=True,
                ),
            )

    def test_a_claim_of_the_former_host_of_a_gone_instance_is_stale(self):
        self.assertEqual(
            [Kind.STALE_CLAIM],
            self.kinds(
                [allocation()],
                [host('a', present=())],
                {'u': instance('a', is_gone=True)},
                is_at_rest=True,
            ),
        )

    def test_nothing_has_leaked_while_a_host_has_something(self):
        self.assertEqual(
            [Kind.UNCLAIMED],
            self.kinds(
                [allocation(hosts=())],
                [host('a')],
                {},
                is_at_rest=True,
            ),
        )

    def test_a_held_level_leaks_only_if_nova_was_asked(self):
        self.assertEqual(
            [], self.kinds([allocation(hosts=())], [], is_at_rest=True)
        )
