# SPDX-License-Identifier: Apache-2.0
"""Remembers that the allocator did not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec
from typing import TypeVar

from svirt_nova import exception
from svirt_nova.virt import compute_metrics

Answer = TypeVar('Answer')
Arguments = ParamSpec('Arguments')

_REMEMBERED = 60
"""Seconds for which an outage is remembered."""


class OutageMemory:
    """Remembers an outage, so that no operation waits for the store twice.

    A call that can be made later is not made while an outage is remembered.
    """

    def __init__(self) -> None:
        # A monotonic time: until then the store counts as away.
        self._until = 0.0

    def ask(
        self,
        call: Callable[Arguments, Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Make a call of the allocator, whatever is remembered.

        :raises StoreUnreachable: the allocator does not answer
        """
        try:
            answer = call(*args, **kwargs)
        except exception.StoreUnreachable:
            self._until = time.monotonic() + _REMEMBERED
            compute_metrics.store_answered(False)
            raise
        except exception.StoreUnusable:
            compute_metrics.store_answered(False)
            raise
        except exception.SvirtError:
            compute_metrics.store_answered(True)
            raise
        self._until = 0.0
        compute_metrics.store_answered(True)
        return answer

    def ask_if_up(
        self,
        call: Callable[Arguments, Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Make a call of the allocator that can be made later.

        :raises StoreUnreachable: the allocator does not answer, or did not
            a moment ago
        """
        if time.monotonic() < self._until:
            raise exception.StoreUnreachable(
                'the allocator did not answer a moment ago'
            )
        return self.ask(call, *args, **kwargs)
