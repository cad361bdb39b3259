# SPDX-License-Identifier: Apache-2.0
"""Tempest, set up for a cloud of the lab, and run on lists of tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab import cache
from tests.lab import comparison
from tests.lab import configuration
from tests.lab import image
from tests.lab import processes
from tests.lab import results
from tests.lab import selection
from tests.lab import storage
from tests.lab.cloud import Cloud
from tests.lab.comparison import Outcome
from tests.lab.host import OPERATOR
from tests.lab.progress import LabError

#: Seconds until a run of tempest counts as hung.
PATIENCE = 4 * 3600.0

# What tempest prints when a test has ended.
_ENDED = re.compile(
    r'\{\d+\} (?P<name>\w+ \(\S+\)|\S+) '
    r'.*\.\.\. (?P<status>ok|FAILED|SKIPPED)'
)

Features = dict[str, dict[str, object]]


class Suite:
    """Stock tempest, for one cloud."""

    def __init__(self, cloud: Cloud, features: Features) -> None:
        """Configure it.

        :param features: what to set in tempest.conf beside what all clouds
            of the lab have in common
        """
        self._cloud = cloud
        self._run = cache.run_directory() / 'tempest'
        self._conf = self._run / 'tempest.conf'
        self._run.mkdir()
        sections = self._sections()
        for group, options in features.items():
            sections.setdefault(group, {}).update(options)
        self._conf.touch(0o600)
        self._conf.write_text(configuration.ini(sections))

    def _sections(self) -> dict[str, dict[str, object]]:
        api = self._cloud.api
        idle, writer = (
            api.image.find_image(name) for name in ('idle', 'writer')
        )
        for each in (idle, writer):
            api.image.update_image(each.id, visibility='public')
        # Only administrators may use a flavor without a disk.
        small, large = (
            api.compute.create_flavor(name=name, ram=ram, vcpus=1, disk=disk)
            for name, ram, disk in (('small-1', 64, 1), ('large-2', 80, 2))
        )
        network = api.network.create_network(name='shared', shared=True)
        api.network.create_subnet(
            network_id=network.id,
            ip_version=4,
            cidr='198.51.100.0/24',
            name='shared',
        )
        shareable = api.block_storage.create_type(name='shareable')
        api.block_storage.update_type_extra_specs(
            shareable, multiattach='<is> True'
        )
        credentials = self._cloud.plane.configuration.credentials()
        return {
            'DEFAULT': {'log_file': self._cloud.logs / 'tempest-debug.log'},
            'oslo_concurrency': {'lock_path': self._run / 'locks'},
            'auth': {
                'use_dynamic_credentials': True,
                # They would need routers, which the lab has not.
                'create_isolated_networks': False,
                'admin_username': credentials['username'],
                'admin_password': credentials['password'],
                'admin_project_name': credentials['project_name'],
                'admin_domain_name': 'Default',
                'tempest_roles': 'member',
            },
            'identity': {
                'uri_v3': credentials['auth_url'],
                'auth_version': 'v3',
                'region': configuration.REGION,
                'v3_endpoint_type': 'public',
            },
            'service_available': {
                'horizon': False,
                'swift': False,
                'svirt_nova': True,
            },
            'compute': {
                'region': configuration.REGION,
                'image_ref': idle.id,
                'image_ref_alt': writer.id,
                'flavor_ref': small.id,
                'flavor_ref_alt': large.id,
                'fixed_network_name': network.name,
                'min_compute_nodes': len(self._cloud.hosts),
                'max_microversion': 'latest',
                'build_interval': 1,
            },
            'compute-feature-enabled': {
                'resize': True,
                'volume_multiattach': True,
                'stable_rescue': True,
                'hostname_fqdn_sanitization': True,
                'attach_encrypted_volume': False,
            },
            # The guests have no network and no system to log in to.
            'validation': {'run_validation': False},
            'network-feature-enabled': {'floating_ips': False},
            'volume': {
                'region': configuration.REGION,
                'catalog_type': 'block-storage',
                'max_microversion': 'latest',
                'storage_protocol': 'nfs',
                'volume_type_multiattach': shareable.name,
                'build_interval': 1,
            },
            'volume-feature-enabled': {'backup': False},
        }

    def identities(self) -> dict[str, str]:
        """Give the ids of all tests that tempest finds, by their names."""
        listed = self._tempest('--list-tests').splitlines()
        return {
            comparison.without_attributes(line): line
            for line in listed
            if line.startswith(('tempest.', selection.PLUGIN))
        }

    def run(
        self, title: str, names: Sequence[str], workers: int = 1
    ) -> dict[str, Outcome]:
        """Run tests, and say how each ended as soon as it has.

        :param title: names the run
        :param workers: how many tests may run at a time
        :returns: outcomes by test, and of the fixtures of classes that
            failed or were skipped
        """
        identities = self.identities()
        wanted = self._run / f'{title}.list'
        wanted.write_text(''.join(f'{identities[n]}\n' for n in names))
        with (self._cloud.logs / f'tempest-{title}.log').open('w+') as log:
            process = subprocess.Popen(
                [
                    *self._command(),
                    '--concurrency',
                    str(workers),
                    '--load-list',
                    str(wanted),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                cwd=self._run,
                start_new_session=True,
            )
            try:
                self._follow(process, Path(log.name), title, len(names))
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        stream = subprocess.run(
            [cache.VENV / 'bin/stestr', 'last', '--subunit'],
            stdout=subprocess.PIPE,
            cwd=self._run,
            check=False,
        ).stdout
        return results.outcomes(stream)

    def _follow(
        self, process: subprocess.Popen[bytes], log: Path, title: str, of: int
    ) -> None:
        deadline = time.monotonic() + PATIENCE
        count = 0
        with log.open(errors='replace') as lines:
            while True:
                ended = process.poll() is not None
                for line in lines:
                    found = _ENDED.match(line)
                    if found:
                        count += 1
                        self._cloud.progress.say(
                            f'{title} {count}/{of}: {found["status"]:7} '
                            f'{comparison.short(found["name"])}'
                        )
                if ended:
                    return
                if time.monotonic() > deadline:
                    raise LabError(
                        f'tempest did not end in {PATIENCE:.0f} s; see {log}'
                    )
                time.sleep(1)

    def _tempest(self, *words: str) -> str:
        log = self._cloud.logs / 'tempest-setup.log'
        if not (self._run / '.stestr').exists():
            # It writes .stestr.conf, which the next command looks for.
            with contextlib.suppress(LabError):
                self._call([*self._command(), '--list-tests'], log)
            self._call([str(cache.VENV / 'bin/stestr'), 'init'], log)
        return self._call([*self._command(), *words], log)

    def _call(self, command: Sequence[str], log: Path) -> str:
        return processes.run(
            command,
            log=log,
            timeout=300,
            env=self._environment(),
            cwd=self._run,
        )

    def _command(self) -> list[str]:
        tempest = str(cache.VENV / 'bin/tempest')
        return [tempest, 'run', '--config-file', str(self._conf)]

    def _environment(self) -> dict[str, str]:
        return dict(
            os.environ,
            HOME=str(self._run),
            PATH=f'{cache.VENV}/bin:{os.environ["PATH"]}',
            # The time-outs in tempest.conf say which wait was too long.
            OS_TEST_TIMEOUT='7200',
        )


def host_features(cloud: Cloud) -> Features:
    """Let the project's own tests look at the hosts.

    Each command there is one of an emulated processor. The operator's
    command asks the service as nova-compute does, so it needs no more than
    that has.
    """
    first = cloud.hosts[0]
    return {
        'svirt_nova': {
            'hosts': ','.join(
                f'{host.name}:127.0.0.1:{host.ssh_port}'
                for host in cloud.hosts
            ),
            'ssh_key_file': image.current().ssh_key,
            'ssh_known_hosts_file': '/dev/null',
            'ssh_strict_host_key_checking': 'no',
            'ssh_connect_timeout': 120,
            'remote_timeout': 300,
            'settle_timeout': 300,
            # Nova unmounts a share when no instance has a volume from it.
            'volumes_path': storage.VOLUMES,
            'volumes_host': first.name,
            'manage_host': first.name,
            'manage_command': (
                f'{OPERATOR} --config-file /etc/nova/nova.conf'
            ),
            'manage_timeout': 600,
        },
    }
