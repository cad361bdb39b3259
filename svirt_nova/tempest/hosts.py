# SPDX-License-Identifier: Apache-2.0
"""Compute hosts, looked at over ssh.

The program ssh is used, rather than a library: thus proxies, agents and keys
are those of the operator's own ssh configuration, and the key of a host is
checked. :mod:`svirt_nova.tempest.answers` reads what a host prints.
"""

from __future__ import annotations

import shlex
import subprocess
import uuid
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.tempest import access
from svirt_nova.tempest import answers

_SSH_FAILED = 255
"""The exit status of ssh itself, by its manual."""

_ENFORCE = '/sys/fs/selinux/enforce'


class Host:
    """A compute host.

    :param name: Nova's name of the host
    :param target: where its ssh server listens
    :param ssh: how ssh is used, and where things are on the host
    """

    def __init__(
        self, name: str, target: access.Target, ssh: access.Access
    ) -> None:
        self.name = name
        self._target = target
        self._access = ssh

    def _quoted(self, words: Iterable[str]) -> str:
        return shlex.join([*self._access.become, *words])

    def run(self, words: Sequence[str], timeout: int | None = None) -> str:
        """Run one command on the host, as root, and give what it printed.

        :param timeout: seconds; by default those of the access
        :raises HostUnreachable: ssh fails, or there is no answer in time
        :raises HostCommandFailed: the command fails
        """
        return self._shell(self._quoted(words), timeout)

    def _shell(self, command: str, timeout: int | None = None) -> str:
        """Run a line of shell on the host, all of whose words are quoted."""
        seconds = timeout or self._access.timeout
        try:
            done = subprocess.run(
                self._access.arguments(self._target, command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise exception.HostUnreachable(
                f'host {self.name} ({self._target}) gave no answer within '
                f'{seconds} s to {answers.excerpt(command)!r}; see '
                f'[svirt_nova] remote_timeout and manage_timeout in '
                f'tempest.conf'
            ) from error
        except OSError as error:
            raise exception.HostUnreachable(
                f'{self._access.program} cannot be run on this machine: '
                f'{error.strerror}; install an OpenSSH client'
            ) from error
        said = answers.excerpt(done.stderr.decode(errors='replace'))
        if done.returncode == _SSH_FAILED:
            raise exception.HostUnreachable(
                f'host {self.name} cannot be reached at {self._target}: '
                f'{said or "ssh gave no reason"}; see the options of ssh in '
                f'[svirt_nova] of tempest.conf'
            )
        if done.returncode:
            raise exception.HostCommandFailed(
                f'on host {self.name}, {answers.excerpt(command)!r} ended '
                f'with {done.returncode}: {said or "it gave no reason"}'
            )
        return done.stdout.decode(errors='replace')

    def _virsh(self, *commands: str) -> str:
        # virsh takes several commands from one word.
        return self.run(
            [
                'virsh',
                '-q',
                '-c',
                self._access.libvirt_uri,
                '; '.join(commands),
            ]
        )

    def _process_context(self, domain: str) -> str:
        """The shell that prints the context of a domain's process."""
        file = f'{self._access.run_path}/{domain}.pid'
        pid = self._quoted(['cat', '--', file])
        # The shell on the host puts the process in: no quoting of ours can.
        return f'{self._quoted(["cat"])} /proc/"$({pid})"/attr/current'

    def running_domain(self, instance_uuid: str) -> answers.RunningDomain:
        """What the host shows of a running instance.

        :raises HostError: the instance has no running domain here, or the
            host cannot be read
        :raises ValueError: it is no UUID
        """
        identity = str(uuid.UUID(instance_uuid))
        name, domain = answers.split_domain(
            self._virsh(f'domname {identity}', f'dumpxml {identity}')
        )
        paths = [disk.path for disk in answers.files_of(domain)]
        parts = [
            self._process_context(name),
            'echo',
            self._quoted(['cat', _ENFORCE]),
            'echo',
        ]
        if paths:
            parts.append(self._quoted(['stat', '-c', '%C', '--', *paths]))
        lines = _lines(self._shell(' && '.join(parts)))
        if len(lines) != 2 + len(paths):
            raise exception.HostCommandFailed(
                f'host {self.name} showed the labels of instance {identity} '
                f'in {len(lines)} lines where {2 + len(paths)} are needed: '
                f'{answers.excerpt(" / ".join(lines))!r}'
            )
        return answers.RunningDomain(
            instance_uuid=identity,
            host=self.name,
            name=name,
            xml=domain,
            process=lines[0],
            is_enforcing=lines[1] == '1',
            files=dict(zip(paths, lines[2:], strict=True)),
        )

    def process_contexts(self) -> dict[str, str]:
        """The contexts of the processes of all running domains, by name.

        A domain that stops while it is looked at is left out.

        :raises HostError: the host cannot be read
        """
        names = [
            name
            for name in _lines(self._virsh('list --name'))
            if name and '/' not in name
        ]
        if not names:
            return {}
        found = _lines(
            self._shell(
                '; '.join(
                    f'{self._process_context(name)} 2>/dev/null; echo'
                    for name in names
                )
            )
        )
        return {
            name: context
            for name, context in zip(names, found, strict=False)
            if context
        }

    def domain_uuids(self) -> frozenset[str]:
        """The UUIDs of all domains that libvirt knows, running or not.

        :raises HostError: the host cannot be read
        """
        return frozenset(self._virsh('list --all --uuid').split())

    def instance_directories(self) -> frozenset[str]:
        """The names in Nova's directory of instances.

        :raises HostError: the host cannot be read
        """
        return frozenset(
            _lines(self.run(['ls', '-A', '--', self._access.instances_path]))
        )

    def file_context(self, path: str) -> str | None:
        """The context of a file; None where there is no such file.

        :raises HostError: the host cannot be read
        """
        there = self._quoted(['ls', '-d', '--', path])
        label = self._quoted(['stat', '-c', '%C', '--', path])
        lines = _lines(
            self._shell(f'if {there} >/dev/null 2>&1; then {label}; fi')
        )
        return lines[0] if lines else None


class LabelCommand:
    """The command ``svirt-nova label`` on one of the hosts.

    :param host: where it is run
    :param command: the words of the command svirt-nova there, without a
        subcommand
    :param timeout: seconds for one run
    """

    def __init__(
        self, host: Host, command: Sequence[str], timeout: int
    ) -> None:
        self._host = host
        self._command = tuple(command)
        self._timeout = timeout

    def allocation_of(self, instance_uuid: str) -> types.Allocation:
        """What the allocator says of an instance.

        :raises HostError: the command fails, as for an instance that holds
            no level, or its answer is about something else
        """
        found = self._show(instance_uuid)
        if found is None or found.instance_uuid != instance_uuid:
            raise self._is_about_another(instance_uuid, found)
        return found

    def holder_of(self, level: levels.Level) -> types.Allocation | None:
        """What the allocator says of a level; None where it is free.

        :raises HostError: the command fails, or its answer is about
            something else
        """
        found = self._show(str(level))
        if found is not None and found.level != level:
            raise self._is_about_another(str(level), found)
        return found

    def _show(self, target: str) -> types.Allocation | None:
        return answers.read_allocation(
            self._host.run(
                [*self._command, 'label', 'show', target, '-f', 'json'],
                self._timeout,
            )
        )

    def _is_about_another(
        self, target: str, found: types.Allocation | None
    ) -> exception.HostCommandFailed:
        answer = 'a free level'
        if found is not None:
            answer = f'{found.level} of instance {found.instance_uuid}'
        return exception.HostCommandFailed(
            f'svirt-nova on host {self._host.name} was asked about {target} '
            f'and answered about {answer}; see [svirt_nova] manage_command '
            f'in tempest.conf'
        )


def _lines(text: str) -> list[str]:
    if not text:
        return []
    # The kernel ends a context with a NUL.
    return [line.rstrip('\0') for line in text.removesuffix('\n').split('\n')]


def configured(options: Any) -> dict[str, Host]:
    """The hosts that the group [svirt_nova] of tempest.conf names.

    :raises InvalidOption: a host has no usable target
    """
    ssh = access.configured(options)
    return {
        name: Host(name, access.Target.parse(text), ssh)
        for name, text in options.hosts.items()
    }


def label_command(
    options: Any, known: Mapping[str, Host]
) -> LabelCommand | None:
    """The command svirt-nova; None where no host is named for it.

    :param known: the hosts of ``hosts``, by name
    :raises InvalidOption: the host named for it is not one of them
    """
    if not options.manage_host:
        return None
    return LabelCommand(
        named(options.manage_host, 'manage_host', known),
        shlex.split(options.manage_command),
        options.manage_timeout,
    )


def named(name: str, option: str, known: Mapping[str, Host]) -> Host:
    """The host that an option of [svirt_nova] names.

    :param known: the hosts of ``hosts``, by name
    :raises InvalidOption: it is none of them
    """
    try:
        return known[name]
    except KeyError:
        raise exception.InvalidOption(
            f'[svirt_nova] {option} in tempest.conf names {name}, which is '
            f'not one of [svirt_nova] hosts: {", ".join(sorted(known))}'
        ) from None
