# SPDX-License-Identifier: Apache-2.0
"""What a host showed of its guests, and whether it is as it must be.

Pure: takes what commands on a host printed. All of it may be the work of
somebody who broke out of a guest, so it is read by the grammar of its kind
or refused; what is wrong comes back as texts for the report.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

_EXCERPT = 200

_NOT_ITS_OWN = (domain_xml.DiskLabel.SHARED, domain_xml.DiskLabel.PROJECT)


def excerpt(text: str) -> str:
    """The beginning of what a host said, fit for one line of a report."""
    printable = ''.join(
        character if character.isprintable() else ' ' for character in text
    )
    words = ' '.join(printable.split())
    return words if len(words) <= _EXCERPT else f'{words[:_EXCERPT]} ...'


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """A running instance, as its host shows it.

    :param instance: its UUID
    :param host: Nova's name of the host
    :param name: libvirt's name of its domain
    :param domain: the XML of the running domain
    :param process: the context of its QEMU process
    :param enforced: whether the host's kernel enforces SELinux
    :param files: the context of the file behind each disk, by path
    """

    instance: str
    host: str
    name: str
    domain: str
    process: str
    enforced: bool
    files: Mapping[str, str]

    @property
    def level(self) -> levels.Level:
        """The level that its process runs at.

        :raises InvalidContext: the host shows no context of an MCS policy
        """
        return contexts.Context.parse(self.process).level

    def faults(self) -> list[str]:
        """What is not confined to one level, that of the process.

        The sets of categories are compared, since the kernel rewrites
        levels and libvirt does not.
        """
        try:
            process = contexts.Context.parse(self.process)
        except exception.InvalidContext as error:
            return [self._text(f'its process has no level: {error}')]
        found = []
        if not self.enforced:
            found.append('the kernel does not enforce SELinux')
        if not process.level.categories:
            found.append(f'its process runs as {process}, with no category')
        elif process.range.low != process.level:
            found.append(f'its process has a range, {process}')
        found.extend(self._domain_faults(process))
        found.extend(self._file_faults(process.level))
        return [self._text(fault) for fault in found]

    def _text(self, fault: str) -> str:
        return f'instance {self.instance} on {self.host}: {fault}'

    def _domain_faults(self, process: contexts.Context) -> Iterator[str]:
        try:
            label = domain_xml.read(self.domain)
        except exception.SvirtError as error:
            yield f'its domain cannot be read: {error}'
            return
        if label is None or label.label is None:
            yield 'libvirt runs its domain without an SELinux label'
            return
        if not label.is_static:
            yield 'libvirt drew the level of its domain for this start'
        if label.label.level != process.level:
            yield (
                f'libvirt runs its domain at {label.label}, and its process '
                f'has {process}'
            )

    def _file_faults(self, level: levels.Level) -> Iterator[str]:
        for disk in files_of(self.domain):
            # Several instances may open such a volume, whatever it carries.
            if disk.label in _NOT_ITS_OWN:
                continue
            found = self.files.get(disk.path, '')
            try:
                carried = contexts.Context.parse(found)
            except exception.InvalidContext as error:
                yield f'{disk.path} ({disk.target}) has no level: {error}'
                continue
            if carried.level != level:
                yield (
                    f'{disk.path} ({disk.target}) carries {carried}, and its '
                    f'process runs at {level}'
                )


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


def files_of(domain: str) -> list[domain_xml.Disk]:
    """The disks of a domain that are files on its host.

    Block devices are left out: libvirt labels them in the private /dev of
    the guest, where nobody else sees them. Disks over the network, such as
    those of RBD, carry no label. An XML that cannot be read has no disks
    here; :meth:`Guest.faults` says so.
    """
    try:
        return [disk for disk in domain_xml.disks(domain) if disk.is_file]
    except exception.LabelError:
        return []


def volume_file(guest: Guest, volume: str) -> str | None:
    """The file of an attached volume; None where it is not one.

    The drivers of Nova that give the path of a file, for NFS and its
    like, keep cinder's name of the volume, which has the UUID.

    :param volume: the UUID of the volume
    """
    for disk in files_of(guest.domain):
        if volume in disk.path.rpartition('/')[2]:
            return disk.path
    return None


def overlaps(found: Mapping[str, levels.Level]) -> list[str]:
    """Which levels contain another one; none may.

    :param found: the level of each guest, by a name for it
    """
    return [
        f'{one} at {found[one]} and {other} at {found[other]}: one of them '
        f'can open the files of the other'
        for one, other in itertools.combinations(sorted(found), 2)
        if found[one].is_comparable(found[other])
    ]


def meetings(
    guest: Guest, host: str, processes: Mapping[str, str]
) -> list[str]:
    """Which other guests of a host are not kept apart from one.

    :param host: Nova's name of the host
    :param processes: the contexts of the QEMU processes of its domains,
        by their names; the guest may be among them
    """
    found = []
    for domain, text in sorted(processes.items()):
        if (host, domain) == (guest.host, guest.name):
            continue
        other = f'domain {domain} on {host}'
        try:
            level = contexts.Context.parse(text).level
        except exception.InvalidContext as error:
            found.append(f'{other} has no level: {error}')
            continue
        found.extend(
            overlaps({f'instance {guest.instance}': guest.level, other: level})
        )
    return found


def still_carried(path: str, context: str, level: levels.Level) -> list[str]:
    """Whether a file carries a level that it should have lost.

    :param context: what the file carries
    """
    try:
        found = contexts.Context.parse(context).level
    except exception.InvalidContext as error:
        return [f'the label of {path} cannot be read: {error}']
    # Without a category it is nobody's: the default of the policy.
    if found.categories and found.is_comparable(level):
        return [f'{path} still carries {found}, of the instance at {level}']
    return []


def remains(
    instance: str, domains: Collection[str], entries: Collection[str]
) -> list[str]:
    """What a host still has of an instance.

    :param domains: the UUIDs of the domains that libvirt knows there
    :param entries: the names in its directory of instances; Nova's are
        the UUID, and UUID_resize and UUID_del for a while
    """
    found = []
    if instance in domains:
        found.append(f'libvirt still has the domain of {instance}')
    found.extend(
        f'the directory {entry} is still there'
        for entry in sorted(entries)
        if entry.partition('_')[0] == instance
    )
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """What ``svirt-nova label show`` says of a level.

    :param state: held, retired, cooling, reserved or free
    :param instance: the UUID of the one that has or had it, if any
    :param hosts: Nova's names of the hosts that claim the instance
    """

    level: levels.Level
    state: str
    instance: str | None
    hosts: frozenset[str]

    @classmethod
    def parse(cls, answer: str) -> Allocation:
        """Read the answer of ``svirt-nova label show -f json``.

        :raises HostCommandFailed: it is not that
        """
        try:
            row = json.loads(answer)
            instance, hosts = row['Instance'], row['Hosts']
            if instance is not None and not isinstance(instance, str):
                raise TypeError('Instance')
            if not isinstance(hosts, list):
                raise TypeError('Hosts')
            return cls(
                level=levels.Level.parse(row['Level']),
                state=str(row['State']),
                instance=instance,
                hosts=frozenset(map(str, hosts)),
            )
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

    @property
    def _is_held(self) -> bool:
        return self.state == types.State.HELD.value

    def faults(
        self, instance: str, level: levels.Level, hosts: Collection[str]
    ) -> list[str]:
        """Where the allocator does not say what the hosts show.

        :param instance: the UUID of an instance
        :param level: the level that its hosts show
        :param hosts: Nova's names of those that should claim it
        """
        found = []
        if (self.instance, self.level) != (instance, level):
            found.append(
                f'the allocator says that instance {self.instance} has '
                f'{self.level}, where instance {instance} has {level}'
            )
        if not self._is_held:
            found.append(
                f'the level {level} of instance {instance} is {self.state}'
            )
        if self.hosts != frozenset(hosts):
            found.append(
                f'instance {instance} is claimed by {sorted(self.hosts)}, '
                f'where it should be by {sorted(hosts)}'
            )
        return found

    def still_held(self, instance: str) -> list[str]:
        """Whether a deleted instance has kept its level.

        It may be retired, cooling, free, or another instance's by now.
        """
        if self._is_held and self.instance == instance:
            return [
                f'the level {self.level} is still held by instance {instance},'
                f' which is deleted, and claimed by {sorted(self.hosts)}'
            ]
        return []
