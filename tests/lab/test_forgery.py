# SPDX-License-Identifier: Apache-2.0
"""What a QEMU that was taken over writes into its own disk leads nowhere.

Through Nova's API, with headers that name what is another project's or the
host's. The tests share instances, and go by their names' order; each puts the
headers back that it has forged.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import shlex
import tempfile
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab import acts
from tests.lab import guest
from tests.lab import images
from tests.lab import isolation
from tests.lab.case import LabTestCase
from tests.lab.forgery import Forger
from tests.lab.forgery import PORT
from tests.lab.storage import INSTANCES
from tests.lab.storage import VOLUMES
from tests.lab.targets import Target

#: Where a host's nova-compute finds the file of a volume.
MOUNTS = '/var/lib/nova/mnt'
_SECRET = b'the secret of the other project'
_FRESH = b'what glance has and this host has not'


def _disk(server: Any) -> str:
    return f'{INSTANCES}/{server.id}/disk'


class ForgeryTest(LabTestCase):
    """Two instances whose QEMUs forge, one of another project."""

    forger: Forger
    #: Whose QEMUs forge, and their project's victim.
    mal: Any
    max: Any
    vic: Any
    #: The cloud as the other project sees it.
    other: Any
    #: The other project's images: one that is cached, one that is not.
    secret: Any
    fresh: Any
    targets: Mapping[str, Target]
    #: What is named, before any header named it.
    before: Mapping[str, Any]

    @classmethod
    def prepare(cls) -> None:
        api = cls.cloud.api
        project = api.identity.create_project(name='stranger')
        api.grant_role('admin', user='admin', project=project.id)
        cls.other = cls.cloud.plane.connect('stranger')
        cls.addClassCleanup(cls.other.close)
        cls.forger = Forger(cls.host)
        cls.secret = cls._make_image('secret', _SECRET)
        cls.fresh = cls._make_image('fresh', _FRESH)
        volume = cls._make_volume('hers', cls.other)
        with cls.cloud.progress.step('three instances, two projects'):
            cls._boot()
        cls.cloud.attach(cls.vic, volume, cls.other)
        cls.forger.listen()
        cls.addClassCleanup(cls.forger.stop_listening)
        cls._choose_targets(volume)

    @classmethod
    def _make_volume(cls, name: str, api: Any) -> Any:
        volume = cls.cloud.make_volume(name, api)
        cls.addClassCleanup(api.block_storage.delete_volume, volume)
        return volume

    @classmethod
    def _make_image(cls, name: str, mark: bytes) -> Any:
        """Make a private image of the other project."""
        image = images.make_private(cls.cloud, cls.other, name, mark)
        # Nova keeps a base for long after its last instance.
        cls.addClassCleanup(cls.host.run, f'rm -f {images.base(image)}')
        cls.addClassCleanup(cls.other.image.delete_image, image.id)
        return image

    @classmethod
    def _boot(cls) -> None:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ours = pool.submit(cls.cloud.boot, ['mal', 'max'])
            theirs = pool.submit(
                cls.cloud.boot, ['vic'], cls.other, cls.secret.id
            )
            cls.mal, cls.max = ours.result()
            [cls.vic] = theirs.result()
        # What a resize leaves that was refused.
        left = shlex.join(
            f'{INSTANCES}/{each.id}_resize' for each in (cls.mal, cls.max)
        )
        cls.addClassCleanup(cls.host.run, f'rm -rf {left}')
        cls.addClassCleanup(cls.cloud.delete, [cls.mal, cls.max, cls.vic])

    @classmethod
    def _choose_targets(cls, volume: Any) -> None:
        name = f'volume-{volume.id}'
        mounted = cls.host.run(f'ls {MOUNTS}/*/{name}').strip()
        disk = _disk(cls.vic)
        cls.targets = {
            'a disk of another': Target.below(disk, 'qcow2'),
            'an image of another project': Target.below(
                images.base(cls.secret)
            ),
            'a volume of another': Target.below(mounted),
            'a file of the host': Target.below('/etc/shadow'),
            'an external data file': Target.beside(disk),
            'an image that is not cached': Target.below(
                images.base(cls.fresh)
            ),
            'an address of the network': Target.below(
                f'nbd://127.0.0.1:{PORT}/x'
            ),
        }
        cls.before = cls.forger.look(
            [
                disk,
                f'{disk}.config',
                images.base(cls.secret),
                images.base(cls.fresh),
                mounted,
                f'{VOLUMES}/{name}',
                '/etc/shadow',
            ]
        )

    def setUp(self) -> None:
        self.compute = self.cloud.api.compute
        self.addCleanup(self.recover)
        self.mark = self.forger.mark()

    def recover(self) -> None:
        """Let the forgers' instances run again after a test that failed."""
        self.forger.restore()
        for server in self.forgers:
            if self.cloud.wait_idle(server).status != 'ACTIVE':
                self.hard_reboot(server)
                self.cloud.wait_idle(server)

    # What the tests do and see

    @property
    def forgers(self) -> list[Any]:
        return [self.mal, self.max]

    def forge(self, *names: str) -> dict[str, Target]:
        """Let each forger's header name a target; give them by UUID."""
        chosen = {
            server.id: self.targets[name]
            for server, name in zip(self.forgers, names, strict=False)
        }
        self.forger.forge(
            {
                (server.id, _disk(server)): chosen[server.id]
                for server in self.forgers
                if server.id in chosen
            }
        )
        return chosen

    def forge_both(self) -> dict[str, Target]:
        """One header names a backing file, the other one a data file."""
        return self.forge('a disk of another', 'an external data file')

    def refused(
        self,
        what: str,
        chosen: Mapping[str, Target],
        ask: Callable[[Any], Any],
        *states: str,
    ) -> None:
        """Ask something of the forgers' instances; it must be refused.

        :param states: in which of them the instances may be afterwards
        """
        self.mark = self.forger.mark()
        servers = [each for each in self.forgers if each.id in chosen]
        for server in servers:
            ask(server)
        for server in servers:
            found = self.cloud.wait_idle(server)
            self.assertIn(found.status, states, (what, server.name))
            told = self.forger.told(self.mark, server)
            self.assertTrue(
                chosen[server.id].is_told_in(told),
                (what, server.name, chosen[server.id].told, told),
            )

    def hard_reboot(self, server: Any) -> None:
        self.compute.reboot_server(server, 'HARD')

    def start_again(self, *servers: Any) -> None:
        """With the headers that they had, the instances start again."""
        self.forger.restore()
        for server in servers:
            self.hard_reboot(server)
        for server in servers:
            # It is in ERROR for as long as the reboot takes.
            found = self.cloud.wait_idle(server)
            self.assertEqual('ACTIVE', found.status, found.fault)
        levels = acts.show_levels(self.cloud, [*self.forgers, self.vic])
        self.assertEqual([], levels.faults)

    def check_targets(self) -> None:
        """All that was named is as it was, and the other's guest runs."""
        self.assertEqual(self.before, self.forger.look([*self.before]))
        # The one connection is the lab's own, which shows that they count.
        self.assertEqual(1, self.forger.connections())

    def found_images(self, name: str) -> list[Any]:
        return [*self.cloud.api.image.images(name=name)]

    def digest_in_glance(self, image: Any) -> str:
        """Tell what a guest of an image would see."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, 'image')
            self.cloud.api.image.download_image(image.id, output=str(path))
            return hashlib.sha256(guest.content(path)).hexdigest()

    def test_1_a_private_image_opens_to_no_guest(self) -> None:
        """The instance of its own project has a disk that stands alone."""
        path = images.base(self.secret)
        info = json.loads(
            self.host.run(f'qemu-img info -U --output json {_disk(self.vic)}')
        )
        self.assertNotIn('backing-filename', info)
        rows = self.host.probe(
            'attack', json.dumps([{'owner': self.vic.id, 'path': path}])
        )
        self.assertEqual(
            {
                each.id: isolation.DENIED
                for each in (self.mal, self.max, self.vic)
            },
            {row['attacker']: row['outcome'] for row in rows},
        )

    def test_1_a_hard_reboot_is_refused_before_the_guest_goes(self) -> None:
        before = {
            domain['uuid']: domain['pid'] for domain in acts.look(self.cloud)
        }
        names = [*self.targets]
        while names:
            pair, names = names[:2], names[2:]
            chosen = self.forge(*pair)
            self.refused(', '.join(pair), chosen, self.hard_reboot, 'ACTIVE')
        after = {
            domain['uuid']: domain['pid'] for domain in acts.look(self.cloud)
        }
        self.assertEqual(before, after)
        self.check_targets()

    def test_2_a_live_snapshot_is_of_the_own_disk_alone(self) -> None:
        """It is a copy of what the guest sees, or is refused."""
        chosen = self.forge_both()
        [idle] = self.found_images('idle')
        own = self.digest_in_glance(idle)
        for server in self.forgers:
            self.compute.create_server_image(server, f'live-{server.name}')
        for server in self.forgers:
            found = self.cloud.wait_idle(server)
            self.assertEqual('ACTIVE', found.status)
            copies = self.found_images(f'live-{server.name}')
            if not copies:
                told = self.forger.told(self.mark, server)
                self.assertTrue(chosen[server.id].is_told_in(told), told)
            for image in copies:
                self.addCleanup(self.cloud.api.image.delete_image, image.id)
                self.assertEqual(own, self.digest_in_glance(image))
        self.check_targets()

    def test_3_a_stopped_guest_is_neither_started_nor_copied(self) -> None:
        chosen = self.forge_both()
        for server in self.forgers:
            self.compute.stop_server(server)
        for server in self.forgers:
            self.cloud.wait_status(server, 'SHUTOFF')
        self.refused('start', chosen, self.compute.start_server, 'SHUTOFF')
        self.refused(
            'snapshot',
            chosen,
            lambda server: self.compute.create_server_image(
                server, f'cold-{server.name}'
            ),
            'SHUTOFF',
        )
        for server in self.forgers:
            self.assertEqual([], self.found_images(f'cold-{server.name}'))
        small = self.compute.find_flavor('small')
        self.refused(
            'resize',
            chosen,
            lambda server: self.compute.resize_server(server, small.id),
            'ERROR',
            'SHUTOFF',
        )
        self.refused('rescue', chosen, self.compute.rescue_server, 'ERROR')
        self.refused('reboot', chosen, self.hard_reboot, 'ERROR')
        self.check_targets()
        self.start_again(*self.forgers)
        self.check_targets()

    def test_4_a_raw_volume_that_begins_like_qcow2_is_not_followed(
        self,
    ) -> None:
        volume = self._make_volume('raw', self.cloud.api)
        # The instance has it until it is deleted.
        self.addClassCleanup(self.cloud.delete, [self.mal])
        self.cloud.attach(self.mal, volume)
        path = self.host.run(f'ls {MOUNTS}/*/volume-{volume.id}').strip()
        named = self.targets['a disk of another']
        self.forger.forge({(self.mal.id, path): named})
        self.refused(
            'reboot',
            {self.mal.id: Target(('begins like a file of the format qcow2',))},
            self.hard_reboot,
            'ERROR',
            'ACTIVE',
        )
        self.check_targets()
        self.start_again(self.mal)
        self.check_targets()

    def test_5_the_cache_holds_what_glance_has(self) -> None:
        """No attempt has stored one image under the name of another."""
        [idle] = self.found_images('idle')
        seen = self.forger.look([images.base(idle), images.base(self.secret)])
        self.assertEqual(
            {
                images.base(idle): self.digest_in_glance(idle),
                images.base(self.secret): self.digest_in_glance(self.secret),
            },
            {path: found['digest'] for path, found in seen.items()},
        )
        path = images.base(self.fresh)
        self.assertEqual({path: None}, self.forger.look([path]))
