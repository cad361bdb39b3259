# SPDX-License-Identifier: Apache-2.0
"""Who shares the file of an image, through Nova's API.

Nova's image backends and qemu-img are real.
"""

from __future__ import annotations

import os
import pathlib
import subprocess

import fixtures
import nova.conf
from nova import context
from nova import objects
from nova.virt.disk import api as disk_api
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import imagebackend
from nova.virt.libvirt import imagecache
from nova.virt.libvirt import utils as libvirt_utils
from oslo_utils import uuidutils

from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from svirt_nova.host import domain_xml
from svirt_nova.mcs import contexts
from svirt_nova.mcs import spaces
from tests import samples
from tests.functional.nova import two_hosts

CONF = nova.conf.CONF

_LIBVIRT = 'nova.virt.libvirt'
_REAL = {
    f'{_LIBVIRT}.driver.LibvirtDriver._create_image': (
        libvirt_driver.LibvirtDriver._create_image
    ),
    f'{_LIBVIRT}.imagebackend.Backend.backend': imagebackend.Backend.backend,
    f'{_LIBVIRT}.utils.file_open': libvirt_utils.file_open,
}
_SIZE = 1 << 20
_NEW = contexts.Context.parse('system_u:object_r:nova_var_lib_t:s0')
"""What a file has that nobody has labelled."""

PROJECTS = spaces.LevelSpace.parse('c512.c1023', project_categories='c0.c511')


class _Images(two_hosts.TwoHosts):
    """Two hosts on one storage, with real disks."""

    def setUp(self):
        super().setUp()
        self.files = self.host_fixture.files
        self.asked = self.host_fixture.images_asked
        for name, real in {
            **_REAL,
            f'{_LIBVIRT}.utils.fetch_image': self._fetch,
            f'{_LIBVIRT}.utils.fetch_raw_image': self._fetch,
            f'{_LIBVIRT}.imagebackend._update_utime_ignore_eacces': (
                lambda path: None
            ),
            'os.rename': self._rename,
        }.items():
            self.useFixture(fixtures.MonkeyPatch(name, real))
        self.fetched = []
        self.update_image = self.glance.update
        self.glance.update = self._update
        self.project = self.api.project_id
        self.flavor = self._create_flavor(disk=1, ephemeral=0)

    def _update(self, context, image_id, metadata, data=None, **options):
        """Keep what Nova uploads, which Nova's fixture does not."""
        if data is not None:
            self.glance._imagedata[image_id] = data.read()
        return self.update_image(context, image_id, metadata, **options)

    def _fetch(self, context, target, image_id, trusted_certs=None):
        """As glance: with the content of the image, or what Nova uploaded."""
        self.glance.show(context, image_id)
        self.fetched.append(image_id)
        data = self.glance._imagedata.get(image_id)
        path = pathlib.Path(target)
        if data:
            upload = path.with_suffix('.upload')
            upload.write_bytes(data)
            subprocess.run(
                ['qemu-img', 'convert', '-O', 'raw', upload, target],
                check=True,
                timeout=60,
            )
            upload.unlink()
        else:
            path.write_bytes(f'IMAGE {image_id}'.encode().ljust(_SIZE, b'\0'))
        self.files.labels[target] = _NEW

    def _rename(self, old, new, rename=os.rename):
        """A label goes with its file."""
        rename(old, new)
        if old in self.files.labels:
            self.files.labels[new] = self.files.labels.pop(old)

    def _image(self, visibility, owner='own', **properties):
        return self.glance.create(
            None,
            {
                'id': uuidutils.generate_uuid(),
                'name': 'image',
                'container_format': 'bare',
                'disk_format': 'raw',
                'min_disk': 0,
                'min_ram': 0,
                'visibility': visibility,
                'owner': self.project if owner == 'own' else owner,
                'properties': properties,
            },
        )['id']

    def _boot_image(self, image, host='here'):
        return self._boot(host=host, image_uuid=image, flavor_id=self.flavor)

    def _base(self, image):
        name = imagecache.get_cache_fname(image)
        return os.path.join(CONF.instances_path, '_base', name)

    def _readers(self, image):
        """Who may read the file of an image: the level of its label."""
        found = self.files.labels[self._base(image)]
        self.assertEqual(samples.CONTENT.type, found.type)
        return found.level

    def _project_level(self, server):
        return self.allocator.get(server['id']).levels.project

    def _disk(self, server, name='disk'):
        return os.path.join(CONF.instances_path, server['id'], name)

    def _below(self, server, name='disk'):
        """The file that a disk stands on, as its header says."""
        path = self._disk(server, name)
        with open(path, 'rb') as file:
            data = file.read(disk_chains.HEADER_SIZE)
        return disk_headers.read(path, data, 'qcow2').backing_file

    def _content(self, server, name='disk'):
        """What the guest sees at the beginning of a disk."""
        target = self._disk(server, f'{name}.seen')
        subprocess.run(
            ['qemu-img', 'convert', '-O', 'raw', self._disk(server, name),
             target],
            check=True, timeout=60,
        )  # fmt: skip
        with open(target, 'rb') as file:
            found = file.read(64).rstrip(b'\0')
        os.unlink(target)
        return found.decode()

    def _size(self, server):
        return disk_api.get_disk_size(self._disk(server))

    def _chain(self, server, host='here', name='disk'):
        """The files below a disk, as libvirt has been told."""
        xml = self._domains(host)[server['id']].XMLDesc(0)
        return domain_xml.chains_of(xml)[self._disk(server, name)]

    def _instance(self, server):
        return objects.Instance.get_by_uuid(
            context.get_admin_context(), server['id']
        )

    def _assert_alone(self, server, image, host='here'):
        self.assertIsNone(self._below(server))
        self.assertEqual([], self._chain(server, host))
        self.assertEqual(f'IMAGE {image}', self._content(server))

    def _assert_stands_on(self, server, image, host='here'):
        self.assertEqual(self._base(image), self._below(server))
        self.assertEqual([self._base(image)], self._chain(server, host))
        self.assertEqual(f'IMAGE {image}', self._content(server))


