# SPDX-License-Identifier: Apache-2.0
"""The whole lab: a control plane, its hosts, and Nova's API for tests."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import shutil
import struct
import time
from collections.abc import Iterable
from collections.abc import Iterator
from importlib import metadata
from types import TracebackType
from typing import Any

from tests.lab import accelerator
from tests.lab import cache
from tests.lab import controlplane
from tests.lab import image
from tests.lab import processes
from tests.lab import wheels
from tests.lab.controlplane import ControlPlane
from tests.lab.host import Host
from tests.lab.processes import Daemons
from tests.lab.progress import LabError
from tests.lab.progress import Progress

DRIVER = 'svirt_nova.SvirtLibvirtDriver'
#: Seconds until a thing that an emulated host does counts as hung.
PATIENCE = 420.0
#: cli; hlt; jmp to the hlt. Firmware that finds nothing to boot goes on
#: trying, and takes the time of an emulated host.
#: One partition: Nova refuses a boot sector that has none.
BOOT_SECTOR = (
    bytes([0xFA, 0xF4, 0xEB, 0xFD]).ljust(446, b'\0')
    + struct.pack('<B3xB3xII', 0x80, 0x83, 1, 2047).ljust(64, b'\0')
    + b'\x55\xaa'
)


class Cloud:
    """A running lab. A context manager: leaving it ends and removes all.

    :ivar hosts: the compute hosts, the first of index 1
    :ivar api: the cloud as its administrator sees it
    """

    api: Any

    def __init__(
        self,
        progress: Progress,
        hosts: int = 1,
        driver: str = DRIVER,
        volumes: bool = False,
    ) -> None:
        self.progress = progress
        self._has_volumes = volumes
        self._driver = driver
        self._run = cache.run_directory()
        cache.clear_run()
        self._run.mkdir(parents=True, mode=0o700)
        self.logs = self._run / 'logs'
        self._daemons = Daemons(self._run / 'pids', self.logs)
        self._image = image.current()
        self.hosts = [
            Host(index, self._image, self._run, self._daemons)
            for index in range(1, hosts + 1)
        ]
        self.plane = ControlPlane(self._run, self._daemons, progress, volumes)

    def __enter__(self) -> Cloud:
        try:
            self._start()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(error)

    # Bringing it up and down

    def _start(self) -> None:
        mode = accelerator.choose(self._image, self.progress)
        with concurrent.futures.ThreadPoolExecutor(
            len(self.hosts) + 1
        ) as pool:
            jobs = [
                pool.submit(self._start_host, host, mode)
                for host in self.hosts
            ]
            try:
                with self.progress.step('wheel of svirt-nova'):
                    archive = wheels.pack_project(
                        self._run, self.logs / 'wheel.log'
                    )
                self.plane.start()
                seeded = pool.submit(self._seed)
                for host, job in zip(self.hosts, jobs, strict=True):
                    job.result()
                    host.install(archive)
                    host.start_compute(self.plane, self._svirt_options())
                seeded.result()
                if self._has_volumes:
                    self.hosts[0].serve_volumes(self.plane)
            except BaseException:
                processes.end_commands()
                self._daemons.abandon()
                raise
        for host in self.hosts:
            with self.progress.step(f'{host.name}: nova-compute'):
                self._wait_for_compute(host)
        if self._has_volumes:
            with self.progress.step(f'{self.hosts[0].name}: cinder-volume'):
                self._wait_for_volumes()

    def _start_host(self, host: Host, mode: str) -> None:
        with self.progress.step(f'{host.name}: boot'):
            host.boot(mode)
            host.wait_until_up()
            host.enforce()

    def _svirt_options(self) -> dict[str, dict[str, object]]:
        return {
            'DEFAULT': {'compute_driver': self._driver},
            'svirt': {'mode': 'enforcing'},
            'svirt_nova_privileged': {
                'helper_command': controlplane.privsep_command()
            },
        }

    def _end(self, error: BaseException | None) -> None:
        failed = error is not None and not isinstance(error, KeyboardInterrupt)
        if failed:
            for host in self.hosts:
                with contextlib.suppress(LabError):
                    host.save_logs()
        self._daemons.stop_all()
        if failed:
            self.keep_logs()
        shutil.rmtree(self._run, ignore_errors=True)

    # What it holds from the start

    def _seed(self) -> None:
        """Make a flavor, an image and a network."""
        self.api = self.plane.connect()
        # Enough for a guest that only has to be there.
        for name, memory in (('tiny', 64), ('small', 80)):
            self.api.compute.create_flavor(
                name=name, ram=memory, vcpus=1, disk=0
            )
        raw, disk = self._run / 'guest.raw', self._run / 'guest.qcow2'
        with raw.open('wb') as file:
            file.write(BOOT_SECTOR)
            file.truncate(1 << 20)
        processes.run(
            ['qemu-img', 'convert', '-O', 'qcow2', raw, disk],
            log=self.logs / 'guest.log',
            timeout=60,
        )
        self.api.create_image(
            'idle',
            filename=str(disk),
            wait=True,
            disk_format='qcow2',
            container_format='bare',
            min_disk=0,
            timeout=120,
        )
        network = self.api.network.create_network(name='private')
        self.api.network.create_subnet(
            network_id=network.id,
            ip_version=4,
            cidr='192.0.2.0/24',
            name='private',
        )

    def _wait_for_compute(self, host: Host) -> None:
        deadline = time.monotonic() + PATIENCE
        for count in itertools.count(1):
            up = [
                service
                for service in self.api.compute.services(
                    binary='nova-compute', host=host.name
                )
                if service.state == 'up'
            ]
            if up and list(self.api.compute.hypervisors()):
                return
            self._daemons.check()
            # A look into an emulated host takes time from nova-compute.
            failure = host.compute_failed() if count % 8 == 0 else ''
            if failure:
                raise LabError(
                    f'nova-compute on {host.name} ended:\n{failure}'
                )
            if time.monotonic() > deadline:
                raise LabError(
                    f'nova-compute on {host.name} did not '
                    f'register within {PATIENCE:.0f} s'
                )
            time.sleep(3)

    def _wait_for_volumes(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(
            service.binary == 'cinder-volume' and service.state == 'up'
            for service in self.api.block_storage.services()
        ):
            self._daemons.check()
            if time.monotonic() > deadline:
                raise LabError(
                    f'cinder-volume did not register within {PATIENCE:.0f} s'
                )
            time.sleep(3)

    # For people

    def reach(self) -> str:
        """Say how to get at the services and hosts."""
        lines = [
            f'export OS_{name.upper()}={value}'
            for name, value in self.plane.credentials().items()
        ]
        lines += [
            'export OS_IDENTITY_API_VERSION=3',
            f'export OS_REGION_NAME={controlplane.REGION}',
        ]
        lines += [f'{host.name}: {host.ssh_command()}' for host in self.hosts]
        return '\n'.join([*lines, f'logs: {self.logs}'])

    def versions(self) -> dict[str, str]:
        """Give the versions of what was run."""
        found = {
            name: metadata.version(name)
            for name in (
                'keystone',
                'glance',
                'neutron',
                'nova',
                'openstack-placement',
                'svirt-nova',
            )
        }
        lines = (
            self.hosts[0]
            .run(
                "uname -r; dpkg-query -W -f '${Package} ${Version}\\n' "
                'libvirt-daemon qemu-system-x86 selinux-policy-default'
            )
            .split()
        )
        return {
            **found,
            'host kernel': lines[0],
            **dict(zip(lines[1::2], lines[2::2], strict=True)),
        }

    def keep_logs(self) -> None:
        """Copy all logs to a place that outlives the lab, and say where."""
        kept = cache.root() / 'failed-logs' / time.strftime('%Y%m%d-%H%M%S')
        shutil.copytree(self.logs, kept, dirs_exist_ok=True)
        self.progress.say(f'logs are in {kept}')

    # Instances

    def boot(self, names: Iterable[str], api: Any = None) -> list[Any]:
        """Create instances through Nova's API; wait until all are active.

        :param api: of the project that gets them; by default the
            administrator's
        """
        api = api or self.api
        flavor = self.api.compute.find_flavor('tiny')
        source = self.api.image.find_image('idle')
        network = self.api.network.find_network('private')
        servers = [
            api.compute.create_server(
                name=name,
                flavor_id=flavor.id,
                image_id=source.id,
                networks=[{'uuid': network.id}],
            )
            for name in names
        ]
        return [self.wait_active(server) for server in servers]

    def wait_active(self, server: Any) -> Any:
        """Wait until an instance is active; LabError gives Nova's fault."""
        deadline = time.monotonic() + PATIENCE
        while True:
            server = self.api.compute.get_server(server.id)
            if server.status == 'ACTIVE' and not server.task_state:
                return server
            if server.status == 'ERROR':
                fault = (server.fault or {}).get('message', 'no fault given')
                raise LabError(f'instance {server.name} is in ERROR: {fault}')
            if time.monotonic() > deadline:
                raise LabError(
                    f'instance {server.name} is '
                    f'{server.status} ({server.task_state}) '
                    f'after {PATIENCE:.0f} s'
                )
            time.sleep(1)

    def poll(self, what: str) -> Iterator[None]:
        """Give the caller a second's turns, until it has what it wants.

        :raises LabError: it has not after a long time
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            yield
            time.sleep(1)
        raise LabError(f'{what}: not there after {PATIENCE:.0f} s')

    def delete(self, servers: Iterable[Any]) -> None:
        """Delete instances through Nova's API; wait until none is left."""
        gone = list(servers)
        for server in gone:
            self.api.compute.delete_server(server)
        for server in gone:
            self.api.compute.wait_for_delete(
                server, interval=1, wait=int(PATIENCE)
            )
