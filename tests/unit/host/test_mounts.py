# SPDX-License-Identifier: Apache-2.0

import os

import fixtures
import testtools

from svirt_nova.host import mounts

MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:26 / /srv rw - tmpfs tmpfs rw
40 21 0:40 / /srv/inst\\040ances rw shared:9 master:2 - nfs4 s:/x rw
41 21 0:41 / /srv rw - nfs4 s:/y rw
50 21 0:50 / /m rw - fuse.sshfs s:/z rw
"""


class FileSystemTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        table = self.useFixture(fixtures.TempDir()).join('mountinfo')
        with open(table, 'w', encoding='utf-8') as file:
            file.write(MOUNTS)
        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.host.mounts.MOUNTS', table)
        )
        self.useFixture(
            fixtures.MonkeyPatch('os.path.realpath', os.path.normpath)
        )

    def test_the_deepest_mount_counts_and_the_last_one_on_a_point(self):
        for path, kind, shared in (
            ('/var/lib/nova/instances', 'ext4', False),
            ('/srv', 'nfs4', True),
            ('/srv/a', 'nfs4', True),
            ('/srv/inst ances/uuid', 'nfs4', True),
            ('/srvx', 'ext4', False),
            ('/m/x', 'fuse.sshfs', False),
        ):
            found = mounts.file_system(path)
            self.assertEqual((kind, shared), (found.kind, found.is_shared))

    def test_file_systems_of_several_hosts_are_told_by_their_types(self):
        for kind in (
            'ceph',
            'fuse.ceph-fuse',
            'fuse.juicefs',
            'fuse.mfs',
            'fuse.moosefs',
            'virtiofs',
            'wekafs',
            '9p',
        ):
            self.assertTrue(mounts.FileSystem(kind, '/').is_shared, kind)

    def test_it_is_named_for_people(self):
        self.assertEqual(
            'nfs4 at /srv/inst ances',
            str(mounts.file_system('/srv/inst ances/x')),
        )

    def test_without_selinux_the_mounts_say_nothing_of_labels(self):
        self._selinux('/nowhere')
        self.assertTrue(mounts.file_system('/m/x').takes_labels)

    def test_with_selinux_a_mount_says_whether_it_takes_labels(self):
        self._selinux('/')
        with open(mounts.MOUNTS, 'a', encoding='utf-8') as file:
            file.write('60 21 0:60 / /l rw - nfs4 s:/l rw,seclabel,vers=4.2\n')
        self.assertTrue(mounts.file_system('/l/x').takes_labels)
        self.assertFalse(mounts.file_system('/srv/a').takes_labels)

    def test_nfs_caches_names_unless_it_is_mounted_otherwise(self):
        with open(mounts.MOUNTS, 'a', encoding='utf-8') as file:
            file.write(
                '70 21 0:70 / /n rw - nfs4 s:/n rw,lookupcache=none,hard\n'
                '71 21 0:71 / /p rw - nfs s:/p rw,lookupcache=pos\n'
            )
        for path, caches in (
            ('/srv/a', True),
            ('/p', True),
            ('/n/x', False),
            ('/', False),
            ('/m/x', False),
        ):
            self.assertIs(caches, mounts.file_system(path).caches_names, path)

    def _selinux(self, path):
        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.host.mounts.SELINUX', path)
        )

    def test_a_mount_that_gives_all_files_one_label_is_told(self):
        with open(mounts.MOUNTS, 'a', encoding='utf-8') as file:
            file.write(
                '60 21 0:60 / /one rw - xfs /dev/vdb '
                'rw,fscontext=u:r:a:s0,context="u:r:t:s0:c1,c2",noquota\n'
                '61 21 0:61 / /plain rw - xfs /dev/vdc rw,context=u:r:t:s0\n'
                '62 21 0:62 / /own rw - xfs /dev/vdd rw,fscontext=u:r:a:s0\n'
            )
        self.assertEqual(
            ['context="u:r:t:s0:c1,c2"', 'context=u:r:t:s0', ''],
            [
                mounts.file_system(path).context
                for path in ('/one/x', '/plain', '/own')
            ],
        )

    def test_mounts_below_a_directory_are_found(self):
        self.assertEqual(
            ['/srv/inst ances'],
            [each.mount_point for each in mounts.below('/srv')],
        )
        self.assertEqual([], mounts.below('/srv/inst ances'))