class OperationsTest(_Images):
    """Each operation keeps a disk as it was made."""

    SPACE = PROJECTS

    def _check_all(self, image, check, reach):
        """Take a server through its life."""
        server = self._boot_image(image)
        self.assertEqual([image], self.asked)
        check(server, image)

        self._reboot_server(server, hard=True)
        check(server, image)
        self._stop_server(server)
        self._start_server(server)
        check(server, image)

        self._rescue_server(server)
        self._unrescue_server(server)
        check(server, image)

        del self.asked[:]
        self._resize_server(server, self._create_flavor(disk=2, ephemeral=0))
        server = self._wait_for_state_change(server, 'VERIFY_RESIZE')
        check(server, image, 'there')
        self.assertEqual(2 << 30, self._size(server))
        self._revert_resize(server)
        check(server, image)
        self.assertEqual(1 << 30, self._size(server))

        self._migrate_server(server)
        check(server, image, 'there')
        self._confirm_resize(server)
        self.assertEqual([], self.asked)

        server = self._shelve_server(server)
        server = self._unshelve_server(server)
        host = server['OS-EXT-SRV-ATTR:host']
        check(server, image, host)

        server = self._rebuild_server(server, image)
        check(server, image, host)
        self.assertEqual(
            f'{image}:{reach}',
            self._instance(server).system_metadata['svirt_nova_image'],
        )
        return server

    def test_a_public_image_is_open(self):
        image = self._image('public', 'somebody')
        self._check_all(image, self._assert_stands_on, 'public')
        self.assertEqual(disk_chains.EVERYBODY, self._readers(image))

    def test_a_private_image_of_the_project_is_the_projects(self):
        image = self._image('private')
        server = self._check_all(image, self._assert_stands_on, 'project')
        self.assertEqual(self._project_level(server), self._readers(image))

    def test_a_shared_image_is_not_shared_with_guests(self):
        image = self._image('shared', 'somebody')
        self._check_all(image, self._assert_alone, 'alone')
        self.assertEqual(disk_chains.NOBODY, self._readers(image))


class EvacuationTest(_Images):
    """A disk is made anew elsewhere by what is remembered of it."""

    def test_an_evacuated_server_gets_a_disk_of_the_same_kind(self):
        for visibility, check in (
            ('public', self._assert_stands_on),
            ('private', self._assert_alone),
        ):
            image = self._image(visibility)
            server = self._boot_image(image)
            self._go_down('here')
            # The storage of the host is gone with it.
            os.unlink(self._disk(server))
            # Nova has no answer of glance any more.
            del self.glance.images[image]

            self._evacuate_server(server, expected_host='there')
            server = self._start_server(server)

            check(server, image, 'there')
            self._delete_server(server)
            self._come_back('here')


