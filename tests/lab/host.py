# SPDX-License-Identifier: Apache-2.0
"""A compute host of the lab: libvirt and nova-compute on a machine."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import json
import os
import shlex
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab import cache
from tests.lab import configuration
from tests.lab import host_configuration
from tests.lab import policies
from tests.lab import preparation
from tests.lab.controlplane import ControlPlane
from tests.lab.machine import Machine

#: The operator's command.
OPERATOR = f'{preparation.python()} {cache.VENV}/bin/svirt-nova'
#: Where the census runs, and of what.
_CENSUS = '/run/svirt-nova-census'
_CENSUS_FILES = ('__init__.py', 'questions.py', 'census.py')
_FOLDERS = (
    '/var/lib/nova',
    '/var/lib/libvirt',
    '/var/lib/cinder',
    '/srv',
    '/run',
    '/var/log',
    '/tmp',
    '/var/tmp',
    '/etc',
    '/dev',
    '/home',
    '/root',
)
_COMPUTE_LOG = '/var/log/nova/nova-compute.log'
_OWN_POLICY = f'/etc/selinux/default/policy/policy.{policies.VERSION}'
#: Ends what ``watched`` runs.
_STOP = '/run/svirt-nova-watch-stop'
#: Where files are sampled, what ends that, and how often it is done.
_SAMPLER = '/run/svirt-nova-file-sampler.py'
_SAMPLER_STOP = '/run/svirt-nova-file-sampler-stop'
_SAMPLER_INTERVAL = 0.05
#: Where libvirtd takes migrations.
_LISTENER = """[Socket]
ListenStream=
ListenStream={address}:16509
"""


class Host(Machine):
    """One compute host of the cloud."""

    def probe(
        self, *words: str, timeout: float = 180, unit: bool = False
    ) -> Any:
        """Run ``probe.py`` in the host and return its JSON answer.

        :param timeout: seconds
        :param unit: whether systemd is to run it, not the shell
        """
        runner = 'systemd-run -q --wait --pipe ' if unit else ''
        answer = self.run(
            f'{runner}{preparation.python()} {preparation.PROBE} '
            f'{shlex.join(words)}',
            timeout=timeout,
        )
        return json.loads(answer)

    def census(self) -> Any:
        """Run ``census.py`` in the host and return its JSON answer.

        It is no part of a prepared host, which is saved and kept.
        """
        package = f'{_CENSUS}/tests/lab'
        self.run(
            f'mkdir -p -m 700 {package}; touch {_CENSUS}/tests/__init__.py'
        )
        for name in _CENSUS_FILES:
            self.write(f'{package}/{name}', (cache.HERE / name).read_text())
        self.run(f'mv {package}/census.py {_CENSUS}')
        answer = self.run(
            'systemd-run -q --wait --pipe '
            f'{preparation.python()} {_CENSUS}/census.py '
            f'{shlex.join(_FOLDERS)}',
            timeout=1800,
        )
        return json.loads(answer)

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[Any]]:
        """Sample what runs in it, twice a second, as long as one is inside.

        :returns: a list that has the samples afterwards
        """
        samples: list[Any] = []
        self.run(f'rm -f {_STOP}')
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            job = pool.submit(
                self.run,
                f'{preparation.python()} {preparation.PROBE} watch {_STOP}',
                timeout=3600,
            )
            try:
                yield samples
            finally:
                self.run(f'touch {_STOP}')
            samples += map(json.loads, job.result().splitlines())

    @contextlib.contextmanager
    def files_sampled(self, places: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Sample files where they are stored, as long as one is inside.

        :param places: files, and directories of which all files are sampled
        :returns: what has the answer of ``file_sampler.py`` afterwards
        """
        answer: dict[str, Any] = {}
        source = cache.HERE / 'file_sampler.py'
        self.write(_SAMPLER, source.read_text())
        self.run(f'rm -f {_SAMPLER_STOP}')
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            # An interpreter of its own: one that has imported Nova has
            # memory that a fork would copy.
            job = pool.submit(
                self.run,
                f'/usr/bin/python3 -I -S {_SAMPLER} {_SAMPLER_STOP} '
                f'{_SAMPLER_INTERVAL} {shlex.join(places)}',
                timeout=3600,
            )
            try:
                yield answer
            finally:
                self.run(f'touch {_SAMPLER_STOP}')
            answer.update(json.loads(job.result()))

    def install(self, archive: Path) -> None:
        """Install the project's own files."""
        super().install(archive)
        # The first program that runs afterwards looks for the entry points of
        # all packages and caches them. Nothing waits for that yet.
        self.run(f'{OPERATOR} --help >/dev/null')

    def svirt_nova(self, *words: str, timeout: float = 300) -> Any:
        """Run the operator's command with -f json and parse the answer."""
        answer = self.run(
            f'{OPERATOR} --config-file /etc/nova/nova.conf '
            f'{shlex.join(words)} -f json',
            timeout=timeout,
        )
        return json.loads(answer)

    def check(self) -> tuple[int, list[Any]]:
        """Run ``svirt-nova host check``: its exit status, and its rows."""
        answer = self.run(
            f'{OPERATOR} --config-file /etc/nova/nova.conf host check '
            '-f json || echo $?',
            timeout=300,
        )
        rows, end = json.JSONDecoder().raw_decode(answer)
        return int(answer[end:].strip() or 0), rows

    def start_compute(
        self,
        plane: ControlPlane,
        extra: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Configure nova-compute and start it; ``extra`` is merged in."""
        sections = host_configuration.compute(
            plane.configuration, self.name, self.address
        )
        for group, options in extra.items():
            sections.setdefault(group, {}).update(options)
        self.write('/etc/nova/nova.conf', configuration.ini(sections))
        self.run('systemctl start --no-block nova-compute.service')

    def stop_compute(self) -> None:
        """End nova-compute; systemd forgets whether that one failed."""
        self.run(
            'systemctl stop nova-compute.service; '
            'systemctl reset-failed nova-compute.service || true',
            timeout=180,
        )

    def listen(self) -> None:
        """Let libvirtd take migrations from the machines' own network."""
        unit = '/etc/systemd/system/libvirtd-tcp.socket.d'
        self.run(f'mkdir -p {unit}')
        self.write(f'{unit}/own.conf', _LISTENER.format(address=self.address))
        self.run(
            'systemctl daemon-reload; systemctl stop libvirtd.service; '
            'systemctl start libvirtd-tcp.socket libvirtd.service'
        )

    def trust(self) -> None:
        """Let root reach the other hosts.

        By ssh, Nova finds out whether hosts share the directories of
        instances before it moves one that does not run.
        """
        self.run('mkdir -p -m 700 /root/.ssh')
        self.write('/root/.ssh/id_ed25519', self._image.ssh_key.read_text())
        self.write(
            '/root/.ssh/config',
            'StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n'
            'LogLevel ERROR\n',
        )

    def start_volumes(self, plane: ControlPlane, share: str) -> None:
        """Start cinder-volume on a directory that is exported.

        :param share: as ``mount`` names it, with its options
        """
        self.write(
            '/etc/cinder/cinder.conf',
            configuration.ini(
                host_configuration.volumes(plane.configuration, self.address)
            ),
        )
        self.write('/etc/cinder/shares', f'{share}\n')
        self.run('systemctl start --no-block cinder-volume.service')

    def compute_failed(self) -> str:
        """Say why nova-compute ended; empty while it runs."""
        state = self.run('systemctl is-active nova-compute || true').strip()
        if state != 'failed':
            return ''
        return self.run(
            f'tail -n 15 {_COMPUTE_LOG}; '
            'journalctl -u nova-compute -n 15 --no-pager'
        )

    def compute_log(self, first: int = 0) -> list[str]:
        """Give the lines of nova-compute's log, from a number on."""
        text = self.run(f'tail -n +{first + 1} {_COMPUTE_LOG}')
        return text.splitlines()

    def compute_log_length(self) -> int:
        """Count the lines of nova-compute's log."""
        return int(self.run(f'wc -l < {_COMPUTE_LOG}'))

    def load_policy(self, policy: Path | None = None) -> None:
        """Load an SELinux policy into the kernel; no file is changed.

        :param policy: a compiled one; by default, the host's own
        """
        path = _OWN_POLICY
        if policy is not None:
            path = '/run/svirt-nova-policy'
            self.run(
                f'base64 -d > {path}',
                stdin=base64.b64encode(policy.read_bytes()).decode(),
            )
        # The kernel takes it in one piece. By systemd, because the policy
        # need not let a shell do it.
        self.run(
            f'systemd-run -q --wait dd if={path} of=/sys/fs/selinux/load '
            'bs=64M iflag=fullblock conv=nocreat,notrunc'
        )

    def save_logs(self) -> None:
        """Copy logs that tell of a failure out of the host."""
        for name in (
            _COMPUTE_LOG,
            '/var/log/cinder-volume.log',
            '/var/log/audit/audit.log',
        ):
            text = self.run(f'tail -c 3000000 {name} || true', timeout=60)
            (
                self._daemons.logs / f'{self.name}-{os.path.basename(name)}'
            ).write_text(text)
        text = self.run('journalctl -b --no-pager | tail -n 3000', timeout=120)
        (self._daemons.logs / f'{self.name}-journal.log').write_text(text)
