# SPDX-License-Identifier: Apache-2.0
"""What a store remembers of the cloud that it belongs to."""

from __future__ import annotations

import dataclasses
import datetime
from unittest import mock

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.allocator.contract import case


def _cloud(*hosts: str, name: str = 'http://nova') -> clouds.Cloud:
    """A new cloud, whose compute services no other has."""
    return clouds.Cloud(
        name,
        tuple(
            clouds.ComputeService(host, case.new_uuid(), True)
            for host in hosts
        ),
    )


def _without(cloud: clouds.Cloud, *hosts: str) -> clouds.Cloud:
    return dataclasses.replace(
        cloud,
        services=tuple(
            each for each in cloud.services if each.host not in hosts
        ),
    )


class CloudContract(case.ContractCase):
    """:meth:`base.Allocator.meet_cloud`."""

    def test_new_store_belongs_to_no_cloud(self) -> None:
        known = self.allocator.show_cloud()
        self.assertEqual(clouds.KnownCloud(), known)
        self.assertFalse(known.is_known)

    def test_first_cloud_is_remembered(self) -> None:
        cloud = _cloud('b', 'a')
        known = self.allocator.meet_cloud(cloud)
        self.assertEqual('http://nova', known.name)
        self.assertEqual(
            {each.host: each.uuid for each in cloud.services},
            {each.name: each.service_uuid for each in known.hosts},
        )
        self.assertEqual(['a', 'b'], [each.name for each in known.hosts])
        self.assertEqual((), known.strangers)
        self.assertEqual(known, self.warm.show_cloud())
        self.assertEqual(known, self.warm.meet_cloud(cloud))

    def test_time_at_which_the_store_was_asked_is_its_own(self) -> None:
        cloud = _cloud('a', 'b')
        self.allocator.meet_cloud(cloud)
        first = self.allocator.meet_cloud(_without(cloud, 'b'))
        self.wait_a_tick()
        second = self.allocator.show_cloud()
        [_, missing] = second.hosts
        assert missing.missing_since is not None
        assert first.asked_at is not None and second.asked_at is not None
        self.assertLessEqual(missing.missing_since, first.asked_at)
        self.assertLess(first.asked_at, second.asked_at)

    def test_another_cloud_is_refused_by_both_names(self) -> None:
        known = self.allocator.meet_cloud(_cloud('a', 'b'))
        # Hosts have the same names in many clouds.
        other = _cloud('a', 'b', 'c', name='http://other')
        error = self.assertRaises(
            exception.OtherCloud, self.warm.meet_cloud, other, ['d']
        )
        for said in (
            'http://nova',
            'http://other',
            str(known.hosts[0].service_uuid),
            other.services[0].uuid,
        ):
            self.assertIn(said, str(error))
        self.assertEqual(known, self.allocator.show_cloud())

    def test_services_that_are_down_do_not_name_a_cloud(self) -> None:
        """A copy of Nova's database has them all, and nobody reports."""
        cloud = _cloud('a', 'b')
        known = self.allocator.meet_cloud(cloud)
        copy = dataclasses.replace(
            cloud,
            services=(
                *(
                    dataclasses.replace(each, is_up=False)
                    for each in cloud.services
                ),
                *_cloud('test').services,
            ),
        )
        self.assertRaises(
            exception.OtherCloud, self.allocator.meet_cloud, copy
        )
        self.assertRaises(
            exception.OtherCloud,
            self.allocator.meet_cloud,
            dataclasses.replace(copy, services=copy.services[:2]),
        )
        self.assertEqual(known, self.allocator.show_cloud())

    def test_cloud_that_keeps_one_host_stays_the_same(self) -> None:
        cloud = _cloud('a', 'b')
        self.allocator.meet_cloud(cloud)
        grown = dataclasses.replace(
            cloud,
            name='https://nova',
            services=cloud.services[1:] + _cloud('c', 'd').services,
        )
        known = self.allocator.meet_cloud(grown)
        self.assertEqual('https://nova', known.name)
        self.assertEqual(
            ['a', 'b', 'c', 'd'], [each.name for each in known.hosts]
        )
        self.assertEqual(
            [True, False, False, False],
            [each.missing_since is not None for each in known.hosts],
        )
        # What it has become is known by what it has become.
        later = _without(grown, 'b')
        self.assertEqual(later.name, self.allocator.meet_cloud(later).name)

    def test_host_is_missing_since_it_was_first_not_listed(self) -> None:
        cloud = _cloud('a', 'b')
        self.allocator.meet_cloud(cloud)
        first = self.allocator.meet_cloud(_without(cloud, 'b')).hosts[1]
        self.wait_a_tick()
        again = self.allocator.meet_cloud(_without(cloud, 'b')).hosts[1]
        self.assertIsNotNone(first.missing_since)
        self.assertEqual(first, again)
        back = self.allocator.meet_cloud(cloud).hosts[1]
        self.assertIsNone(back.missing_since)

    def test_host_that_was_set_up_anew_has_its_new_service(self) -> None:
        cloud = _cloud('a', 'b')
        self.allocator.meet_cloud(cloud)
        new = _cloud('b').services
        self.allocator.meet_cloud(
            dataclasses.replace(cloud, services=cloud.services[:1] + new)
        )
        known = self.allocator.show_cloud()
        self.assertEqual(
            [cloud.services[0].uuid, new[0].uuid],
            [each.service_uuid for each in known.hosts],
        )

    def test_strangers_are_remembered_until_they_are_listed(self) -> None:
        cloud = _cloud('a')
        known = self.allocator.meet_cloud(cloud, ['y', 'x'])
        self.assertEqual(('x', 'y'), known.strangers)
        known = self.allocator.meet_cloud(cloud, ['x'])
        self.assertEqual(('x', 'y'), known.strangers)
        grown = dataclasses.replace(
            cloud, services=cloud.services + _cloud('x').services
        )
        self.assertEqual(('y',), self.allocator.meet_cloud(grown).strangers)

    def test_stranger_is_missing_since_it_was_first_noted(self) -> None:
        cloud = _cloud('a')
        first = self.allocator.meet_cloud(cloud, ['x'])
        self.assertIsNotNone(first.hosts[1].missing_since)
        self.wait_a_tick()
        self.assertEqual(first, self.allocator.meet_cloud(cloud, ['x']))
        self.assertEqual(first, self.warm.meet_cloud(cloud))

    def test_missing_host_that_calls_is_missing_since_then(self) -> None:
        cloud = _cloud('a', 'b')
        self.allocator.meet_cloud(cloud)
        before = self.allocator.meet_cloud(_without(cloud, 'b'), ['x'])
        self.wait_a_tick()
        for host in ('a', 'b', 'x', 'y'):
            self.allocator.meet(host, 0)
        # It is not noted each time.
        self.assertEqual(before, self.allocator.show_cloud())
        with mock.patch.object(clouds, 'HEARD', datetime.timedelta()):
            for host in ('a', 'b', 'y'):
                # A process may take its time to look again.
                self.warm.meet(host, 0)
        after = self.allocator.show_cloud()
        self.assertEqual(before.hosts[0], after.hosts[0])
        assert before.hosts[1].missing_since is not None
        assert after.hosts[1].missing_since is not None
        self.assertGreater(
            after.hosts[1].missing_since, before.hosts[1].missing_since
        )
        self.assertEqual(before.hosts[2], after.hosts[2])
        self.assertEqual(3, len(after.hosts))

    def test_host_that_was_listed_is_no_stranger(self) -> None:
        cloud = _cloud('a', 'b')
        self.allocator.meet_cloud(cloud)
        known = self.allocator.meet_cloud(_without(cloud, 'b'), ['b'])
        self.assertEqual((), known.strangers)

    def test_operator_gives_the_store_to_another_cloud(self) -> None:
        self.allocator.meet_cloud(_cloud('a', 'b'), ['x'])
        other = _cloud('c', name='http://other')
        known = self.warm.meet_cloud(other, replaces=True)
        self.assertEqual('http://other', known.name)
        self.assertEqual(['c'], [each.name for each in known.hosts])
        self.assertEqual(known, self.allocator.show_cloud())

    def test_cloud_without_sense_is_refused(self) -> None:
        good = clouds.ComputeService('a', case.new_uuid(), True)
        for name, *services in (
            ('http://nova',),
            ('', good),
            ('x\ny', good),
            ('x' * 256, good),
            ('http://nova', dataclasses.replace(good, host='')),
            ('http://nova', dataclasses.replace(good, host='a\nb')),
            ('http://nova', dataclasses.replace(good, uuid='7')),
            ('http://nova', dataclasses.replace(good, uuid='A' * 32)),
        ):
            with self.subTest(f'{name!r} {services}'):
                self.assertRaises(
                    ValueError,
                    self.allocator.meet_cloud,
                    clouds.Cloud(name, tuple(services)),
                )
        self.assertRaises(
            ValueError, self.allocator.meet_cloud, _cloud('a'), ['\n']
        )
        self.assertEqual(clouds.KnownCloud(), self.allocator.show_cloud())
