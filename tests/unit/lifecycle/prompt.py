# SPDX-License-Identifier: Apache-2.0
"""Asks Nova about dropped claims, without waiting for anything."""

from svirt_nova import exception
from svirt_nova.lifecycle import dropped_claims


class Clock:
    """A clock that a test turns on, or a pause between two passes."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def make(allocator, servers, clock):
    """What asks Nova, by a clock."""
    return dropped_claims.DroppedClaims(
        allocator, servers, clock=clock, sleep=clock.sleep
    )


def reap(allocator, servers):
    """Ask about all that has no claim; what is said if Nova is refused."""
    clock = Clock()
    dropped = make(allocator, servers, clock)
    try:
        dropped.look()
        clock.sleep(max(dropped_claims.PAUSES))
        dropped.look()
    except exception.SvirtError as error:
        return str(error)
    return None
