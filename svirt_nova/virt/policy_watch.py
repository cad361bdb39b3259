# SPDX-License-Identifier: Apache-2.0
"""Asks the kernel again and again whether it keeps guests apart.

A policy can change while nova-compute runs: by "semanage permissive", by
"setenforce 0", by a module. It takes microseconds to ask, so that it is asked
before every start.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from collections.abc import Sequence

import nova.conf

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.host import kernel
from svirt_nova.host import mounts
from svirt_nova.host import policy
from svirt_nova.virt import compute_metrics
from svirt_nova.virt import confinement
from svirt_nova.virt import faults

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)


def _find_at_rest() -> dict[policy.Party, str]:
    """What files carry that no guest has open.

    :raises UnconfinedHost: the kernel does not answer
    """
    found = kernel.at_rest(CONF.instances_path)
    if not mounts.file_system(CONF.instances_path).takes_labels:
        # All files there have one context, and each of them is refused, or
        # accepted, as [svirt] unlabeled_storage says.
        found.pop(policy.Party.NEW_FILE, None)
    return found


class PolicyWatch:
    """Watches whether the kernel keeps the guests of this host apart.

    It is safe to use from several threads.

    :param confined: how this host confines guests
    """

    def __init__(self, confined: confinement.Confinement) -> None:
        self._confined = confined
        self._lock = threading.Lock()
        # What files and terminals carry; None before the first look.
        self._at_rest: dict[policy.Party, str] | None = None
        self._told: list[policy.Problem] = []
        self._told_booleans: list[str] = []

    def problems(self) -> list[policy.Problem]:
        """Ask the kernel.

        :returns: what is wrong; what must keep guests from running comes
            first
        """
        try:
            kernel.check_enforcing()
            at_rest = self._at_rest
            if at_rest is None:
                at_rest = self._at_rest = _find_at_rest()
            return [*dict.fromkeys(self._ask_for_each_type(at_rest))]
        except (exception.LabelError, OSError) as error:
            return [policy.Problem(str(error))]

    def _ask_for_each_type(
        self, at_rest: dict[policy.Party, str]
    ) -> Iterator[policy.Problem]:
        main = self._confined.process
        questions: Sequence[policy.Question] = policy.QUESTIONS
        if CONF.libvirt.virt_type == confinement.EMULATED:
            questions = (*questions, policy.EMULATION)
        for process in dict.fromkeys([main, *self._confined.others.values()]):
            objects = policy.parties(process, self._confined.image)
            objects |= kernel.terminals(
                objects[policy.Party.OWN_PROCESS],
                objects[policy.Party.OTHER_PROCESS],
            )
            yield from policy.examine(
                objects | at_rest,
                kernel.ask,
                questions if process == main else policy.QUESTIONS,
            )

    def keeps_apart(self) -> bool:
        """Ask the kernel whether it keeps the guests of this host apart."""
        return not any(each.is_fatal for each in self.problems())

    def look_again(self) -> None:
        """Ask the kernel, look at the files anew, and tell what changed."""
        self._at_rest = None
        self._tell(self.problems())
        self._tell_booleans()

    def check(self) -> None:
        """Ask the kernel before a guest is started.

        :raises UnconfinedHost: it would not keep the guest apart, and
            [svirt] mode is enforcing
        """
        found = self.problems()
        if any(each.is_fatal for each in found):
            # An operator may just have given files the right labels.
            self._at_rest = None
            found = self.problems()
        self._tell(found)
        fatal = [str(each) for each in found if each.is_fatal]
        if fatal and faults.is_enforcing():
            raise exception.UnconfinedHost('; '.join(fatal))

    def _tell(self, found: list[policy.Problem]) -> None:
        """Log what differs from what was last logged."""
        with self._lock:
            told, self._told = self._told, found
        compute_metrics.kernel_answered(
            keeps_apart=not any(each.is_fatal for each in found)
        )
        for each in found:
            if each in told:
                continue
            if each.is_fatal and faults.is_enforcing():
                LOG.critical(
                    'The kernel of this host does not keep guests apart, and '
                    'no guest is started here until it does: %s',
                    each,
                )
            elif each.is_fatal:
                LOG.warning('Guests on this host are NOT isolated: %s', each)
            else:
                LOG.warning('%s', each)
        if any(each.is_fatal for each in told) and not any(
            each.is_fatal for each in found
        ):
            LOG.warning(
                'The kernel of this host keeps guests apart again: guests '
                'are started. Those that ran meanwhile may have used what is '
                'not theirs.'
            )

    def _tell_booleans(self) -> None:
        found = kernel.open_storage()
        with self._lock:
            told, self._told_booleans = self._told_booleans, found
        for name in found:
            if name not in told:
                LOG.warning('%s', policy.describe_boolean(name))
