# SPDX-License-Identifier: Apache-2.0
"""What Nova's API alone shows of a cloud whose hosts run svirt-nova.

It shows no level, and not which driver a host has. What it does show is
that instances live: svirt-nova fails an operation rather than let a guest
run without its own level, and each operation that it has a part in ends as
it should, with no failed action.
"""

from __future__ import annotations

from svirt_nova.tempest.api import operations

CONF = operations.CONF


class OutsideTest(operations.Checks):
    """Tests for clouds whose hosts may not be looked at."""

    @classmethod
    def skip_checks(cls) -> None:
        """Skip where the same is done, and more is seen."""
        super().skip_checks()
        if CONF.svirt_nova.hosts:
            raise cls.skipException(
                'InsideTest goes through the same operations, and looks at '
                'the hosts that [svirt_nova] hosts names'
            )


class OutsideOperationsTest(OutsideTest, operations.Operations):
    """What the owner of an instance may have done to it."""


class OutsideAdministrationTest(OutsideTest, operations.Administration):
    """What an administrator may have done to an instance."""
