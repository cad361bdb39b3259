# SPDX-License-Identifier: Apache-2.0
"""Guests of all kinds, of two projects: each opens what is its own alone."""

from __future__ import annotations

import base64
import concurrent.futures
import tempfile
from pathlib import Path
from typing import Any

from tests.lab import exposure
from tests.lab import guest
from tests.lab import images
from tests.lab import survey
from tests.lab.case import LabTestCase


class KindsTest(LabTestCase):
    """One instance of each kind, and one of another project."""

    #: Instances by what was done with them.
    servers: dict[str, Any]

    @classmethod
    def prepare(cls) -> None:
        api = cls.cloud.api
        project = api.identity.create_project(name='beside')
        api.grant_role('admin', user='admin', project=project.id)
        cls.other = cls.cloud.plane.connect('beside')
        cls.addClassCleanup(cls.other.close)
        cls.private = images.make_private(
            cls.cloud, cls.other, 'beside-own', b'of the project beside'
        )
        cls.addClassCleanup(cls.other.image.delete_image, cls.private.id)
        cls._share_image(project)
        cls._make_images()
        cls.servers = {}
        cls.addClassCleanup(cls._delete)
        with cls.cloud.progress.step('instances of all kinds'):
            cls._boot()
        with cls.cloud.progress.step('what is done with them'):
            cls._operate()

    @classmethod
    def _delete(cls) -> None:
        # Some may not have become active.
        cls.cloud.delete([*cls.cloud.api.compute.servers(all_projects=True)])

    @classmethod
    def _share_image(cls, project: Any) -> None:
        """Share an image of our project with the project beside.

        :param project: that project
        """
        cls.shared = images.make_private(
            cls.cloud, cls.cloud.api, 'shared', b'of both projects'
        )
        image = cls.cloud.api.image
        cls.addClassCleanup(image.delete_image, cls.shared.id)
        image.update_image(cls.shared, visibility='shared')
        image.add_member(cls.shared, member_id=project.id)
        cls.other.image.update_member(
            project.id, cls.shared, status='accepted'
        )

    @classmethod
    def _make_images(cls) -> None:
        """Make a disc, and an image that a guest is rescued with by cdrom."""
        with tempfile.TemporaryDirectory() as directory:
            disc = Path(directory, 'disc.iso')
            disc.write_bytes(guest.disc())
            for name, properties in (
                ('boot-disc', {}),
                (
                    'rescue-disc',
                    {'hw_rescue_device': 'cdrom', 'hw_rescue_bus': 'ide'},
                ),
            ):
                image = cls.cloud.api.create_image(
                    name,
                    filename=str(disc),
                    wait=True,
                    disk_format='iso',
                    container_format='bare',
                    visibility='public',
                    min_disk=0,
                    timeout=120,
                    **properties,
                )
                cls.addClassCleanup(cls.cloud.api.image.delete_image, image.id)

    @classmethod
    def _boot(cls) -> None:
        compute = cls.cloud.api.compute
        network = cls.cloud.api.network.find_network('private')
        flavor = compute.create_flavor(
            name='whole', ram=64, vcpus=1, disk=0, ephemeral=1, swap=16
        )
        cls.addClassCleanup(compute.delete_flavor, flavor)
        whole = compute.create_server(
            name='whole',
            flavor_id=flavor.id,
            image_id=cls.cloud.api.image.find_image('idle').id,
            networks=[{'uuid': network.id}],
            config_drive=True,
            user_data=base64.b64encode(b'#!/bin/sh\n').decode(),
        )
        names = ('rescued', 'by-disc', 'volume', 'resized', 'shelved')
        booted = [
            *cls.cloud.boot([*names, 'suspended', 'stopped']),
            *cls.cloud.boot(['disc-1', 'disc-2'], image='boot-disc'),
            *cls.cloud.boot(['beside'], cls.other, cls.private.id),
            *cls.cloud.boot(['sharing'], cls.other, cls.shared.id),
            cls.cloud.wait_active(whole),
        ]
        cls.servers.update({each.name: each for each in booted})

    @classmethod
    def _operate(cls) -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for each in [
                pool.submit(action)
                for action in (
                    cls._rescue,
                    cls._snapshot_volume,
                    cls._attach_read_only,
                    cls._resize,
                    cls._shelve,
                    cls._rest,
                )
            ]:
                each.result()

    @classmethod
    def _rescue(cls) -> None:
        compute = cls.cloud.api.compute
        disc = cls.cloud.api.image.find_image('rescue-disc')
        rescued, by_disc = cls.servers['rescued'], cls.servers['by-disc']
        compute.rescue_server(rescued)
        compute.rescue_server(by_disc, image_ref=disc.id)
        for each in (rescued, by_disc):
            cls.cloud.wait_status(each, 'RESCUE')

    @classmethod
    def _snapshot_volume(cls) -> None:
        storage = cls.cloud.api.block_storage
        volume = cls.cloud.make_volume('with-snapshots')
        cls.cloud.attach(cls.servers['volume'], volume)
        for name in ('first', 'second'):
            snapshot = storage.create_snapshot(
                volume_id=volume.id, name=name, is_forced=True
            )
            storage.wait_for_status(
                snapshot, 'available', interval=1, wait=300
            )

    @classmethod
    def _attach_read_only(cls) -> None:
        """Attach a volume that is read-only, and has a snapshot below."""
        storage = cls.cloud.api.block_storage
        volume = cls.cloud.make_volume('read-only')
        snapshot = storage.create_snapshot(volume_id=volume.id, name='below')
        storage.wait_for_status(snapshot, 'available', interval=1, wait=300)
        storage.set_volume_readonly(volume)
        cls.cloud.attach(cls.servers['whole'], volume)

    @classmethod
    def _resize(cls) -> None:
        compute = cls.cloud.api.compute
        server = cls.servers['resized']
        compute.resize_server(server, compute.find_flavor('small').id)
        cls.cloud.wait_status(server, 'VERIFY_RESIZE')
        compute.confirm_server_resize(server)
        cls.cloud.wait_active(server)

    @classmethod
    def _shelve(cls) -> None:
        server = cls.servers['shelved']
        cls.cloud.api.compute.shelve_server(server)
        cls.cloud.wait_status(server, 'SHELVED_OFFLOADED')
        cls.cloud.api.compute.unshelve_server(server)
        cls.cloud.wait_active(server)

    @classmethod
    def _rest(cls) -> None:
        compute = cls.cloud.api.compute
        suspended, stopped = cls.servers['suspended'], cls.servers['stopped']
        compute.suspend_server(suspended)
        compute.stop_server(stopped)
        cls.cloud.wait_status(suspended, 'SUSPENDED')
        cls.cloud.wait_status(stopped, 'SHUTOFF')

    def test_each_opens_what_is_its_own_alone(self) -> None:
        found = survey.take(
            self.cloud, [*self.servers.values()], {self.private.id: []}
        )
        self.cloud.progress.say(f'census: {found}')
        self.assertEqual([], found.faults)
        # All but the two that rest.
        self.assertEqual(len(self.servers) - 2, found.guests)
        self.assertGreaterEqual(found.counts[exposure.OWN], 100)
        self.assertGreater(found.audited, found.guests)
