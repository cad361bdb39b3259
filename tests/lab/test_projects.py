# SPDX-License-Identifier: Apache-2.0
"""What instances of a project share, no instance of another may open.

In the level scheme ``project``: two instances of one project have a
multiattach volume, an instance of another project has not.
"""

from __future__ import annotations

import json
from typing import Any

from tests.lab import acts
from tests.lab import exposure
from tests.lab import images
from tests.lab import isolation
from tests.lab import survey
from tests.lab.case import LabTestCase
from tests.lab.storage import VOLUMES

#: Where the projects' pairs are from. Instances may have a category of their
#: own in common, by chance.
OF_PROJECTS = 'c0.c511'


class ProjectsTest(LabTestCase):
    #: Two of one project, one of another.
    ann: Any
    amy: Any
    bob: Any
    #: The cloud as the other project sees it.
    other: Any
    #: The type of volumes that several instances may have.
    kind: str
    #: The private image of the other project.
    image: Any

    @classmethod
    def prepare(cls) -> None:
        cls._choose_scheme()
        api = cls.cloud.api
        project = api.identity.create_project(name='other')
        api.grant_role('admin', user='admin', project=project.id)
        cls.other = cls.cloud.plane.connect('other')
        cls.addClassCleanup(cls.other.close)
        kind = api.block_storage.create_type(
            name='shareable', extra_specs={'multiattach': '<is> True'}
        )
        cls.kind = kind.name
        with cls.cloud.progress.step('three instances, two projects'):
            cls.ann, cls.amy = cls.cloud.boot(['ann', 'amy'])
            cls.image = images.make_private(
                cls.cloud, cls.other, 'his-own', b'of the other project'
            )
            [cls.bob] = cls.cloud.boot(['bob'], cls.other, cls.image.id)
        cls.addClassCleanup(cls.cloud.delete, [cls.ann, cls.amy, cls.bob])

    @classmethod
    def _choose_scheme(cls) -> None:
        """Change to ``project``, beside the levels that others have."""
        used: set[int] = set()
        for row in cls.cloud.svirt_nova('label', 'list'):
            used |= isolation.categories(row['Level'])
        cls.cloud.svirt_nova(
            'space',
            'set',
            '--categories',
            'c512.c1023',
            '--project-categories',
            OF_PROJECTS,
            *(
                ['--exclude', ','.join(f'c{n}' for n in sorted(used))]
                if used
                else []
            ),
        )

    def _level(self, server: Any) -> frozenset[int]:
        [row] = [
            row
            for row in self.cloud.svirt_nova('label', 'list')
            if row['Instance'] == server.id
        ]
        return isolation.categories(row['Level'])

    def _categories_of(self, volume: Any) -> frozenset[int]:
        path = f'{VOLUMES}/volume-{volume.id}'
        [context] = self.host.probe('contexts', path).values()
        return isolation.categories(isolation.level_of(context))

    def _assert_opened(self, by: dict[str, set[str]]) -> None:
        """Who opens a volume, and that all else is refused.

        :param by: UUIDs of instances by UUID of the volume
        """
        seen = acts.look(self.cloud)
        attack, begin = acts.try_all(
            self.cloud, [self.ann, self.amy, self.bob], seen
        )
        opened: dict[str, set[str]] = {volume: set() for volume in by}
        for row in attack.attempts:
            volume = row['path'].rpartition('/volume-')[2]
            if volume in by:
                if row['outcome'] == isolation.OPENED:
                    opened[volume].add(row['attacker'])
                continue
            is_own = row['attacker'] == row['owner']
            wanted = isolation.OPENED if is_own else isolation.DENIED
            self.assertEqual(wanted, row['outcome'], row)
        self.assertEqual(by, opened)
        self.assertEqual([], attack.errors())
        told = self.host.probe('denials', begin[self.host.name])
        self.assertEqual([], attack.unproven(seen, told))

    def test_1_a_shared_volume_opens_to_its_project_alone(self) -> None:
        ann, amy, bob = (
            self._level(each) for each in (self.ann, self.amy, self.bob)
        )
        of_projects = isolation.categories(f's0:{OF_PROJECTS}')
        shared = ann & of_projects
        self.assertEqual(2, len(shared))
        self.assertEqual(shared, amy & of_projects)
        self.assertNotEqual(shared, bob & of_projects)

        both = self.cloud.make_volume('both', volume_type=self.kind)
        # They run already when it comes.
        self.cloud.attach(self.ann, both)
        self.assertEqual(shared, self._categories_of(both))
        self.cloud.attach(self.amy, both)
        self.assertEqual(shared, self._categories_of(both))
        self._assert_opened({both.id: {self.ann.id, self.amy.id}})

        # A start of one of them leaves the other its access.
        self.cloud.api.compute.reboot_server(self.amy, 'HARD')
        self.cloud.wait_active(self.amy)
        self.assertEqual(shared, self._categories_of(both))
        self._assert_opened({both.id: {self.ann.id, self.amy.id}})

    def test_1_a_private_image_opens_to_its_project_alone(self) -> None:
        path = images.base(self.image)
        [context] = self.host.probe('contexts', path).values()
        self.assertEqual(
            self._level(self.bob) & isolation.categories(f's0:{OF_PROJECTS}'),
            isolation.categories(isolation.level_of(context)),
        )
        rows = self.host.probe(
            'attack', json.dumps([{'owner': self.bob.id, 'path': path}])
        )
        self.assertEqual(
            {
                self.ann.id: isolation.DENIED,
                self.amy.id: isolation.DENIED,
                self.bob.id: isolation.OPENED,
            },
            {row['attacker']: row['outcome'] for row in rows},
        )

    def test_2_ordinary_volumes_open_to_their_instance_alone(self) -> None:
        hers = self.cloud.make_volume('hers')
        his = self.cloud.make_volume('his', self.other)
        self.cloud.attach(self.ann, hers)
        self.cloud.attach(self.bob, his, self.other)
        self.assertEqual(self._level(self.ann), self._categories_of(hers))
        self.assertEqual(self._level(self.bob), self._categories_of(his))
        # What the two of one project share stays as it was beside them.
        [both] = self.cloud.api.block_storage.volumes(name='both')
        self._assert_opened(
            {
                hers.id: {self.ann.id},
                his.id: {self.bob.id},
                both.id: {self.ann.id, self.amy.id},
            }
        )

    def test_2_the_census_opens_nothing_of_another_project(self) -> None:
        found = survey.take(
            self.cloud,
            [self.ann, self.amy, self.bob],
            {self.image.id: [self.bob.id]},
        )
        self.cloud.progress.say(f'census: {found}')
        self.assertEqual([], found.faults)
        # The volume that ann and amy share, on the server and as the host
        # mounts it: read and written by both.
        self.assertGreaterEqual(found.counts[exposure.PROJECT], 4)

    def test_3_the_last_to_let_go_takes_the_label_off(self) -> None:
        api = self.cloud.api
        [both] = api.block_storage.volumes(name='both')
        shared = self._categories_of(both)
        self.assertEqual(2, len(shared))
        for server, left in ((self.ann, shared), (self.amy, frozenset())):
            api.compute.stop_server(server)
            self.cloud.wait_status(server, 'SHUTOFF')
            self.cloud.detach(server, both)
            self.assertEqual(left, self._categories_of(both))
