# SPDX-License-Identifier: Apache-2.0
"""A QEMU that was taken over writes the header of its own disk.

It may write that file. The tenant then has Nova start, move or rebuild the
instance.
"""

from __future__ import annotations

import hashlib

import fixtures
import nova.conf
from nova import exception as nova_exception

from svirt_nova.host import domain_xml
from tests import samples
from tests.fakes import database
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import OTHER
from tests.unit.virt.cloud_case import UUID

CONF = nova.conf.CONF
DISK = f'/A/instances/{UUID}/disk'
VICTIM = f'/A/instances/{OTHER}/disk'
CACHE = '/A/instances/_base'
SECRET = '/etc/shadow'


def cached(image):
    return f'{CACHE}/{hashlib.sha1(image.encode()).hexdigest()}'


BASE = cached(database.IMAGE)
FOREIGN_BASE = cached('an image of somebody else')

FORGED = {
    'the disk of another instance': samples.qcow2_header(VICTIM, 'qcow2'),
    'the image of another project': samples.qcow2_header(FOREIGN_BASE),
    'an image that is not cached': samples.qcow2_header(cached('not here')),
    'a volume': samples.qcow2_header('/volumes/hash/volume-0000'),
    'a file of the host': samples.qcow2_header(SECRET),
    'a data file': samples.qcow2_header(
        features=1 << 2, extensions=((0x44415441, VICTIM.encode()),)
    ),
    'an address': samples.qcow2_header('nbd://127.0.0.1:1'),
    'another format of its base': samples.qcow2_header(BASE, 'qcow2'),
    'no qcow2 at all': bytes(512),
}


