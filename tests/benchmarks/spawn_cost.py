# SPDX-License-Identifier: Apache-2.0
"""What a level costs a spawn: our driver's against Nova's own.

Both drivers run in one process on one host of Nova's functional tests, with
its fake libvirt. Spawns of new instances are timed in pairs, in alternating
order: ``LibvirtDriver.spawn`` and ours, which claims in a store on SQLite that
waits for the disk at each commit, labels the disk through the kernel's
extended attributes and reads all of it back. Nova makes the disk by itself,
a qcow2 file above a cached image. Privileged functions, ours as Nova's, run
in this process unless ``--helper`` is given: then ours run in a helper
process of oslo.privsep, as on a host. With ``--private``, the image is a
private one of the instances' own project, whose file in the cache is closed to
other projects.

The fake libvirt starts no QEMU, so Nova's spawn is shorter here than on a
host; most of it is qemu-img. The image is cached, networks and a config drive
are left out. The ratio is that of the medians. Each spawn's deletion is not
timed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from typing import Any

import fixtures

# This package settles how threads are made, and must come before anything
# else of Nova.
# isort: off
from nova.tests.functional.libvirt import base as functional

# isort: on
from nova import objects
from nova import privsep as nova_privsep
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import imagebackend
from nova.virt.libvirt import utils as libvirt_utils
from oslo_privsep import daemon
from oslo_utils import uuidutils

from svirt_nova.host import disk_headers
from svirt_nova.host import file_labels
from svirt_nova.host import image_contexts
from svirt_nova.host import privsep
from svirt_nova.mcs import spaces
from tests import samples
from tests.functional.nova import confined

MOST = 1.03
WARM_UP = 10

# What the functional tests replace and what is measured all the same.
_LIBVIRT = 'nova.virt.libvirt'
_CREATE_IMAGE = libvirt_driver.LibvirtDriver._create_image
_REAL = {
    f'{_LIBVIRT}.driver.LibvirtDriver._create_image': _CREATE_IMAGE,
    f'{_LIBVIRT}.imagebackend.Backend.backend': imagebackend.Backend.backend,
    'nova.virt.libvirt.utils.file_open': libvirt_utils.file_open,
    'oslo_privsep.daemon.RootwrapClientChannel': daemon.RootwrapClientChannel,
    'svirt_nova.host.file_labels.label': file_labels.label,
    'svirt_nova.host.file_labels.share': file_labels.share,
    'svirt_nova.host.file_labels.restore': file_labels.restore,
    'svirt_nova.host.file_labels.read': file_labels.read,
    'svirt_nova.host.file_labels.read_header': file_labels.read_header,
    'svirt_nova.host.image_contexts.writable': image_contexts.writable,
    'svirt_nova.host.image_contexts.readable': image_contexts.readable,
}
_PROJECTS = spaces.LevelSpace.parse('c512.c1023', project_categories='c0.c511')
_PARTS = (
    'svirt_nova.virt.claims.HostClaims.claim',
    'svirt_nova.host.file_labels.label',
    'svirt_nova.host.file_labels.share',
    'svirt_nova.host.file_labels.read',
    'svirt_nova.host.file_labels.read_header',
    'svirt_nova.host.domain_xml.confine',
    'svirt_nova.virt.level_guards.LevelGuard._read_back',
    'svirt_nova.virt.policy_watch.PolicyWatch.check',
)

# What an instance does not have in common with another.
_OWN = {
    'id',
    'uuid',
    'created_at',
    'updated_at',
    'deleted',
    'deleted_at',
    'cleaned',
    'info_cache',
    'ec2_ids',
    'services',
    'tags',
    'fault',
    'name',
}


def _image(*_args: Any, target: str, **_kwargs: Any) -> None:
    subprocess.run(
        ['qemu-img', 'create', '-q', '-f', 'raw', target, '1M'], check=True
    )


class Bench(confined.ConfinedMixin, functional.ServersTestBase):
    """One host, and both drivers on it.

    :param pairs: how many pairs of spawns are timed
    :param helper: whether privileged functions run in a process of their own
    :param is_private: whether the image is
    :param result: takes what was measured
    """

    api_major_version = 'v2.1'
    microversion = 'latest'

    def __init__(
        self,
        pairs: int,
        helper: bool,
        is_private: bool,
        result: dict[str, Any],
    ) -> None:
        super().__init__('measure')
        self.pairs = pairs
        self.helper = helper
        self.is_private = is_private
        if is_private:
            self.SPACE = _PROJECTS
        # Nova's test cases forget their attributes at their end.
        self.result = result

    def setUp(self) -> None:
        super().setUp()
        for name, real in {
            **_REAL,
            'nova.virt.libvirt.utils.fetch_image': _image,
            'nova.virt.libvirt.utils.fetch_raw_image': _image,
        }.items():
            self.useFixture(fixtures.MonkeyPatch(name, real))
        # This machine may have no policy; the helper process needs one.
        policy = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        contexts = policy / 'virtual_image_context'
        contexts.write_text(f'{samples.IMAGE_TEXT}\n{samples.CONTENT_TEXT}\n')
        if not self.helper:
            self.useFixture(
                fixtures.MonkeyPatch(
                    'selinux.selinux_virtual_image_context_path',
                    lambda: str(contexts),
                )
            )
        nova_privsep.sys_admin_pctxt.set_client_mode(False)
        self.addCleanup(nova_privsep.sys_admin_pctxt.set_client_mode, True)
        privsep.svirt_pctxt.set_client_mode(self.helper)
        self.addCleanup(privsep.svirt_pctxt.set_client_mode, True)
        # A group that every machine has, QEMU or not.
        section = privsep.svirt_pctxt.cfg_section
        self.flags(qemu_group='root', group=section)
        if self.helper:
            options = policy / 'helper.conf'
            options.write_text(f'[{section}]\nqemu_group = root\n')
            helper = pathlib.Path(sys.executable).with_name('privsep-helper')
            self.flags(
                helper_command=f'{helper} --config-file {options}',
                group=section,
            )
            self.addCleanup(privsep.svirt_pctxt.stop)

    def measure(self) -> None:
        """Time the pairs, and after them the parts of ours."""
        self.start_compute()
        ours = self.computes['compute1'].driver
        # The same host, connection and caches.
        novas = libvirt_driver.LibvirtDriver.__new__(
            libvirt_driver.LibvirtDriver
        )
        novas.__dict__.update(ours.__dict__)
        self._record_arguments(ours)
        taken: dict[str, list[float]] = {'nova': [], 'ours': []}
        drivers = [('nova', novas), ('ours', ours)]
        for number in range(WARM_UP + self.pairs):
            for name, driver in drivers[:: 1 if number % 2 else -1]:
                seconds = self._spawn(driver, is_ours=driver is ours)
                if number >= WARM_UP:
                    taken[name].append(1000 * seconds)
        nova_ms, ours_ms = (
            statistics.median(taken[name]) for name in ('nova', 'ours')
        )
        self.result |= {
            'pairs': self.pairs,
            'privileged functions': (
                'helper process' if self.helper else 'in process'
            ),
            'nova_ms': nova_ms,
            'ours_ms': ours_ms,
            'difference_ms': ours_ms - nova_ms,
            'median_difference_of_a_pair_ms': statistics.median(
                o - n
                for o, n in zip(taken['ours'], taken['nova'], strict=True)
            ),
            'ratio': ours_ms / nova_ms,
            'parts_ms': self._parts(ours),
            'image': 'private' if self.is_private else 'public',
        }

    def _record_arguments(self, driver: Any) -> None:
        """Take what Nova passes to spawn from a server of its API."""
        seen = []
        original = type(driver).spawn

        def spawn(_driver: Any, *args: Any, **kwargs: Any) -> None:
            seen.append((args, kwargs, args[1].obj_clone()))
            original(_driver, *args, **kwargs)

        with fixtures.MonkeyPatch(
            'svirt_nova.virt.driver.SvirtLibvirtDriver.spawn', spawn
        ):
            self._create_server(networks='none', **self._chosen_image())
        ((self.args, self.kwargs, self.template),) = seen

    def _chosen_image(self) -> dict[str, str]:
        """The image to start from, if it is not Nova's own choice."""
        if not self.is_private:
            return {}
        made = self.glance.create(
            None,
            {
                'id': uuidutils.generate_uuid(),
                'name': 'private',
                'container_format': 'bare',
                'disk_format': 'raw',
                'min_disk': 0,
                'min_ram': 0,
                'visibility': 'private',
                'owner': self.api.project_id,
                'properties': {},
            },
        )
        return {'image_uuid': made['id']}

    def _spawn(self, driver: Any, *, is_ours: bool) -> float:
        """Spawn a new instance and delete it.

        :returns: the seconds that the spawn took
        """
        context, _, *others = self.args
        instance = self._instance(context)
        begin = time.perf_counter()
        driver.spawn(context, instance, *others, **self.kwargs)
        seconds = time.perf_counter() - begin
        disk = os.path.join(libvirt_utils.get_instance_path(instance), 'disk')
        label = file_labels.read(disk)
        if is_ours:
            held = self.allocator.get(instance.uuid)
            assert label is not None
            assert label.level == held.level
            if self.is_private:
                header = pathlib.Path(disk).read_bytes()
                base = file_labels.read(
                    disk_headers.read(disk, header, 'qcow2').backing_file
                )
                assert base is not None
                assert base.level == held.levels.project
        else:
            assert label is None or not label.level.categories
        instance.task_state = 'deleting'
        driver.destroy(context, instance, [], destroy_disks=True)
        assert not os.path.exists(disk)
        return seconds

    def _instance(self, context: Any) -> Any:
        """A row of Nova's database for an instance like the template."""
        instance = objects.Instance(context)
        for name in self.template.fields:
            if name not in _OWN and self.template.obj_attr_is_set(name):
                setattr(instance, name, getattr(self.template, name))
        instance.uuid = uuidutils.generate_uuid()
        instance.create()
        return instance

    def _parts(self, driver: Any) -> dict[str, float]:
        """Milliseconds of the parts of one spawn; some contain others."""
        totals = dict.fromkeys(_PARTS, 0.0)
        with fixtures.Fixture() as patched:
            for name in _PARTS:
                patched.useFixture(
                    fixtures.MonkeyPatch(name, _timed(name, totals))
                )
            for _ in range(WARM_UP):
                self._spawn(driver, is_ours=True)
        return {
            name.rpartition('svirt_nova.')[2]: 1000 * total / WARM_UP
            for name, total in totals.items()
        }

    def _check_invariants(self) -> None:
        """Instances here have no rows in Nova's database to check."""


