# SPDX-License-Identifier: Apache-2.0
"""A host whose every effect is a step at which its process may die.

Domains and labels are files, so that they outlive a process that is killed.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any

from lxml import etree
from nova import exception as nova_exception

from svirt_nova.allocator import base
from svirt_nova.mcs import contexts
from tests import samples

CAPABILITIES = (
    '<capabilities><host><secmodel><model>selinux</model><doi>0</doi>'
    f"<baselabel type='kvm'>{samples.PROCESS_TEXT}</baselabel>"
    f"<baselabel type='qemu'>{samples.PROCESS_TEXT}</baselabel>"
    '</secmodel></host></capabilities>'
)


class Died(BaseException):
    """The process is gone: nothing may catch this."""


class Steps:
    """Counts what a process does to the world, and ends it at a step.

    :param last: the number of the step that is not survived
    :param kill: whether the process is really killed there
    """

    def __init__(self, last: int | None = None, kill: bool = False) -> None:
        self.names: list[str] = []
        self.watch: Callable[[str], None] | None = None
        self._last = last
        self._kill = kill
        self._dead = False

    def _reach(self, name: str) -> None:
        if self._dead:
            # Such as a finally clause, which a dead process does not run.
            raise Died(name)
        if self.watch is not None:
            self.watch(name)
        self.names.append(name)
        if len(self.names) - 1 == self._last:
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            self._dead = True
            raise Died(name)

    def reads(self, name: str) -> None:
        self._reach(name)

    @contextlib.contextmanager
    def changes(self, name: str) -> Any:
        self._reach(f'before {name}')
        yield
        self._reach(f'after {name}')


class WatchedAllocator:
    """An allocator whose calls are steps."""

    _READS = frozenset(['get', 'find', 'list', 'space', 'stats'])

    def __init__(self, allocator: base.Allocator, steps: Steps) -> None:
        self._allocator = allocator
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._allocator, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if name in self._READS:
                self._steps.reads(f'store {name}')
                return method(*args, **kwargs)
            with self._steps.changes(f'store {name}'):
                return method(*args, **kwargs)

        return call


class Files:
    """Labels as the content of the files that carry them."""

    def __init__(self) -> None:
        self.steps = Steps()

    def label(self, root: str, path: str, level: Any) -> None:
        with self.steps.changes(f'label {os.path.basename(path)}'):
            write(
                path, str(contexts.Context.parse(samples.IMAGE_TEXT).at(level))
            )

    def restore(self, root: str, path: str, given: Any) -> None:
        found = self.read(path)
        if found is not None and found.level in given:
            with self.steps.changes(f'restore {os.path.basename(path)}'):
                write(path, '')

    @staticmethod
    def read(path: str) -> contexts.Context | None:
        text = pathlib.Path(path).read_text()
        return contexts.Context.parse(text) if text else None


def write(path: str | pathlib.Path, text: str) -> None:
    """Replace a file at once, as a database or libvirtd would."""
    temporary = pathlib.Path(f'{path}.new')
    temporary.write_text(text)
    temporary.rename(path)


class Domain:
    """A domain, in the roles of nova's Guest and libvirt's virDomain."""

    def __init__(self, host: Hypervisor, uuid: str) -> None:
        self.host = host
        self.uuid = uuid
        self.name = f'instance-{uuid}'
        self._domain = self
        self._definition = host.directory / f'{uuid}.xml'
        self._running = host.directory / f'{uuid}.run'

    def xml(self) -> str:
        root = etree.fromstring(self._definition.read_text())
        label = root.find('seclabel')
        if label is not None:
            process = contexts.Context.parse(label.findtext('label'))
            etree.SubElement(label, 'imagelabel').text = str(
                contexts.Context.parse(samples.IMAGE_TEXT).at(process.level)
            )
        return str(etree.tostring(root, encoding='unicode'))

    def get_xml_desc(self, **kwargs: Any) -> str:
        self.host.steps.reads('libvirt XML')
        return self.xml()

    def securityLabel(self) -> list[Any]:  # noqa: N802
        self.host.steps.reads('libvirt process label')
        root = etree.fromstring(self._definition.read_text())
        return [root.findtext('seclabel/label') or samples.PROCESS_TEXT, True]

    @property
    def is_running(self) -> bool:
        return self._running.exists()

    def define(self, xml: str) -> None:
        with self.host.steps.changes('libvirt define'):
            write(self._definition, xml)

    def launch(self) -> None:
        with self.host.steps.changes('libvirt launch'):
            self._running.touch()

    def resume(self) -> None:
        with self.host.steps.changes('libvirt resume'):
            pass

    def poweroff(self) -> None:
        with self.host.steps.changes('libvirt destroy'):
            self._running.unlink(missing_ok=True)

    def migrate(self, *, destination_xml: str) -> None:
        peer = self.host.peer
        if peer is None:
            raise nova_exception.MigrationError(reason='it is refused')
        arrived = Domain(peer, self.uuid)
        with self.host.steps.changes('libvirt migrate'):
            write(arrived._definition, destination_xml)
            arrived._running.touch()
            arrived.label_disks()
        with self.host.steps.changes('libvirt end of migration'):
            self._running.unlink()
            self._definition.unlink()

    def label_disks(self) -> None:
        """Label the files of a domain, as libvirt does at its start."""
        root = etree.fromstring(self._definition.read_text())
        process = contexts.Context.parse(root.findtext('seclabel/label'))
        for source in root.findall('devices/disk/source'):
            write(
                source.get('file'),
                str(
                    contexts.Context.parse(samples.IMAGE_TEXT).at(
                        process.level
                    )
                ),
            )

    def undefine(self) -> None:
        with self.host.steps.changes('libvirt undefine'):
            self._definition.unlink(missing_ok=True)


class Hypervisor:
    """libvirt on one host, in the role of nova's Host."""

    def __init__(
        self, name: str, directory: pathlib.Path, instances: pathlib.Path
    ) -> None:
        self.name = name
        self.directory = directory
        self.instances = instances
        self.steps = Steps()
        # Where live migrations arrive.
        self.peer: Hypervisor | None = None
        directory.mkdir(parents=True, exist_ok=True)
        instances.mkdir(parents=True, exist_ok=True)

    def domains(self) -> list[Domain]:
        return [
            Domain(self, uuid)
            for uuid in sorted(
                {
                    path.stem
                    for path in self.directory.iterdir()
                    if path.suffix in ('.xml', '.run')
                }
            )
        ]

    def get_connection(self) -> Hypervisor:
        return self

    def getCapabilities(self) -> str:  # noqa: N802
        return CAPABILITIES

    def list_guests(self, only_running: bool = True) -> list[Domain]:
        self.steps.reads('libvirt list')
        return [
            domain
            for domain in self.domains()
            if domain.is_running or not only_running
        ]

    def get_guest(self, instance: Any) -> Domain:
        self.steps.reads('libvirt lookup')
        for domain in self.domains():
            if domain.uuid == instance.uuid:
                return domain
        raise nova_exception.InstanceNotFound(instance_id=instance.uuid)
