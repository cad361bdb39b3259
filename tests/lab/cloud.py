# SPDX-License-Identifier: Apache-2.0
"""The whole lab: a control plane, its hosts, and Nova's API for tests."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import shutil
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import TypeVar

from tests.lab import accelerator
from tests.lab import allocator
from tests.lab import cache
from tests.lab import configuration
from tests.lab import guest
from tests.lab import image
from tests.lab import processes
from tests.lab import storage
from tests.lab import wheels
from tests.lab.controlplane import ControlPlane
from tests.lab.host import Host
from tests.lab.operations import Operations
from tests.lab.processes import Daemons
from tests.lab.progress import LabError
from tests.lab.progress import Progress
from tests.lab.progress import say
from tests.lab.saved import SavedState

DRIVER = 'svirt_nova.SvirtLibvirtDriver'
NOVA_DRIVER = 'libvirt.LibvirtDriver'

Answer = TypeVar('Answer')


class Cloud(Operations):
    """A running lab. A context manager: leaving it ends and removes all.

    The first host serves the storage. Several hosts share the directories
    of instances, and one store of levels.

    :param hosts: how many
    :param driver: Nova's compute_driver
    :param volumes: whether there is cinder
    :ivar hosts: the compute hosts, the first of index 1
    """

    #: What of a host's Debian matters to who reads a result.
    host_packages = 'libvirt-daemon qemu-system-x86 selinux-policy-default'

    def __init__(
        self,
        progress: Progress,
        hosts: int = 1,
        driver: str = DRIVER,
        volumes: bool = False,
    ) -> None:
        self.progress = progress
        self._has_volumes = volumes
        self.driver = driver
        self._run = cache.run_directory()
        cache.clear_run()
        self._run.mkdir(parents=True, mode=0o700)
        self.logs = self._run / 'logs'
        self._daemons = Daemons(self._run / 'pids', self.logs)
        self._looks = itertools.count(1)
        self.hosts = self._make_hosts(hosts)
        self.plane = ControlPlane(self._run, self._daemons, progress, volumes)
        self._service = (
            allocator.AllocatorService(
                self._run, self._daemons, self.plane.configuration
            )
            if hosts > 1
            else None
        )

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

    def _make_hosts(self, count: int) -> list[Any]:
        self._image = image.current()
        return [
            Host(index, self._image, self._run, self._daemons)
            for index in range(1, count + 1)
        ]

    def _start(self) -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            machines = pool.submit(self._start_hosts)
            packed = pool.submit(self._pack)
            try:
                self.plane.start_backends()
                archive = packed.result()
                ready = pool.submit(self._make_ready, machines, archive)
                self.plane.start_services()
                seeded = pool.submit(self._seed)
                if self._service is not None:
                    self._service.start()
                ready.result()
                self.on_hosts(
                    lambda host: host.start_compute(
                        self.plane, self._svirt_options()
                    )
                )
                if self._has_volumes:
                    self.hosts[0].start_volumes(
                        self.plane, storage.volumes_share(self.hosts[0])
                    )
                seeded.result()
            except BaseException:
                self._daemons.abandon()
                processes.end_commands()
                raise
        for host in self.hosts:
            with self.progress.step(f'{host.name}: nova-compute'):
                self._wait_for_compute(host)
        if self._has_volumes:
            with self.progress.step(f'{self.hosts[0].name}: cinder-volume'):
                self._wait_for_volumes()

    def _start_hosts(self) -> None:
        mode = accelerator.choose(self._image, self.progress)
        [network] = processes.free_ports(1)
        state = SavedState(self._image, mode)
        first = self.hosts[0]
        if state.useful and not state.present:
            with self.progress.step('state of a prepared host'):
                state.make(
                    first, self._run / 'state.qcow2', network, self.progress
                )
        self.on_hosts(lambda host: self._start_host(host, state, network))

    def _start_host(self, host: Host, state: SavedState, network: int) -> None:
        with self.progress.step(f'{host.name}: start'):
            state.start(host, network, self.progress)
            host.join(len(self.hosts))
            if len(self.hosts) > 1:
                host.listen()
                host.trust()

    def _pack(self) -> Path:
        with self.progress.step('wheel of svirt-nova'):
            return wheels.pack_project(self._run, self.logs / 'wheel.log')

    def _make_ready(
        self, machines: concurrent.futures.Future[None], archive: Path
    ) -> None:
        """Prepare the hosts as far as they need no service for it."""
        machines.result()
        self._share_storage()
        self.on_hosts(lambda host: host.install(archive))

    def _share_storage(self) -> None:
        server = self.hosts[0]
        shares_instances = len(self.hosts) > 1
        if self._has_volumes or shares_instances:
            storage.serve(server)
        if shares_instances:
            self.on_hosts(lambda host: storage.mount_instances(host, server))

    def _svirt_options(self) -> dict[str, Mapping[str, object]]:
        common: dict[str, Mapping[str, object]] = {
            'DEFAULT': {'compute_driver': self.driver}
        }
        if self._service is not None:
            common.update(allocator.FOR_COMPUTES)
        return common

    def change_driver(self, driver: str) -> None:
        """Restart nova-compute of all hosts with another driver."""
        self.driver = driver
        self.on_hosts(self.restart_compute)

    def on_hosts(self, action: Callable[[Any], Answer]) -> list[Answer]:
        """Do something on all hosts at the same time.

        :returns: the answers, in the order of the hosts
        """
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return list(pool.map(action, self.hosts))

    def restart_compute(
        self, host: Host, svirt: Mapping[str, object] | None = None
    ) -> None:
        """Restart a host's nova-compute, and wait until it works.

        :param svirt: options of [svirt] that it is to have beside its own
        """
        host.stop_compute()
        before = self._service_of(host).updated_at
        options = self._svirt_options()
        if svirt:
            options['svirt'] = {**options.get('svirt', {}), **svirt}
        host.start_compute(self.plane, options)
        for _ in self.poll(f'nova-compute on {host.name}'):
            service = self._service_of(host)
            if service.updated_at != before and (
                service.state == 'up' or service.is_forced_down
            ):
                return
            self._check_compute(host)

    def refused_start(self, host: Host) -> str:
        """Restart a host's nova-compute, which must not start.

        :returns: what it says last, when systemd knows that it has ended
        :raises LabError: it works
        """
        host.stop_compute()
        before = self._service_of(host).updated_at
        host.start_compute(self.plane, self._svirt_options())
        failure = ''
        for _ in self.poll(f'the end of nova-compute on {host.name}'):
            failure = host.compute_failed()
            if failure:
                break
            if self._service_of(host).updated_at != before:
                raise LabError(f'nova-compute on {host.name} works')
        return failure

    def _end(self, error: BaseException | None) -> None:
        failed = error is not None and not isinstance(error, KeyboardInterrupt)
        try:
            if failed:
                for host in self.hosts:
                    with contextlib.suppress(LabError):
                        host.save_logs()
        finally:
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
        for name in ('idle', 'writer'):
            disk = self._run / f'{name}.qcow2'
            guest.build(
                disk, writes=name == 'writer', log=self.logs / 'guest.log'
            )
            self.api.create_image(
                name,
                filename=str(disk),
                wait=True,
                disk_format='qcow2',
                container_format='bare',
                visibility='public',
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

    def _service_of(self, host: Host) -> Any:
        """Give Nova's record of a host's nova-compute; None without one."""
        found = list(
            self.api.compute.services(binary='nova-compute', host=host.name)
        )
        return found[0] if found else None

    def _wait_for_compute(self, host: Host) -> None:
        for _ in self.poll(f'nova-compute on {host.name}'):
            service = self._service_of(host)
            if (
                service is not None
                and service.state == 'up'
                and host.name
                in {each.name for each in self.api.compute.hypervisors()}
            ):
                return
            self._check_compute(host)

    def _check_compute(self, host: Host) -> None:
        self._daemons.check()
        # A look into an emulated host takes time from nova-compute.
        if next(self._looks) % 20 == 0 and (failure := host.compute_failed()):
            raise LabError(f'nova-compute on {host.name} ended:\n{failure}')

    def _wait_for_volumes(self) -> None:
        for _ in self.poll('cinder-volume'):
            self._daemons.check()
            if any(
                service.binary == 'cinder-volume' and service.state == 'up'
                for service in self.api.block_storage.services()
            ):
                return

    def svirt_nova(self, *words: str) -> Any:
        """Run the operator's command with -f json and parse the answer."""
        if self._service is None:
            return self.hosts[0].svirt_nova(*words)
        return self._service.ask(*words)

    # For people

    def reach(self) -> str:
        """Say how to get at the services and hosts."""
        lines = [
            f'export OS_{name.upper()}={value}'
            for name, value in self.plane.configuration.credentials().items()
        ]
        lines += [
            'export OS_IDENTITY_API_VERSION=3',
            f'export OS_REGION_NAME={configuration.REGION}',
        ]
        lines += [f'{host.name}: {host.ssh_command()}' for host in self.hosts]
        return '\n'.join([*lines, f'logs: {self.logs}'])

    def wait_for_user(self) -> None:
        """Leave the lab to its user until Ctrl-C."""
        say(self.reach())
        self.progress.say('the lab stays up; Ctrl-C goes on to its end')
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self.progress.say('going on')

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
                'cinder',
                'svirt-nova',
                'tempest',
            )
        }
        lines = (
            self.hosts[0]
            .run(
                "uname -r; dpkg-query -W -f '${Package} ${Version}\\n' "
                + self.host_packages
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
