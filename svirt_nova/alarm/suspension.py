# SPDX-License-Identifier: Apache-2.0
"""Suspends the guest that a denial accuses, and says what came of it.

libvirt can hang, so each guest is suspended in a thread of its own, of which
there are few.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from typing import Any

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.alarm import attempts
from svirt_nova.alarm import counters
from svirt_nova.denials import verdicts
from svirt_nova.host import libvirtd

LOG = logs.get_logger(__name__)

TIMEOUT = 5.0
"""Seconds until it is said that libvirt does not answer."""

_MOST = 8
_OLDEST = datetime.timedelta(minutes=1)

Suspend = Callable[[str, str], str]
"""Suspends the guest of a level, by the URI of libvirt, and says which."""


class Suspensions:
    """Suspends guests.

    :param uri: of libvirt
    :param suspend: see :func:`suspend_level`
    """

    def __init__(
        self, uri: str, counts: counters.Counters, suspend: Suspend
    ) -> None:
        self._uri = uri
        self._counts = counts
        self._suspend = suspend
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def react(self, alarm: attempts.Alarm) -> None:
        """Suspend the guest of an alarm, if the alarm is one to do so for."""
        if alarm.verdict is verdicts.Verdict.SAME_PROJECT:
            return
        if (
            not _is_recent(alarm.written)
            or alarm.source.level == attempts.UNREADABLE
        ):
            # The level may be another guest's by now.
            LOG.warning(
                'on_attack = pause: the guest of %s was not suspended, '
                'because the denial is older than a minute, or not whole',
                alarm.source.level,
            )
            return
        self._begin(alarm)

    def _begin(self, alarm: attempts.Alarm) -> None:
        """Suspend the guest of an alarm, in a thread."""
        level = alarm.source.level
        with self._lock:
            is_running = level in self._running
            is_full = len(self._running) >= _MOST
            if not is_running and not is_full:
                self._running.add(level)
        if is_running:
            return
        if is_full:
            self._tell('refused', alarm, 'libvirt has not answered for others')
            return
        done = threading.Event()
        for target in (self._act, self._watch):
            threading.Thread(
                target=target, args=(alarm, done), daemon=True
            ).start()

    def _act(self, alarm: attempts.Alarm, done: threading.Event) -> None:
        try:
            name = self._suspend(self._uri, alarm.source.level)
            self._tell('suspended', alarm, name)
        except exception.SvirtError as error:
            self._tell('failed', alarm, str(error))
        except Exception as error:
            # Whatever a library raises, it must be said that the guest runs.
            LOG.exception('A guest could not be suspended')
            self._tell('failed', alarm, type(error).__name__)
        finally:
            done.set()
            with self._lock:
                self._running.discard(alarm.source.level)

    def _watch(self, alarm: attempts.Alarm, done: threading.Event) -> None:
        if not done.wait(TIMEOUT):
            self._tell(
                'timeout',
                alarm,
                f'libvirt has not answered for {TIMEOUT:.0f} s; the guest may '
                f'still run',
            )

    def _tell(self, outcome: str, alarm: attempts.Alarm, text: str) -> None:
        self._counts.suspensions.labels(outcome).inc()
        log = LOG.warning if outcome == 'suspended' else LOG.error
        log(
            'on_attack = pause: %s: %s. The evidence: %s',
            {
                'suspended': 'the guest was suspended',
                'failed': 'the guest was NOT suspended',
                'refused': 'the guest was NOT suspended',
                'timeout': 'the guest is not suspended yet',
            }[outcome],
            text,
            alarm.line(),
        )


def _is_recent(written: str) -> bool:
    try:
        moment = datetime.datetime.fromisoformat(written)
        return datetime.datetime.now(datetime.UTC) - moment <= _OLDEST
    except (ValueError, TypeError):
        # The state file may have had anything.
        return False


def suspend_level(uri: str, level: str) -> str:
    """Suspend the running guest whose static label has a level.

    :returns: the UUID and the name of its domain
    :raises LibvirtUnreachable: libvirt does not answer, or refuses
    :raises LabelError: no guest, or more than one, has the label
    """
    with libvirtd.connected(uri, manages=True) as connection:
        import libvirt

        active = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        found = [
            each
            for each in connection.listAllDomains(active)
            if _has_level(_xml_of(each), level)
        ]
        if len(found) != 1:
            raise exception.LabelError(
                f'{len(found)} running guests have the static label {level}'
            )
        [domain] = found
        domain.suspend()
        return f'{domain.UUIDString()} ({domain.name()})'


def _xml_of(domain: Any) -> str:
    """The XML of a running domain; empty for one that has just ended.

    :raises libvirt.libvirtError: libvirt does not answer
    """
    import libvirt

    try:
        return str(domain.XMLDesc())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return ''
        raise


def _has_level(xml: str, level: str) -> bool:
    if not xml:
        return False
    from svirt_nova.host import domain_xml

    try:
        label = domain_xml.read(xml)
    except exception.SvirtError:
        # A domain whose XML makes no sense is not the one that is meant.
        LOG.debug('The label of a domain cannot be read', exc_info=True)
        return False
    return (
        label is not None
        and label.is_static
        and label.label is not None
        and str(label.label.level) == level
    )
