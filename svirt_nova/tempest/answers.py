# SPDX-License-Identifier: Apache-2.0
"""What hosts and the command svirt-nova answered, read strictly.

Pure: takes what commands on a host printed. All of it may be the work of
somebody who broke out of a guest, so each answer is read by the grammar of
its kind or refused. What could be read becomes what
:mod:`svirt_nova.lifecycle.audit` compares; only what cannot be expressed as
a level is judged here, and comes back as texts for the report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import uuid
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

_EXCERPT = 200

_NOT_ITS_OWN = (domain_xml.DiskLabel.SHARED, domain_xml.DiskLabel.PROJECT)

_FREE = 'free'
"""What ``svirt-nova label show`` calls the state of a level of nobody."""


def printable(text: str) -> str:
    """Give a text without what could control a terminal."""
    return ''.join(
        character if character.isprintable() else ' ' for character in text
    )


def excerpt(text: str) -> str:
    """The beginning of what a host said, fit for one line of a report."""
    words = ' '.join(printable(text).split())
    return words if len(words) <= _EXCERPT else f'{words[:_EXCERPT]} ...'


@dataclasses.dataclass(frozen=True, slots=True)
class RunningDomain:
    """The running domain of an instance, as its host shows it.

    :param instance_uuid: the UUID of the instance
    :param host: Nova's name of the host
    :param name: libvirt's name of the domain
    :param xml: the XML of the running domain
    :param process: the context of its QEMU process
    :param is_enforcing: whether the host's kernel enforces SELinux
    :param files: the context of the file behind each disk, by path
    """

    instance_uuid: str
    host: str
    name: str
    xml: str
    process: str
    is_enforcing: bool
    files: Mapping[str, str]

    @property
    def level(self) -> levels.Level | None:
        """The level of the process; None where the host shows no context."""
        try:
            return contexts.Context.parse(self.process).level
        except exception.InvalidContext:
            return None

    def guest(self) -> audit.Guest | None:
        """How libvirt labels the domain; None if its XML cannot be read."""
        try:
            label = domain_xml.read(self.xml)
        except exception.SvirtError:
            return None
        return audit.Guest(
            self.instance_uuid,
            is_labelled=label is not None and label.label is not None,
            is_static=label is not None and label.is_static,
        )

    def sights(self) -> list[audit.Sight]:
        """At which levels the process, the domain and the files are.

        There are none if the process has no level that the rest could be
        compared with.
        """
        if self.level is None:
            return []
        return _read_contexts(self.instance_uuid, self._contexts())[0]

    def faults(self) -> list[str]:
        """What is wrong with the domain beside its levels.

        The kernel does not enforce SELinux, the process runs with a range
        of levels, or something shows no level at all.
        """
        found = []
        if not self.is_enforcing:
            found.append('the kernel does not enforce SELinux')
        if self.level is not None:
            process = contexts.Context.parse(self.process)
            if process.range.low != process.level:
                found.append(f'the process has a range of levels, {process}')
        try:
            domain_xml.read(self.xml)
        except exception.SvirtError as error:
            found.append(f'the domain in libvirt cannot be read: {error}')
        found += _read_contexts(self.instance_uuid, self._contexts())[1]
        return [
            f'instance {self.instance_uuid} on {self.host}: {each}'
            for each in found
        ]

    def _contexts(self) -> Iterator[tuple[str, str]]:
        """Give what should carry the level, each with its context."""
        yield 'the process', self.process
        label = None
        with contextlib.suppress(exception.SvirtError):
            label = domain_xml.read(self.xml)
        if label is not None and label.label is not None:
            yield 'the domain in libvirt', str(label.label)
        for disk in files_of(self.xml):
            # Several instances may open such a volume, whatever it carries.
            if disk.label not in _NOT_ITS_OWN:
                name = printable(f'{disk.path} ({disk.target})')
                yield name, self.files.get(disk.path, '')


@dataclasses.dataclass(frozen=True, slots=True)
class HostState:
    """What was asked of a host, as it showed it.

    :param name: Nova's name of the host
    :param running: running domains of the instances that are looked at
    :param processes: the contexts of the QEMU processes of all running
        domains, by their names
    :param domains: the UUIDs of all domains that libvirt knows
    :param directories: the names in the directory of instances; Nova's are
        the UUID, and UUID_resize and UUID_del for a while
    """

    name: str
    running: Collection[RunningDomain] = ()
    processes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    domains: Collection[str] = ()
    directories: Collection[str] = ()

    def view(self, instances: Collection[str]) -> audit.HostView:
        """Give what an audit of some instances compares.

        Of the other guests of the host, only libvirt's names are known, so
        they count as guests that are no instances.

        :param instances: the UUIDs of the instances
        """
        guests = (each.guest() for each in self.running)
        traces = {each: tuple(self._traces(each)) for each in instances}
        return audit.HostView(
            self.name,
            frozenset(each for each, found in traces.items() if found),
            guests=tuple(each for each in guests if each is not None),
            sights=(
                *(sight for each in self.running for sight in each.sights()),
                *_read_contexts(None, self._others())[0],
            ),
            traces=traces,
        )

    def faults(self) -> list[str]:
        """What is wrong on the host beside levels and their places."""
        return [
            *(fault for each in self.running for fault in each.faults()),
            *(
                f'host {self.name}: {fault}'
                for fault in _read_contexts(None, self._others())[1]
            ),
        ]

    def _traces(self, instance_uuid: str) -> Iterator[str]:
        running = {each.instance_uuid for each in self.running}
        if instance_uuid in self.domains or instance_uuid in running:
            yield 'the domain in libvirt'
        for entry in sorted(self.directories):
            if entry.partition('_')[0] == instance_uuid:
                yield f'the directory {printable(entry)}'

    def _others(self) -> Iterator[tuple[str, str]]:
        """Give each other guest of the host, with its process's context."""
        own = {each.name for each in self.running}
        for name, text in sorted(self.processes.items()):
            if name not in own:
                yield f'domain {printable(name)}', text