def _timed(name: str, totals: dict[str, float]) -> Callable[..., Any]:
    module, _, attribute = name.rpartition('.')
    original = getattr(_find(module), attribute)

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            totals[name] += time.perf_counter() - begin

    return timed


def _find(name: str) -> Any:
    if name in sys.modules:
        return sys.modules[name]
    module, _, attribute = name.rpartition('.')
    return getattr(_find(module), attribute)


def main() -> int:
    """Print the ratio; with ``--check`` fail where it is too high."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--pairs', type=int, default=200)
    parser.add_argument(
        '--helper',
        action='store_true',
        help="run privileged functions in oslo.privsep's helper process",
    )
    parser.add_argument(
        '--private',
        action='store_true',
        help="start from a private image of the instances' own project",
    )
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE')
    parser.add_argument(
        '--check', action='store_true', help=f'fail above {MOST}'
    )
    args = parser.parse_args()
    result: dict[str, Any] = {}
    outcome = unittest.TestResult()
    Bench(args.pairs, args.helper, args.private, result).run(outcome)
    for _, text in outcome.errors + outcome.failures:
        print(text, file=sys.stderr)
    if not result:
        return 1
    text = json.dumps(result, indent=2)
    print(text)
    print(f"{result['ratio']:.4f} times Nova's spawn")
    if args.json is not None:
        args.json.write_text(text + '\n', encoding='utf-8')
    return int(
        not outcome.wasSuccessful() or (args.check and result['ratio'] > MOST)
    )


if __name__ == '__main__':
    sys.exit(main())
