# SPDX-License-Identifier: Apache-2.0
"""Operations on instances, checked by what Nova's API shows.

The API shows neither levels nor the class of a host's driver. It does show
whether an operation has failed: svirt-nova lets an operation fail rather than
a guest run without its own level. So each operation that svirt-nova takes
part in must end in the status that it should, without a failed action.
"""

from __future__ import annotations

from svirt_nova.tempest.api import operations

CONF = operations.CONF


class OutsideTest(operations.Checks):
    """Tests for clouds whose hosts may not be looked at."""

    @classmethod
    def skip_checks(cls) -> None:
        """Skip the class where InsideTest checks the same and more."""
        super().skip_checks()
        if CONF.svirt_nova.hosts:
            raise cls.skipException(
                'InsideTest does the same operations, and looks at the hosts '
                'that [svirt_nova] hosts names'
            )


class OutsideOperationsTest(OutsideTest, operations.Operations):
    """Operations that the owner of an instance may ask Nova for."""


class OutsideAdministrationTest(OutsideTest, operations.Administration):
    """Operations that only administrators may ask Nova for."""
