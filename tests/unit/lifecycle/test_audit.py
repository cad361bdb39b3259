# SPDX-License-Identifier: Apache-2.0

import datetime
import itertools

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
ONE = levels.Level.parse('s0:c1,c2')
OTHER = levels.Level.parse('s0:c1,c3')
Kind = audit.Kind


def allocation(uuid='u', level=ONE, hosts=('a',), retired_at=None, part=None):
    return types.Allocation(
        level=level,
        instance_uuid=uuid,
        project_id=None if uuid is None else 'p',
        hosts=frozenset(hosts),
        retired_at=retired_at,
        project_level=part,
    )


def host(name='a', *sights, present=('u',), guests=(), **options):
    return audit.HostView(
        name,
        frozenset(present),
        tuple(guests),
        tuple(audit.Sight(uuid, 'the disk', level) for uuid, level in sights),
        **options,
    )


def guest(uuid='u', is_labelled=True, is_static=True, omitted=''):
    return audit.Guest(uuid, is_labelled, is_static, omitted)


def instance(*hosts, is_gone=False, is_busy=False, seen=()):
    return audit.InstanceView(
        frozenset(hosts), is_gone, is_busy, frozenset(seen)
    )


class AuditTest(testtools.TestCase):
    def kinds(self, *args, **kwargs):
        return [found.kind for found in audit.audit(*args, **kwargs)]

    def test_a_cloud_in_order_has_no_violation(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(), allocation('v', OTHER, ['b'])],
                [
                    host('a', ('u', ONE), guests=[guest()]),
                    host('b', ('v', OTHER), present=['v']),
                ],
                {
                    'u': instance('a', seen=[ONE]),
                    'v': instance('b', seen=[OTHER]),
                },
                is_at_rest=True,
            ),
        )

    # Levels that meet

    def test_two_instances_with_one_level_are_found(self):
        [found] = audit.audit([allocation(), allocation('v')], [])
        self.assertIs(Kind.LEVELS_MEET, found.kind)
        self.assertIn('instance u and instance v', found.text)

    def test_a_level_that_contains_another_is_found(self):
        smaller = levels.Level.parse('s0:c2')
        [found] = audit.audit([allocation(), allocation('v', smaller)], [])
        self.assertIs(Kind.LEVELS_MEET, found.kind)
        self.assertEqual('u', found.instance_uuid)
        self.assertIn('can open the files of instance v at s0:c2', found.text)

    def test_a_level_without_categories_is_open_to_all(self):
        self.assertIn(
            Kind.LEVELS_MEET,
            self.kinds(
                [allocation()], [host('a', ('v', levels.Level.parse('s0')))]
            ),
        )

    def test_a_reserved_level_that_an_instance_has_is_found(self):
        reserved = allocation(None, ONE, ())
        self.assertEqual(
            [Kind.LEVELS_MEET], self.kinds([allocation(), reserved], [])
        )

    def test_levels_on_two_hosts_that_the_store_does_not_know_are_found(self):
        found = audit.audit([], [host('a', ('u', ONE)), host('b', ('v', ONE))])
        self.assertIn(Kind.LEVELS_MEET, [each.kind for each in found])

    def test_what_a_project_shares_meets_nobody(self):
        part = levels.Level.parse('s0:c1')
        self.assertEqual(
            [],
            self.kinds(
                [
                    allocation(part=part),
                    allocation('v', OTHER, part=part),
                ],
                [host('a', ('u', part), ('v', part), present=['u', 'v'])],
            ),
        )

    @given(st.lists(st.sets(st.integers(0, 6), max_size=4), max_size=8))
    def test_exactly_the_levels_that_are_comparable_meet(self, chosen):
        given = [levels.Level(frozenset(each)) for each in chosen]
        expected = sum(
            one.is_comparable(other)
            for one, other in itertools.combinations(given, 2)
        )
        found = self.kinds(
            [allocation(f'u{n}', level) for n, level in enumerate(given)], []
        )
        self.assertEqual(expected, found.count(Kind.LEVELS_MEET))

    def test_a_guest_that_nova_does_not_know_must_not_meet_an_instance(self):
        for level in ('s0', 's0:c2', 's0:c1,c2', 's0:c0.c9'):
            [found] = audit.audit(
                [allocation()],
                [host('a', (None, levels.Level.parse(level)))],
            )
            self.assertIs(Kind.LEVELS_MEET, found.kind)
            self.assertEqual('u', found.instance_uuid)
            self.assertIn('the disk on a', found.text)

    def test_a_guest_that_nova_does_not_know_may_have_a_reserved_level(self):
        self.assertEqual(
            [],
            self.kinds(
                [allocation(None, ONE, ())],
                [host('a', (None, ONE)), host('b', (None, ONE))],
            ),
        )

    def test_a_level_of_an_instance_without_categories_is_found(self):
        [found] = audit.audit([allocation(level=levels.Level.parse('s0'))], [])
        self.assertIs(Kind.NO_CATEGORY, found.kind)
        self.assertIn('instance u, claimed by a, has no', found.text)

    def test_a_guest_with_many_categories_is_judged_at_once(self):
        whole, half = map(levels.Level.parse, ('s0:c0.c1023', 's0:c0.c511'))
        found = self.kinds([allocation('v', half), allocation('w', whole)], [])
        self.assertEqual([Kind.LEVELS_MEET], found)

    # What hosts have

    def test_a_guest_without_label_is_unconfined(self):
        one = guest(is_labelled=False)
        self.assertEqual(
            [Kind.UNCONFINED],
            self.kinds([allocation()], [host(guests=[one])]),
        )

    def test_a_guest_at_a_level_of_libvirt_is_found(self):
        one = guest(is_static=False)
        self.assertEqual(
            [Kind.DRAWN_LEVEL],
            self.kinds([allocation()], [host(guests=[one])]),
        )

    def test_a_guest_whose_start_left_a_step_out_is_found(self):
        one = guest(omitted='its labels were not read back')
        [found] = audit.audit([allocation()], [host(guests=[one])])
        self.assertIs(Kind.UNCHECKED_START, found.kind)
        self.assertEqual(('u', 'a'), (found.instance_uuid, found.host))
        self.assertEqual(
            'instance u runs on a, and its labels were not read back',
            found.text,
        )

    def test_a_guest_is_judged_once_by_the_worst_that_is_wrong(self):
        one = guest(is_labelled=False, is_static=False, omitted='all')
        self.assertEqual(
            [Kind.UNCONFINED],
            self.kinds([allocation()], [host(guests=[one])]),
        )

    def test_a_host_that_does_not_confine_may_run_any_guest(self):
        for one in (
            guest(is_labelled=False),
            guest(is_static=False),
            guest(omitted='everything'),
        ):
            self.assertEqual(
                [],
                self.kinds(
                    [allocation()], [host(guests=[one], confines=False)]
                ),
            )

    def test_a_level_that_is_not_the_instances_is_found(self):
        [found] = audit.audit([allocation()], [host('a', ('u', OTHER))])
        self.assertIs(Kind.OTHER_LEVEL, found.kind)
        self.assertEqual(('u', 'a'), (found.instance_uuid, found.host))
        self.assertIn('the disk of instance u on a is at s0:c1,c3', str(found))

    def test_a_level_of_an_instance_without_one_is_unknown(self):
        self.assertEqual(
            [Kind.UNKNOWN_LEVEL], self.kinds([], [host('a', ('u', ONE))])
        )

    def test_a_level_that_cools_while_something_has_it_is_found(self):
        cooling = allocation(hosts=(), retired_at=NOW)
        self.assertEqual(
            [Kind.EARLY_RELEASE, Kind.UNCLAIMED],
            self.kinds([cooling], [host('a', ('u', ONE))]),
        )

    def test_a_retired_level_that_its_host_claims_is_in_order(self):
        retired = allocation(retired_at=NOW)
        self.assertEqual([], self.kinds([retired], [host('a', ('u', ONE))]))

    def test_a_host_without_a_claim_on_what_it_has_is_found(self):
        [found] = audit.audit(
            [allocation(hosts=['b'])],
            [host('a', traces={'u': ['the domain', 'the directory u']})],
        )
        self.assertIs(Kind.UNCLAIMED, found.kind)
        self.assertEqual('a', found.host)
        self.assertIn('a has the domain and the directory u of', found.text)
        self.assertIn('claimed by b', found.text)

    def test_a_directory_of_an_instance_from_before_needs_no_claim(self):
        self.assertEqual([], self.kinds([], [host('a')]))

    def test_a_host_that_must_claim_all_is_found_with_an_unclaimed_one(self):
        [found] = audit.audit([], [host('a', requires_claims=True)])
        self.assertIs(Kind.UNCLAIMED, found.kind)
        self.assertEqual(('u', 'a'), (found.instance_uuid, found.host))
        self.assertIn('does not claim it', found.text)

    def test_a_host_that_must_claim_all_and_does_is_in_order(self):
        self.assertEqual(
            [], self.kinds([allocation()], [host('a', requires_claims=True)])
        )

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
