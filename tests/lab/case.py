# SPDX-License-Identifier: Apache-2.0
"""What the lab's tests have in common: one cloud, brought up once."""

from __future__ import annotations

import contextlib
import time
import unittest
from typing import Any

from tests import time_limit
from tests.lab import processes
from tests.lab.cloud import Cloud
from tests.lab.host import Host
from tests.lab.progress import Progress

#: Seconds until a test, or what a class does before and after its tests,
#: counts as hung. Ten migrations may take more than twenty minutes if other
#: programs take most of the machine's processors.
TEST_LIMIT = 3600.0
CLASS_LIMIT = 3600.0
#: Seconds after the limit for saving logs and ending the lab.
GRACE = 600.0

_stack = contextlib.ExitStack()
_cloud: list[Cloud] = []


def end_lab() -> None:
    """End the cloud, if a test needed it."""
    _cloud.clear()
    _stack.close()


def _limit(
    what: str, seconds: float
) -> contextlib.AbstractContextManager[None]:
    """Limit the time of a context; its threads may wait for commands."""
    return time_limit.limit(what, seconds, processes.end_commands, GRACE)


class LabTestCase(unittest.TestCase):
    """A test on the one cloud of the run."""

    cloud: Cloud
    host: Host

    @classmethod
    def make_cloud(cls) -> Cloud:
        """Choose the cloud of the run; the first test class does."""
        return Cloud(Progress(), volumes=True)

    @classmethod
    def prepare(cls) -> None:
        """Make what the tests of the class share."""

    @classmethod
    def setUpClass(cls) -> None:
        with _limit(f'{cls.__name__}: preparation', CLASS_LIMIT):
            if not _cloud:
                _cloud.append(_stack.enter_context(cls.make_cloud()))
            [cls.cloud] = _cloud
            cls.host = cls.cloud.hosts[0]
            try:
                cls.prepare()
            except Exception:
                cls._keep_logs()
                raise

    @classmethod
    def doClassCleanups(cls) -> None:  # noqa: N802 - unittest's
        with _limit(f'{cls.__name__}: cleanup', CLASS_LIMIT):
            super().doClassCleanups()

    def run(
        self, result: unittest.TestResult | None = None
    ) -> unittest.TestResult | None:
        """Run the test within its time limit, and say how long it took.

        If it fails, the logs of the hosts are kept. If it exceeds the limit,
        the run stops, because the other tests would hang as well.
        """
        assert result is not None
        bad = len(result.failures) + len(result.errors)
        begin = time.monotonic()
        with _limit(self.id(), TEST_LIMIT):
            super().run(result)
        self.cloud.progress.say(
            f'{self._testMethodName}: {time.monotonic() - begin:.1f} s'
        )
        found = (*result.failures, *result.errors)
        if len(found) > bad:
            if any(
                time_limit.TimeLimitExceeded.__name__ in trace
                for _, trace in found
            ):
                result.stop()
                self.cloud.keep_logs()
            else:
                self._keep_logs()
        return result

    @classmethod
    def _keep_logs(cls) -> None:
        for host in cls.cloud.hosts:
            host.save_logs()
        cls.cloud.keep_logs()

    def domain_of(self, server: Any) -> dict[str, Any]:
        """What the host shows of a server's running domain."""
        found: dict[str, Any]
        [found] = [
            domain
            for domain in self.host.probe('look')
            if domain['uuid'] == server.id
        ]
        return found
