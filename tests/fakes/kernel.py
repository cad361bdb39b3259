# SPDX-License-Identifier: Apache-2.0
"""A kernel that enforces a small MCS policy, below svirt_nova.host.kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fixtures

from svirt_nova.host import policy
from svirt_nova.mcs import contexts

_IMAGES = {'open', 'read', 'write', 'append'}
_ALLOWED = {
    'svirt_image_t': _IMAGES | {'add_name', 'remove_name'},
    'svirt_devpts_t': _IMAGES,
    'svirt_t': _IMAGES | {'fork', 'signal', 'sigkill', 'sigstop', 'execmem'},
    'svirt_tcg_t': _IMAGES
    | {'fork', 'signal', 'sigkill', 'sigstop', 'execmem'},
}
"""What guests may do to objects of a type, if their levels allow it."""


class Kernel(fixtures.Fixture):
    """An enforcing kernel; a test may change what it answers.

    :ivar enforces: what ``getenforce`` says
    :ivar permissive: domains that are permissive
    :ivar exempt: domains that no MCS constraint applies to
    :ivar denied: permissions that no domain has
    :ivar at_rest: what files of stopped guests carry
    :ivar booleans: those that are on
    :ivar asked: how often it was asked
    """

    def __init__(self) -> None:
        super().__init__()
        self.enforces = 1
        self.permissive: set[str] = set()
        self.exempt: set[str] = set()
        self.denied: set[str] = set()
        self.at_rest: dict[policy.Party, str] = {
            policy.Party.NEW_FILE: 'system_u:object_r:var_lib_t:s0'
        }
        self.booleans: list[str] = []
        self.asked = 0

    def _setUp(self) -> None:
        for name, new in (
            ('selinux.is_selinux_enabled', lambda: 1),
            ('selinux.is_selinux_mls_enabled', lambda: 1),
            ('selinux.security_getenforce', lambda: self.enforces),
            ('svirt_nova.host.kernel.ask', self.ask),
            ('svirt_nova.host.kernel.at_rest', lambda path: self.at_rest),
            ('svirt_nova.host.kernel.terminals', self._terminals),
            (
                'svirt_nova.host.kernel.open_storage',
                lambda: [*self.booleans],
            ),
        ):
            self.useFixture(fixtures.MonkeyPatch(name, new))

    @staticmethod
    def _terminals(own: str, other: str) -> dict[policy.Party, str]:
        kind = contexts.Context.parse('system_u:object_r:svirt_devpts_t:s0')
        return {
            party: str(kind.at(contexts.Context.parse(process).level))
            for party, process in (
                (policy.Party.OWN_TERMINAL, own),
                (policy.Party.OTHER_TERMINAL, other),
            )
        }

    def ask(
        self, source: str, target: str, object_class: Any, names: Sequence[str]
    ) -> policy.Decision:
        self.asked += 1
        process, whom = map(contexts.Context.parse, (source, target))
        is_exempt = process.type in self.exempt
        allowed = _ALLOWED.get(whom.type, set()) - self.denied
        if is_exempt:
            allowed = {*names}
        elif not process.level.categories >= whom.level.categories:
            allowed = set()
        return policy.Decision(
            frozenset(names) & allowed, process.type in self.permissive
        )
