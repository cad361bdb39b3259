# SPDX-License-Identifier: Apache-2.0
"""What the lab's tests have in common: one cloud, brought up once."""

from __future__ import annotations

import contextlib
import unittest
from typing import Any

from tests.lab.cloud import Cloud
from tests.lab.host import Host
from tests.lab.progress import Progress

_stack = contextlib.ExitStack()
_cloud: list[Cloud] = []


def end_lab() -> None:
    """End the cloud, if a test needed it."""
    _cloud.clear()
    _stack.close()


class LabTestCase(unittest.TestCase):
    """A test on the one cloud of the run."""

    cloud: Cloud
    host: Host

    @classmethod
    def make_cloud(cls) -> Cloud:
        """Choose the cloud of the run; the first test class does."""
        return Cloud(Progress(), volumes=True)

    @classmethod
    def setUpClass(cls) -> None:
        if not _cloud:
            _cloud.append(_stack.enter_context(cls.make_cloud()))
        [cls.cloud] = _cloud
        cls.host = cls.cloud.hosts[0]

    def run(
        self, result: unittest.TestResult | None = None
    ) -> unittest.TestResult | None:
        """Run the test; where it fails, keep what the hosts logged."""
        assert result is not None
        bad = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > bad:
            for host in self.cloud.hosts:
                host.save_logs()
            self.cloud.keep_logs()
        return result

    def domain_of(self, server: Any) -> dict[str, Any]:
        """What the host shows of a server's running domain."""
        found: dict[str, Any]
        [found] = [
            domain
            for domain in self.host.probe('look')
            if domain['uuid'] == server.id
        ]
        return found
