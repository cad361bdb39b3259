# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, one class for each thing a caller treats differently."""

from __future__ import annotations

from svirt_nova import printing


class SvirtError(Exception):
    """Base of all errors of svirt-nova; its text is meant for people.

    The text may have parts from outside: it is made printable.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(
            *(
                printing.printable(each) if isinstance(each, str) else each
                for each in arguments
            )
        )


class InvalidLevel(SvirtError, ValueError):
    """A text is not a level that an MCS policy accepts."""


class InvalidContext(SvirtError, ValueError):
    """A text is not an SELinux context ``user:role:type:range``."""


class InvalidSpace(SvirtError, ValueError):
    """A level space is impossible: no such range, or nothing left in it."""


class NotInSpace(SvirtError, ValueError):
    """A level or a rank lies outside the level space."""


class InvalidOption(SvirtError):
    """A configured value cannot be used."""


class UnknownHost(SvirtError):
    """The operator named a host that the store does not know."""


class AmbiguousName(SvirtError):
    """The operator named an instance by what several are called."""


class NotConfirmed(SvirtError):
    """The operator did not confirm what cannot be taken back."""


class AllocatorError(SvirtError):
    """Base of what an allocator answers other than a level."""


class UnknownInstance(AllocatorError):
    """The allocator holds no level for that instance."""


class SpaceFull(AllocatorError):
    """Every level of the space is held, cooling or reserved."""


class LevelTaken(AllocatorError):
    """The level asked for is held, cooling or reserved already.

    :param text: what happened
    :param for_hosts: what a host may know of it, if that is less: another
        instance that has the level is not its business
    """

    def __init__(self, text: str = '', for_hosts: str | None = None) -> None:
        super().__init__(text)
        self.for_hosts = for_hosts


class ClaimOutdated(AllocatorError):
    """A later claim on the instance has passed the number of this one."""


class StoreDistrusted(AllocatorError):
    """The store may be older than what hosts have seen of it."""


class OtherCloud(AllocatorError):
    """The store belongs to another cloud than the one that answers."""


class NotAllowed(AllocatorError):
    """The allocator service does not do that for this caller."""


class LimitReached(NotAllowed):
    """A host claims, or takes, as much as it can, or so many hosts claim."""


class AnswerTooLarge(AllocatorError):
    """The answer of the allocator service does not fit into a message."""


class RepeatedCall(NotAllowed):
    """A signed call came a second time, and was not done again."""


class WrongAnswer(AllocatorError):
    """The allocator answered about something else than it was asked for."""


class StoreUnreachable(AllocatorError):
    """The store cannot be opened, read or written at the moment."""


class ForgedAnswer(StoreUnreachable):
    """No answer came that the allocator service has signed, but others.

    It is with the store as if nothing had answered.
    """


class StoreUnusable(AllocatorError):
    """The store answers, but is damaged or not one of ours."""


class StoreTooNew(StoreUnusable):
    """The store's schema is newer than this release understands."""


class ComputeApiError(SvirtError):
    """Nova gave no certain answer."""


class LibvirtUnreachable(SvirtError):
    """libvirt on this host does not answer."""


class UnknownNova(SvirtError):
    """The Nova that is installed has not what the driver relies on."""


class LabelError(SvirtError):
    """Base of what can go wrong with labels on a host."""


class UnconfinedHost(LabelError):
    """libvirt on this host does not confine guests with SELinux."""


class UnsafeFile(LabelError):
    """A path is not a plain file inside the directory it must lie in."""


class UnsafeTerminal(LabelError):
    """What QEMU calls its pseudo-terminal is not the guest's own."""


class LabelNotApplied(LabelError):
    """A file, process or domain does not carry the label it was given."""


class ForeignFile(LabelError):
    """A file carries the level of another guest."""


class ForgedDisk(LabelError):
    """The header of a disk is not what is recorded of the disk."""


class UnlabeledStorage(LabelNotApplied):
    """A file lies on storage that cannot carry labels."""


class HostError(SvirtError):
    """Base of what can go wrong when a host is looked at over ssh."""


class HostUnreachable(HostError):
    """ssh does not get to a host, or gets no answer in time."""


class HostCommandFailed(HostError):
    """A command on a host failed, or its answer cannot be read."""
