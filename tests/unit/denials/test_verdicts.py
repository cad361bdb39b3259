# SPDX-License-Identifier: Apache-2.0

import dataclasses

import testtools

from svirt_nova.denials import holders
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings
from svirt_nova.denials import verdicts
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.unit.denials import world

MAY = line_times.Written((world.moment('2026-05-20T10:00:00'),))
ANN = world.INSTANCES['ann-db']


def judge(source, target, records=None, **access):
    sighting = sightings.Sighting(
        sightings.read_context(f'system_u:system_r:{source}'),
        sightings.read_context(f'system_u:object_r:{target}'),
        sightings.Access(**{'object_class': 'file', **access}),
        MAY,
    )
    found = records or [
        world.record(each) for each in (sighting.source, sighting.target)
    ]
    return verdicts.judge(sighting, *found, world.TERMS)


class JudgeTest(testtools.TestCase):
    GUEST = 'svirt_t:s0:c419,c644'

    def test_a_lost_label_is_known_by_the_path_of_the_instance(self):
        for path, expected in (
            (f'/var/lib/nova/instances/{ANN}/disk', 'own'),
            (f'/srv/{ANN}/disk', 'own'),
            (f'{ANN}/disk', 'host'),
            ('/var/lib/nova/instances/other/disk', 'host'),
            (f'/tmp/x{ANN}/disk', 'host'),
            ('disk', 'host'),
            ('', 'host'),
        ):
            found = judge(self.GUEST, 'nova_var_lib_t:s0', path=path)
            self.assertEqual(expected, found.verdict, path)
            self.assertIn('host check', found.notes[0])
            self.assertEqual(expected == 'own', ANN in found.notes[0])

    def test_a_path_does_not_change_whose_level_it_is(self):
        found = judge(
            self.GUEST,
            'svirt_image_t:s0:c300,c301',
            path=f'/var/lib/nova/instances/{ANN}/disk',
        )
        self.assertEqual('cross-project', found.verdict)
        self.assertIn('wrong level', found.notes[0])

    def test_what_to_do_depends_on_what_is_wrong(self):
        lost = judge(self.GUEST, 'default_t:s0:c419,c644')
        self.assertEqual('own', lost.verdict)
        self.assertIn('reboot instance', lost.notes[0])
        for target, kind in (
            ('svirt_image_t:s0:c419,c644', 'file'),
            ('svirt_t:s0:c419,c644', 'capability'),
        ):
            found = judge(self.GUEST, target, object_class=kind)
            self.assertEqual('own', found.verdict)
            self.assertIn('whatever its level', found.notes[0])

    def test_a_level_that_the_instance_had_before_is_its_own(self):
        past = world.holding('ann-db', '2026-02-01', '2026-05-20T09:30:00')
        old = levels.Level.parse('s0:c1,c2')
        found = judge(
            self.GUEST,
            'svirt_image_t:s0:c1,c2',
            records=[
                holders.LevelRecord(
                    levels.Level.parse('s0:c419,c644'),
                    None,
                    [world.holding('ann-db', '2026-05-20')],
                ),
                holders.LevelRecord(old, None, [past]),
            ],
        )
        self.assertEqual('own', found.verdict)

    def test_what_projects_share_is_known_in_their_scheme(self):
        space = spaces.LevelSpace.parse('c256.c1023', 2, '', 'c0.c255')
        own = levels.Level.parse('s0:c1,c2,c300,c400')
        source = holders.LevelRecord(
            own,
            None,
            [world.holding('ann-db', '2026-02-01')],
            space.project_part(own),
        )
        for part, expected in (('c1,c2', 'same'), ('c1,c3', 'cross')):
            level = levels.Level.parse(f's0:{part}')
            target = holders.LevelRecord(level, is_part=True)
            found = judge(
                'svirt_t:s0:c1,c2,c300,c400',
                f'virt_content_t:s0:{part}',
                records=[source, target],
            )
            self.assertEqual(f'{expected}-project', found.verdict)
            self.assertIs(verdicts.Part.SHARED, found.target.part)
            self.assertIsNone(found.target.holding)

    def test_types_of_other_programs_name_nobody(self):
        for kind in (
            'container_t',
            'svirt_lxc_net_t',
            'svirt_sandbox_file_t',
            'spc_t',
            'custom_t',
            'svirt-t',
        ):
            found = judge(f'{kind}:s0:c419,c644', 'etc_t:s0')
            self.assertIsNone(found.source.holding, kind)
            found = judge(self.GUEST, f'{kind}:s0:c300,c301')
            self.assertIsNone(found.target.holding, kind)

    def test_what_took_place_is_said(self):
        found = judge(
            self.GUEST,
            'svirt_image_t:s0:c300,c301',
            outcome=sightings.Outcome.PERMISSIVE,
        )
        self.assertIn('took place', found.notes[0])

    def test_a_doubtful_line_names_nobody_whatever_it_has(self):
        label = sightings.read_context('a:b:svirt_t:s0:c419,c644')
        sighting = sightings.Sighting(
            label, label, sightings.Access(), MAY, doubt='why'
        )
        found = verdicts.judge(
            sighting, world.record(label), world.record(label), world.TERMS
        )
        self.assertEqual(
            verdicts.Judgement(
                verdicts.Verdict.DOUBTFUL, None, None, ('why',)
            ),
            found,
        )

    def test_a_shown_label_says_that_it_may_be_older(self):
        label = sightings.read_range('c134,c472')
        found = verdicts.judge(
            sightings.Sighting(
                target=label, written=line_times.Written((world.NOW,))
            ),
            None,
            world.record(label),
            world.TERMS,
        )
        self.assertIsNone(found.verdict)
        self.assertIn('until 2026-06-01', found.notes[0])

    def test_a_record_of_another_level_is_refused(self):
        label = sightings.read_range('c134,c472')
        other = world.record(sightings.read_range('c419,c644'))
        self.assertRaises(
            ValueError,
            verdicts.judge,
            sightings.Sighting(target=label, written=MAY),
            None,
            dataclasses.replace(other),
            world.TERMS,
        )
