# SPDX-License-Identifier: Apache-2.0
"""Two enforcing hosts, with more migrations than each change can wait for."""

from __future__ import annotations

import typing

from tests.lab import test_two_hosts


class MigrationsTest(test_two_hosts.TwoHostsTest):
    migrations: typing.ClassVar[int] = 10
