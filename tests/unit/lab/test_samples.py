# SPDX-License-Identifier: Apache-2.0
"""What samples of running guests say of their levels."""

from __future__ import annotations

import testtools

from tests.lab import samples
from tests.lab import views


def _domain(uuid, process='s0:c1,c2', file='s0:c1,c2'):
    return {
        'uuid': uuid,
        'seclabels': [
            {
                'type': 'static',
                'label': f'system_u:system_r:svirt_t:{process}',
            }
        ],
        'process': f'system_u:system_r:svirt_t:{process}',
        'files': [
            {
                'path': '/disk',
                'context': f'system_u:object_r:svirt_image_t:{file}',
            }
        ],
    }


def _samples(**hosts):
    return samples.Samples(
        {
            host: [
                {'time': float(time), 'domains': domains}
                for time, domains in enumerate(shown)
            ]
            for host, shown in hosts.items()
        }
    )


class SamplesTest(testtools.TestCase):
    wanted = views.allocations(
        [
            {
                'Level': 's0:c1,c2',
                'State': 'held',
                'Instance': 'ann',
                'Project': 'p',
                'Hosts': ['a'],
            }
        ]
    )

    def test_a_level_that_never_changed_on_any_host_is_no_fault(self):
        seen = _samples(
            a=[[_domain('ann')], [_domain('ann')], []],
            b=[[], [_domain('ann')], [_domain('ann')]],
        )
        self.assertEqual([], seen.faults(self.wanted))
        self.assertEqual(6, seen.count)

    def test_one_sample_with_another_level_is_a_fault(self):
        for other in ({'process': 's0:c1,c3'}, {'file': 's0'}):
            seen = _samples(
                a=[[_domain('ann')], [_domain('ann', **other)]],
            )
            found = seen.faults(self.wanted)
            self.assertIn('of instance ann on a is at', str(found))

    def test_who_was_never_seen_is_a_fault(self):
        seen = _samples(a=[[_domain('bob')]])
        self.assertIn('ann was never seen', seen.faults(self.wanted))

    def test_a_level_that_two_instances_ever_had_is_a_fault(self):
        seen = _samples(a=[[_domain('ann')]], b=[[_domain('bob')], []])
        self.assertIn(
            'levels meet: instance ann and instance bob',
            str(seen.faults(self.wanted)),
        )

    def test_a_time_that_nobody_saw_is_a_fault(self):
        seen = samples.Samples(
            {
                'a': [
                    {'time': time, 'domains': [_domain('ann')]}
                    for time in (0.0, 0.5, 50.5)
                ]
            }
        )
        self.assertEqual(
            ['for 50.0 s there was no sample'], seen.faults(self.wanted)
        )

    def test_a_host_that_showed_nothing_is_a_fault(self):
        seen = _samples(a=[[_domain('ann')]], b=[])
        self.assertEqual(['b has no samples'], seen.faults(self.wanted))

    def test_gaps_are_those_of_each_host_alone(self):
        seen = samples.Samples(
            {
                'a': [{'time': t, 'domains': []} for t in (0.0, 1.0, 4.0)],
                'b': [{'time': t, 'domains': []} for t in (90.0, 90.5)],
            }
        )
        self.assertEqual(3.0, seen.longest_gap())
        self.assertEqual(1.0, seen.usual_gap())

    def test_without_samples_there_is_no_gap(self):
        self.assertEqual(0.0, samples.Samples({}).longest_gap())