def _read_contexts(
    instance_uuid: str | None, carried: Iterable[tuple[str, str]]
) -> tuple[list[audit.Sight], list[str]]:
    """Read the contexts of what belongs to one instance, or to none.

    :param carried: what carries a context, each with that
    :returns: the levels, and for each text that is no context what is wrong
    """
    sights, faults = [], []
    for what, text in carried:
        try:
            context = contexts.Context.parse(text)
        except exception.InvalidContext as error:
            faults.append(f'{what} has no level: {error}')
        else:
            sights.append(
                audit.Sight(
                    instance_uuid, f'{what} with {context}', context.level
                )
            )
    return sights, faults


def split_domain(answer: str) -> tuple[str, str]:
    """Read what ``virsh 'domname UUID; dumpxml UUID'`` prints.

    :returns: the domain's name and its XML
    :raises HostCommandFailed: it is not that, or the name, which leads to
        a file, has a slash: libvirt accepts no such name
    """
    name, begin, rest = answer.partition('<domain')
    name = name.strip()
    if not begin or not name or '/' in name or '\n' in name:
        raise exception.HostCommandFailed(
            f'virsh answered no domain but {excerpt(answer)!r}'
        )
    return name, begin + rest


def files_of(xml: str) -> list[domain_xml.Disk]:
    """The disks of a domain that are files on its host.

    Block devices are left out: libvirt labels them in the private /dev of
    the guest, where nobody else sees them. Disks over the network, such as
    those of RBD, carry no label. An XML that cannot be read has no disks
    here; :meth:`RunningDomain.faults` says so.
    """
    try:
        return [disk for disk in domain_xml.disks(xml) if disk.is_file]
    except exception.LabelError:
        return []


def volume_file(domain: RunningDomain, volume: str) -> str | None:
    """The file of an attached volume; None where it is not one.

    The drivers of Nova that give the path of a file, for NFS and its
    like, keep cinder's name of the volume, which has the UUID.

    :param volume: the UUID of the volume
    """
    for disk in files_of(domain.xml):
        if volume in disk.path.rpartition('/')[2]:
            return disk.path
    return None


def level_left(path: str, context: str, level: levels.Level) -> list[str]:
    """Say whether a file carries a level that it should have lost.

    :param context: what the file carries
    """
    file = printable(path)
    try:
        found = contexts.Context.parse(context).level
    except exception.InvalidContext as error:
        return [f'the label of {file} cannot be read: {error}']
    # A level without categories is the default of the policy: it belongs to
    # no instance.
    if found.categories and found.is_comparable(level):
        return [f'{file} still carries {found}, of the instance at {level}']
    return []


def read_allocation(answer: str) -> types.Allocation | None:
    """Read the answer of ``svirt-nova label show -f json``.

    :returns: what the allocator says of a level; None where it is free
    :raises HostCommandFailed: it is not that
    """
    try:
        return _allocation(json.loads(answer))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise exception.HostCommandFailed(
            f'svirt-nova answered what cannot be read: {excerpt(answer)!r}'
        ) from error


def _allocation(row: Any) -> types.Allocation | None:
    """Read the columns of an allocation.

    :raises ValueError: a value is none of its column, or the state is not
        that of such an allocation; so do KeyError, TypeError and
        AttributeError tell
    """
    allocation = types.Allocation(
        level=levels.Level.parse(row['Level']),
        instance_uuid=_uuid(row['Instance']),
        project_id=_text(row['Project']),
        hosts=frozenset(map(_name, _list(row['Hosts']))),
        created_at=_moment(row['Since']),
        retired_at=_moment(row['Retired']),
        note=_text(row['Note']) or '',
    )
    is_nobodys = allocation.instance_uuid is None and not allocation.hosts
    if row['State'] == _FREE and is_nobodys:
        return None
    if row['State'] != allocation.state.value:
        raise ValueError('State')
    return allocation


def _uuid(value: Any) -> str | None:
    if value is None:
        return None
    if value != str(uuid.UUID(value)):
        raise ValueError('UUID')
    return str(value)


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError('text')
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError('name')
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError('list')
    return value


def _moment(value: Any) -> datetime.datetime | None:
    if value is None:
        return None
    return datetime.datetime.fromisoformat(value)
