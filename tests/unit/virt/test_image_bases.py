# SPDX-License-Identifier: Apache-2.0
"""Which level a file of the image cache gets, and when it may be closed."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import fixtures
import nova.conf
import oslo_messaging
import testtools
from nova import exception as nova_exception

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import disk_chains
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from svirt_nova.virt import image_bases
from svirt_nova.virt import private_images
from svirt_nova.virt import whereabouts
from svirt_nova.virt.private_images import Reach
from tests import samples

CONF = nova.conf.CONF
BASE = '/i/_base/base'
OWN = levels.Level.parse('s0:c1,c600')
PROJECT = levels.Level.parse('s0:c1')
OTHER = levels.Level.parse('s0:c2')
NEW = contexts.Context.parse('system_u:object_r:nova_var_lib_t:s0')
OPEN = samples.CONTENT
CLOSED = samples.CONTENT.at(disk_chains.NOBODY)
EVERYBODY = disk_chains.EVERYBODY


def _user(uuid, project_id='project', reach=None, disk='disk'):
    found = SimpleNamespace(
        uuid=uuid, project_id=project_id, system_metadata={}
    )
    private_images.remember(found, disk, 'image', reach)
    return found


class _Case(testtools.TestCase):
    def setUp(self):
        super().setUp()
        svirt_nova.conf.register_opts(CONF)
        self.log = self.useFixture(fixtures.FakeLogger())
        CONF.set_override('instances_path', '/i')
        self.addCleanup(CONF.clear_override, 'instances_path')
        self.addCleanup(CONF.clear_override, 'private_images', group='svirt')
        self.label = NEW
        self.shared = []
        for name, new in (
            ('svirt_nova.host.file_labels.read', lambda path: self.label),
            (
                'svirt_nova.host.file_labels.share',
                lambda root, path, level: self.shared.append(
                    (root, path, level)
                ),
            ),
            (
                'svirt_nova.host.image_contexts.readable',
                lambda: samples.CONTENT,
            ),
        ):
            self.useFixture(fixtures.MonkeyPatch(name, new))
        self.users, self.rescued = (
            self.useFixture(
                fixtures.MockPatch(
                    f'svirt_nova.virt.whereabouts.{name}', return_value=[]
                )
            ).mock
            for name in ('find_instances_of', 'find_rescued')
        )
        self.instance = _user('uuid')

    def remember(self, reach):
        private_images.remember(self.instance, 'disk', 'image', reach)


class LevelTest(_Case):
    """What a start makes of a file."""

    def _level(self, project=PROJECT, image='image'):
        return image_bases.level_of(
            self.instance,
            types.InstanceLevels(OWN, project),
            'disk',
            image,
            BASE,
        )

    def test_the_table(self):
        for reach, label, project, expected in (
            (Reach.PUBLIC, NEW, PROJECT, EVERYBODY),
            (Reach.PUBLIC, CLOSED, PROJECT, EVERYBODY),
            (Reach.PUBLIC, OPEN.at(OTHER), None, EVERYBODY),
            (Reach.PROJECT, NEW, PROJECT, PROJECT),
            (Reach.PROJECT, CLOSED, PROJECT, PROJECT),
            (Reach.PROJECT, OPEN.at(PROJECT), PROJECT, PROJECT),
            # A start closes nothing.
            (Reach.PROJECT, OPEN, PROJECT, EVERYBODY),
            (Reach.PROJECT, OPEN.at(OTHER), PROJECT, EVERYBODY),
            # A guest from before must go on.
            (None, NEW, PROJECT, PROJECT),
            (None, CLOSED, PROJECT, PROJECT),
            (None, OPEN, PROJECT, EVERYBODY),
            (None, OPEN.at(OTHER), PROJECT, EVERYBODY),
            (None, CLOSED, None, EVERYBODY),
            # libvirt has labelled it for a cdrom, or not at all.
            (None, samples.IMAGE, PROJECT, PROJECT),
            (None, None, PROJECT, PROJECT),
        ):
            self.remember(reach)
            self.label = label
            self.assertEqual(
                expected, self._level(project), (reach, label, project)
            )
        self.assertEqual([], self.shared)
        self.users.assert_not_called()

    def test_files_that_nova_makes_for_everybody_are_open(self):
        self.remember(Reach.PROJECT)
        self.assertEqual(EVERYBODY, self._level(image=None))

    def test_all_are_open_if_the_operator_says_so(self):
        CONF.set_override('private_images', 'open', group='svirt')
        self.remember(Reach.PROJECT)
        self.assertEqual(EVERYBODY, self._level())

    def test_opening_a_private_image_is_told(self):
        self.label = CLOSED
        self._level(project=None)
        self.assertIn('is opened to every guest', self.log.output)

    def test_no_level_of_a_guest_opens_what_is_closed(self):
        self.assertEqual(
            levels.CATEGORY_LIMIT, len(disk_chains.NOBODY.categories)
        )
        self.assertEqual('s0:c0.c1023', str(disk_chains.NOBODY))

    def test_a_label_that_cannot_be_read_is_an_error(self):
        def fail(path):
            raise exception.LabelError('no')

        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.host.file_labels.read', fail)
        )
        # There is no such file: nobody reads it.
        self.assertEqual(PROJECT, self._level())
        self.useFixture(
            fixtures.MonkeyPatch('os.path.lexists', lambda path: True)
        )
        self.assertRaises(exception.LabelError, self._level)

    def test_a_disk_joins_no_file_of_another_project(self):
        for label, expected in (
            (None, True),
            (NEW, True),
            (CLOSED, True),
            (OPEN, True),
            (OPEN.at(PROJECT), True),
            (OPEN.at(OTHER), False),
        ):
            self.label = label
            self.assertIs(expected, image_bases.may_join(PROJECT, BASE))


class CloseTest(_Case):
    """When a file that is open may be closed."""

    def _close(self, project=PROJECT):
        image_bases.close(self.instance, 'image', BASE, project)
        return [level for _, _, level in self.shared]

    def setUp(self):
        super().setUp()
        self.label = OPEN

    def test_it_is_closed_if_nobody_else_uses_it(self):
        self.users.return_value = [_user('uuid', reach=None)]
        self.assertEqual([PROJECT], self._close())
        self.assertEqual([('/i', BASE, PROJECT)], self.shared)
        self.users.assert_called_once_with('image')

    def test_the_table_of_another_user(self):
        for user, is_project_enough, is_nobody_enough in (
            (_user('b', reach=Reach.PROJECT), True, False),
            (_user('b', reach=Reach.ALONE), True, True),
            (_user('b', 'another', Reach.ALONE), True, True),
            (_user('b', 'another', Reach.PROJECT), False, False),
            (_user('b', reach=Reach.PUBLIC), False, False),
            (_user('b', reach=None), False, False),
        ):
            self.users.return_value = [self.instance, user]
            for project, is_enough in (
                (PROJECT, is_project_enough),
                (None, is_nobody_enough),
            ):
                self.shared.clear()
                level = project or disk_chains.NOBODY
                self.assertEqual(
                    [level] * is_enough, self._close(project), vars(user)
                )

    def test_those_that_keep_it_open_are_told(self):
        self.users.return_value = [_user('b'), _user('c')]
        self._close()
        self.assertIn('2 other instances', self.log.output)
        self.assertIn('such as b', self.log.output)

    def test_a_rescued_instance_may_use_it(self):
        self.rescued.return_value = [_user('b', 'another')]
        self.assertEqual([], self._close())
        self.rescued.return_value = [
            _user('b', reach=Reach.PROJECT, disk='disk.rescue')
        ]
        self.assertEqual([PROJECT], self._close())

    def test_nova_that_does_not_answer_keeps_it_open(self):
        for error in (
            nova_exception.NovaException('no'),
            oslo_messaging.MessagingTimeout('no'),
        ):
            self.users.side_effect = error
            self.assertEqual([], self._close())
        self.assertIn('does not say who uses it', self.log.output)

    def test_what_is_not_open_to_all_is_left_alone(self):
        for label in (NEW, CLOSED, OPEN.at(OTHER), None):
            self.label = label
            self.assertEqual([], self._close())
        self.users.assert_not_called()

    def test_a_new_file_is_closed_to_all(self):
        for label, expected in (
            (NEW, [disk_chains.NOBODY]),
            (samples.IMAGE, [disk_chains.NOBODY]),
            (CLOSED, []),
            (OPEN, []),
            (OPEN.at(OTHER), []),
            # Its storage carries no labels.
            (None, []),
        ):
            self.label = label
            self.shared.clear()
            image_bases.close_new(BASE)
            self.assertEqual(
                expected, [level for _, _, level in self.shared], label
            )


class NovasRecordsTest(testtools.TestCase):
    def test_instances_of_all_hosts_are_asked_for(self):
        with mock.patch(
            'nova.objects.instance.InstanceList.get_by_filters'
        ) as get:
            get.return_value = []
            whereabouts.find_instances_of('image')
            whereabouts.find_rescued()
        self.assertEqual(
            [
                {'image_ref': 'image', 'deleted': False, 'soft_deleted': True},
                {
                    'vm_state': 'rescued',
                    'deleted': False,
                    'soft_deleted': True,
                },
                {
                    'task_state': 'rescuing',
                    'deleted': False,
                    'soft_deleted': True,
                },
            ],
            [call.args[1] for call in get.call_args_list],
        )
