# SPDX-License-Identifier: Apache-2.0
"""A disk of an instance, with real files, qemu-img and backends of Nova."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
from types import SimpleNamespace

import fixtures
import nova.conf
import testtools

from svirt_nova.host import disk_chains
from svirt_nova.virt import image_backends
from svirt_nova.virt import own_disks

CONF = nova.conf.CONF
SECRET = b'SECRET OF SOMEBODY ELSE'
SIZE = 1 << 20


def _read_header(root, path):
    with open(path, 'rb') as file:
        return file.read(disk_chains.HEADER_SIZE)


class ImageTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        CONF.set_override('instances_path', str(self.root))
        self.addCleanup(CONF.clear_override, 'instances_path')
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.file_labels.read_header', _read_header
            )
        )
        # Nova changes the times of a file of the cache as root.
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.imagebackend._update_utime_ignore_eacces',
                lambda path: None,
            )
        )
        self.instance = SimpleNamespace(
            uuid='uuid',
            image_ref='image',
            vm_state='active',
            task_state=None,
            system_metadata={},
        )
        self.directory = self.root / 'uuid'
        self.directory.mkdir()
        cache = self.root / '_base'
        cache.mkdir()
        (self.root / 'locks').mkdir()
        self.base = cache / hashlib.sha1(b'image').hexdigest()
        self.base.write_bytes(b'IMAGE'.ljust(SIZE, b'\0'))
        self.victim = self.root / 'victim'
        self.victim.write_bytes(SECRET.ljust(SIZE, b'\0'))
        self.disk = self.directory / 'disk'
        self.target = self.root / 'snapshot'
        self.checks = 0
        self.hides_images = False

    def _check(self, instance, path, image_format):
        self.checks += 1
        if own_disks.is_own(instance, path):
            own_disks.check(instance, path, image_format, None)

    def _backend(self, use_cow=True):
        return image_backends.Backend(
            use_cow, self._check, lambda: self.hides_images
        )

    def _image(self, kind='qcow2'):
        return self._backend().by_name(self.instance, 'disk', kind)

    def _make(self, *options):
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', *options],
            check=True,
            timeout=60,
        )

    def _forge(self):
        self._make(
            'qcow2', '-b', str(self.victim), '-F', 'raw', str(self.disk)
        )

    def _forge_format_of_base(self):
        """Have QEMU take the image, which is raw, for the text of a vmdk.

        The tenant has made the image, and QEMU has written the header.
        """
        text = (
            f'BOOT\nCID=fffffffe\nparentCID=ffffffff\n'
            f'createType="monolithicFlat"\n'
            f'RW {SIZE // 512} FLAT "{self.victim}" 0\n'
        )
        self.base.write_bytes(text.encode().ljust(SIZE, b'\0'))
        self._make('qcow2', '-b', str(self.base), '-F', 'raw', str(self.disk))
        header = self.disk.read_bytes()
        self.disk.write_bytes(
            header.replace(b'\0\0\0\x03raw\0', b'\0\0\0\x04vmdk', 1)
        )

    def _forge_data_file(self):
        self._make(
            'qcow2',
            '-o',
            f'data_file={self.victim},data_file_raw=on',
            str(self.disk),
            str(SIZE),
        )
        self.victim.write_bytes(SECRET.ljust(SIZE, b'\0'))

    def _assert_untouched(self):
        self.assertEqual(SIZE, self.victim.stat().st_size)
        self.assertTrue(self.victim.read_bytes().startswith(SECRET))
        if self.target.exists():
            self.assertNotIn(SECRET, self.target.read_bytes())
