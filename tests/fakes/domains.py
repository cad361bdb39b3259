# SPDX-License-Identifier: Apache-2.0
"""A domain, in the roles of nova's ``Guest`` and libvirt's ``virDomain``.

What a domain is, is in :mod:`tests.fakes.domain_records`.
"""

from __future__ import annotations

import os
from typing import Any
from typing import TYPE_CHECKING

from nova import exception as nova_exception
from nova.compute import power_state
from nova.virt.libvirt import host as libvirt_host

from svirt_nova.mcs import contexts
from tests import samples
from tests.fakes import domain_records

if TYPE_CHECKING:
    from tests.fakes import libvirt

UNREAD = 'its labels were not read back before its CPUs ran'
UNLABELLED = 'its files were not labelled before it was started'


def error(text: str) -> Exception:
    """What libvirt raises."""
    raised: Exception = libvirt_host.libvirt.libvirtError(text)
    return raised


class Domain:
    """A domain of a host.

    :param host: the libvirt that it is of
    """

    def __init__(self, host: libvirt.Libvirt, uuid: str) -> None:
        self._host = host
        self.uuid = uuid
        self.name = f'instance-{uuid}'
        # Where the driver looks for the virDomain of a Guest.
        self._domain = self

    @property
    def _record(self) -> domain_records.Record:
        found = self._host.record(self.uuid)
        if found is None:
            raise error(f'no domain {self.uuid}')
        return found

    def _put(self, record: domain_records.Record) -> None:
        is_there = record.definition is not None or record.live is not None
        self._host.put(self.uuid, record if is_there else None)

    # What is asked of it

    def get_xml_desc(
        self,
        dump_inactive: bool = False,
        dump_sensitive: bool = False,
        dump_migratable: bool = False,
    ) -> str:
        self._host.steps.reach('libvirt XML')
        record = self._record
        if record.live is None or (dump_inactive and record.definition):
            assert record.definition is not None
            return record.definition
        self._host.was_read.add((self.uuid, 'XML'))
        return domain_records.as_running(record.live)

    def securityLabel(self) -> list[Any]:  # noqa: N802
        self._host.steps.reach('libvirt process label')
        record = self._record
        if record.live is None:
            return ['', False]
        self._host.was_read.add((self.uuid, 'process'))
        found = domain_records.labels_of(record.live).process
        return [record.process or found or samples.PROCESS_TEXT, True]

    def is_active(self) -> bool:
        return self._record.live is not None

    def get_power_state(self, host: Any) -> int:
        record = self._record
        if record.live is None:
            return int(power_state.SHUTDOWN)
        return int(
            power_state.PAUSED if record.is_paused else power_state.RUNNING
        )

    def has_persistent_configuration(self) -> bool:
        return self._record.definition is not None

    # What is done to it

    def define(self, xml: str) -> None:
        with self._host.steps.changes('libvirt define'):
            record = self._host.record(self.uuid) or domain_records.Record()
            record = record.but(definition=xml)
            if record.live is None:
                record = record.but(is_new=True, is_unread=True, omitted='')
            self._put(record)

    def launch(self, pause: bool = False) -> None:
        with self._host.steps.changes('libvirt launch'):
            record = self._record
            if record.live is not None:
                raise error('the domain is running already')
            xml = record.saved or record.definition
            assert xml is not None
            found = domain_records.labels_of(xml)
            omitted = self._label_files(found, record.is_new)
            self._forget_what_was_read(found)
            if not pause and record.is_unread:
                omitted = UNREAD
            process = ''
            if self.uuid in self._host.misapplied:
                self._host.misapplied.discard(self.uuid)
                process = f'{samples.PROCESS_TEXT}:c1020,c1023'
            self._put(
                record.but(
                    live=xml,
                    saved=None,
                    is_paused=pause,
                    process=process,
                    is_new=False,
                    omitted=omitted,
                )
            )

    def _label_files(self, found: domain_records.Labels, is_new: bool) -> str:
        """Label the files of a domain, as libvirt does at its start.

        QEMU must get at those that libvirt leaves alone, too.

        :param is_new: whether those in the instance's own directory should
            have been labelled before
        :returns: what should have been done before
        """
        omitted = ''
        for path in found.files:
            if not self._host.storage.exists(path):
                raise error(f'cannot open {path}')
            if found.level is None:
                continue
            is_own = path.startswith(f'{self._host.instances}/{self.uuid}/')
            text = self._host.storage.read(path)
            level = contexts.Context.parse(text).level
            is_refused = os.path.basename(path) in self._host.files.refused
            if path in found.kept and not is_refused:
                if level != found.level:
                    raise error(f'cannot open {path}: Permission denied')
                continue
            if is_new and is_own and level != found.level:
                omitted = UNLABELLED
            self._host.files.put(path, found.level)
        return omitted

    def _forget_what_was_read(self, found: domain_records.Labels) -> None:
        for what in ('XML', 'process'):
            self._host.was_read.discard((self.uuid, what))
        self._host.files.was_read.difference_update(found.files)

    def _is_read_back(self, live: str) -> bool:
        files = domain_records.labels_of(live).files
        return {(self.uuid, 'XML'), (self.uuid, 'process')}.issubset(
            self._host.was_read
        ) and self._host.files.was_read.issuperset(files)

    def resume(self) -> None:
        """Let its CPUs run."""
        with self._host.steps.changes('libvirt resume'):
            record = self._record
            if record.live is None:
                raise error('the domain is not running')
            omitted = record.omitted
            if record.is_unread and not self._is_read_back(record.live):
                omitted = UNREAD
            self._put(
                record.but(is_paused=False, is_unread=False, omitted=omitted)
            )

    def pause(self) -> None:
        with self._host.steps.changes('libvirt suspend'):
            self._put(self._record.but(is_paused=True))

    def poweroff(self) -> None:
        with self._host.steps.changes('libvirt destroy'):
            record = self._record
            if record.live is not None:
                self.end()

    shutdown = poweroff

    def end(self) -> None:
        """End the process; libvirt takes the labels of its files off."""
        record = self._record
        assert record.live is not None
        labels = domain_records.labels_of(record.live)
        for path in labels.files:
            if path not in labels.kept and self._host.storage.exists(path):
                self._host.files.make(path)
        self._put(record.but(live=None, is_paused=False, omitted=''))

    def save_memory_state(self) -> None:
        with self._host.steps.changes('libvirt managed save'):
            saved = self._record.live
            if saved is None:
                raise error('the domain is not running')
            self.end()
            if self._host.record(self.uuid) is not None:
                self._put(self._record.but(saved=saved))

    def delete_configuration(self) -> None:
        """Undefine it; one that runs is left as a transient one."""
        with self._host.steps.changes('libvirt undefine'):
            record = self._host.record(self.uuid)
            if record is not None:
                self._put(record.but(definition=None, saved=None))

    # Disks

    def attach_device(
        self, config: Any, persistent: bool = False, live: bool = False
    ) -> None:
        with self._host.steps.changes('libvirt attach'):
            record = self._record
            disk = config.to_xml()
            if record.definition is not None:
                record = record.but(
                    definition=domain_records.with_disk(
                        record.definition, disk
                    )
                )
            if record.live is not None:
                record = record.but(
                    live=domain_records.with_disk(record.live, disk)
                )
                self._label_files(domain_records.labels_of(record.live), False)
            self._put(record)

    def detach_device(self, target: str) -> None:
        with self._host.steps.changes('libvirt detach'):
            record = self._record
            if record.definition is not None:
                record = record.but(
                    definition=domain_records.without_disk(
                        record.definition, target
                    )
                )
            if record.live is not None:
                self._take_off(record.live, target)
                record = record.but(
                    live=domain_records.without_disk(record.live, target)
                )
            self._put(record)

    def snapshot(self, conf: Any, reuse_ext: bool = False) -> None:
        """Go on in a new file of a disk; the XML of a disk stays."""
        with self._host.steps.changes('libvirt snapshot'):
            conf.to_xml()

    def swap_disk(self, target: str, config: Any) -> None:
        """Copy a disk to another, and go on with that."""
        with self._host.steps.changes('libvirt block copy'):
            record = self._record
            if record.live is None:
                raise error('the domain is not running')
            self._take_off(record.live, target)
            live = domain_records.with_disk(record.live, config.to_xml())
            self._label_files(domain_records.labels_of(live), False)
            self._put(record.but(live=live))

    def _take_off(self, xml: str, target: str) -> None:
        for path in domain_records.files_at(xml, target):
            if self._host.storage.exists(path):
                self._host.files.make(path)

    # Migration

    def migrate(self, destination: str, *, destination_xml: str) -> None:
        peer = self._host.peers[destination]
        if self.uuid in peer.refused:
            peer.refused.discard(self.uuid)
            raise nova_exception.MigrationError(reason='it is refused')
        arrived = Domain(peer, self.uuid)
        with self._host.steps.changes('libvirt migrate'):
            record = self._record
            if record.live is None or peer.record(self.uuid) is not None:
                raise nova_exception.MigrationError(reason='it cannot')
            arrived._label_files(
                domain_records.labels_of(destination_xml), False
            )
            # QEMU is there, and waits for the memory of the guest.
            arrived._put(
                record.but(
                    definition=None, live=destination_xml, is_paused=True
                )
            )
        with self._host.steps.changes('libvirt end of migration'):
            if self._record.live is None:
                raise nova_exception.MigrationError(reason='it has ended')
            arrived._put(
                record.but(definition=destination_xml, live=destination_xml)
            )
            # The labels stay: the guest runs with them.
            self._host.put(self.uuid, None)