class SharingTest(_Images):
    """Instances and projects that use one image."""

    SPACE = PROJECTS

    def _forget(self, server):
        """Have a server from before private images were known."""
        instance = self._instance(server)
        del instance.system_metadata['svirt_nova_image']
        instance.save()

    def test_what_an_image_says_of_another_is_not_believed(self):
        victims = self._image('private', 'victim')
        self._boot_image(victims)
        before = self.files.labels[self._base(victims)]

        image = self._image('private', base_image_ref=victims)
        server = self._boot_image(image)
        system_metadata = self._instance(server).system_metadata
        self.assertEqual(victims, system_metadata['image_base_image_ref'])
        self.assertEqual(
            f'{image}:project', system_metadata['svirt_nova_image']
        )
        self._resize_server(server, self._create_flavor(disk=2, ephemeral=0))
        server = self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self._confirm_resize(server)

        self._assert_stands_on(server, image, 'there')
        self.assertEqual(before, self.files.labels[self._base(victims)])

    def test_a_private_image_without_a_part_for_projects_is_copied(self):
        self.host_fixture._patch(
            'svirt_nova.virt.image_sharing._project_level',
            lambda instance: None,
        )
        image = self._image('private')
        self._assert_alone(self._boot_image(image), image)
        self.assertEqual(disk_chains.NOBODY, self._readers(image))

    def test_images_stay_as_nova_has_them_if_the_operator_says_so(self):
        self.flags(group='svirt', private_images='open')
        image = self._image('private', 'somebody')
        self._assert_stands_on(self._boot_image(image), image)
        self.assertEqual(disk_chains.EVERYBODY, self._readers(image))
        self.assertEqual([], self.asked)

    def _give_tokens(self):
        """Have a hard reboot look at the files below disks.

        Nova does so if there is a token, which its tests have none of.
        """
        reboot = libvirt_driver.LibvirtDriver._hard_reboot

        def with_token(driver, request, *args):
            request.auth_token = 'token'
            reboot(driver, request, *args)

        self.useFixture(
            fixtures.MonkeyPatch(
                f'{_LIBVIRT}.driver.LibvirtDriver._hard_reboot', with_token
            )
        )

    def test_a_base_is_closed_when_all_that_use_it_may_read_it(self):
        self._give_tokens()
        image = self._image('private')
        servers = [self._boot_image(image) for _ in range(2)]
        for server in servers:
            self._forget(server)
        self.files.labels[self._base(image)] = samples.CONTENT
        new = self._boot_image(image)
        for server in [new, *servers]:
            self._assert_stands_on(server, image)
            self.assertEqual(disk_chains.EVERYBODY, self._readers(image))
            self._reboot_server(server, hard=True)

        self.assertEqual(self._project_level(new), self._readers(image))
        for server in servers:
            self._assert_stands_on(server, image)

    def test_a_base_stays_open_for_a_server_of_another_project(self):
        image = self._image('private')
        guest = self._boot_image(image)
        self._forget(guest)
        instance = self._instance(guest)
        instance.project_id = 'another'
        instance.save()
        self.files.labels[self._base(image)] = samples.CONTENT

        server = self._boot_image(image)

        self._assert_stands_on(server, image)
        self.assertEqual(disk_chains.EVERYBODY, self._readers(image))

    def test_a_pre_cached_image_is_closed_until_it_is_used(self):
        image = self._image('public')
        self.useFixture(
            fixtures.MonkeyPatch('nova.virt.images.fetch_to_raw', self._cache)
        )
        self.computes['here'].driver.cache_image(None, image)
        self.assertEqual(disk_chains.NOBODY, self._readers(image))
        self._boot_image(image)
        self.assertEqual(disk_chains.EVERYBODY, self._readers(image))

    def _cache(self, context, image_id, path):
        self._fetch(context, path, image_id)

    def test_a_server_that_stands_alone_needs_no_image_to_move(self):
        image = self._image('shared', 'somebody')
        server = self._boot_image(image)
        os.unlink(self._base(image))
        del self.glance.images[image]

        self._resize_server(server, self._create_flavor(disk=2, ephemeral=0))
        server = self._wait_for_state_change(server, 'VERIFY_RESIZE')

        self._assert_alone(server, image, 'there')
        self.assertEqual(2 << 30, self._size(server))