class _Case(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        files = self.cloud.files
        for path in (BASE, FOREIGN_BASE, SECRET):
            self.cloud.storage.make_directory(path.rpartition('/')[0])
            files.make(path)
            files.headers[path] = bytes(512)
        self.good = samples.qcow2_header(BASE)
        files.headers[DISK] = self.good
        self.api.boot(OTHER, ('A',))
        self.api.boot(UUID, ('A',))
        self.cloud.new_volume()
        self.done()

    def forge(self, header):
        self.cloud.files.headers[DISK] = header

    def named(self):
        """The labels of what a header can name."""
        return [
            self.cloud.storage.read(path)
            for path in (
                VICTIM,
                FOREIGN_BASE,
                SECRET,
                '/volumes/hash/volume-0000',
            )
        ]

    def refused(self, work):
        """Have Nova do something that is refused, whether it says so."""
        try:
            work()
        except nova_exception.NovaException as error:
            self.assertIn(UUID, str(error))

    def check_refused(self, work, *, stopped=False):
        """Check that nothing is started with a forged header.

        :param work: has Nova start the guest; it may raise
        :param stopped: whether the guest does not run at the beginning
        """
        before = self.named()
        for what, header in FORGED.items():
            self.done()
            self.forge(header)
            self.refused(work)
            self.assertEqual([], self.done('launch'), what)
            self.assertEqual(before, self.named(), what)
            self.assertEqual(
                stopped,
                self.record() is None or (self.record().live is None),
                what,
            )
            instance = self.instance()
            instance.vm_state, instance.task_state = 'active', None
            instance.save()
        self.forge(self.good)


class StartTest(_Case):
    def test_a_good_chain_is_written_to_its_end(self):
        self.assertEqual(
            {DISK: [BASE]}, domain_xml.chains_of(self.record().live)
        )
        self.assertEqual(samples.CONTENT_TEXT, self.cloud.storage.read(BASE))

    def test_a_hard_reboot_is_refused_and_the_guest_goes_on(self):
        self.check_refused(lambda: self.api.reboot(UUID, 'HARD'))
        self.api.reboot(UUID, 'HARD')
        self.assertEqual(
            ['after libvirt launch'], self.done('after libvirt launch')
        )

    def test_a_start_is_refused_until_the_header_is_right(self):
        self.api.stop(UUID)
        self.check_refused(lambda: self.api.start(UUID), stopped=True)
        self.api.start(UUID)
        self.assertIsNotNone(self.record().live)

    def test_a_resume_is_refused(self):
        self.api.suspend(UUID)
        self.check_refused(lambda: self.api.resume(UUID), stopped=True)
        self.api.resume(UUID)
        self.assertIsNotNone(self.record().live)

    def test_the_end_of_a_rescue_is_refused(self):
        self.api.rescue(UUID)
        self.forge(FORGED['a file of the host'])
        before = self.named()
        self.done()
        self.refused(lambda: self.api.unrescue(UUID))
        self.assertEqual([], self.done('launch'))
        self.assertEqual(before, self.named())
        self.assertEqual('error', self.instance().vm_state)

    def test_a_rescue_beside_a_forged_disk_is_refused(self):
        self.forge(FORGED['the disk of another instance'])
        before = self.named()
        self.done()
        self.refused(lambda: self.api.rescue(UUID))
        self.assertEqual([], self.done('launch'))
        self.assertEqual(before, self.named())

    def test_a_soft_reboot_is_not_made(self):
        self.forge(FORGED['a data file'])
        self.done()
        self.api.reboot(UUID, 'SOFT')
        self.assertEqual([], self.done('launch', 'destroy'))

    def test_a_live_migration_is_refused_and_the_guest_goes_on(self):
        self.check_refused(lambda: self.api.migrate_live(UUID, 'B'))
        self.assertEqual({'A'}, self.claimants())

    def test_what_was_found_and_expected_is_told(self):
        self.forge(FORGED['a file of the host'])
        self.api.reboot(UUID, 'HARD')
        for text in (DISK.rpartition('/')[2], repr(SECRET), BASE):
            self.assertIn(text, self.log.output)

    def test_disks_are_measured_without_nova_in_enforcing_mode_alone(self):
        asked = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.virt.disk_sizes.of_config',
                lambda *args: asked.append(args) or [],
            )
        )
        driver = self.driver()
        self.addCleanup(CONF.clear_override, 'mode', 'svirt')
        for mode, number in (('enforcing', 1), ('permissive', 1)):
            CONF.set_override('mode', mode, 'svirt')
            driver._get_instance_disk_info_from_config('config', None)
            self.assertEqual(number, len(asked), mode)

    def test_permissive_starts_it_all_the_same(self):
        CONF.set_override('mode', 'permissive', 'svirt')
        self.addCleanup(CONF.clear_override, 'mode', 'svirt')
        self.forge(FORGED['another format of its base'])
        self.done()
        self.api.reboot(UUID, 'HARD')
        self.assertEqual(
            ['after libvirt launch'], self.done('after libvirt launch')
        )
        self.assertIn('NOT isolated', self.log.output)


class MoveTest(_Case):
    def test_a_destination_does_not_start_what_came_with_the_disk(self):
        self.api.stop(UUID)
        before = self.named()
        self.cloud.files.headers[DISK.replace('/A/', '/B/')] = FORGED[
            'a file of the host'
        ]
        self.done()
        self.refused(lambda: self.api.migrate(UUID, 'B'))
        self.assertEqual([], self.done('launch'))
        self.assertEqual(before, self.named())

    def test_nothing_is_fetched_that_a_header_alone_names(self):
        driver = self.driver()
        made = []
        driver_class = type(driver).__mro__[2]
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{driver_class.__module__}.{driver_class.__name__}'
                '._create_images_and_backing',
                lambda *args, **kwargs: made.append(args),
            )
        )
        found = {
            'path': DISK,
            'type': 'qcow2',
            'virt_disk_size': 1 << 30,
            'backing_file': BASE.rpartition('/')[2],
        }
        driver._create_images_and_backing(
            None, self.instance(), DISK.rpartition('/')[0], [found]
        )
        self.assertEqual(1, len(made))
        found['backing_file'] = FOREIGN_BASE.rpartition('/')[2]
        error = self.assertRaises(
            nova_exception.InternalError,
            driver._create_images_and_backing,
            None,
            self.instance(),
            DISK.rpartition('/')[0],
            [found],
        )
        self.assertIn(repr(found['backing_file']), str(error))
        self.assertEqual(1, len(made))
