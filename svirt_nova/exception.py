# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, one class for each thing a caller treats differently."""


class SvirtError(Exception):
    """Base of all errors of svirt-nova; its text is meant for people."""


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


class NotConfirmed(SvirtError):
    """The operator did not confirm what cannot be taken back."""


class AllocatorError(SvirtError):
    """Base of what an allocator answers other than a level."""


class UnknownInstance(AllocatorError):
    """The allocator holds no level for that instance."""


class SpaceFull(AllocatorError):
    """Every level of the space is held, cooling or reserved."""


class LevelTaken(AllocatorError):
    """The level asked for is held, cooling or reserved already."""


class NotAllowed(AllocatorError):
    """The allocator service does not do that for this caller."""


class StoreUnreachable(AllocatorError):
    """The store cannot be opened, read or written at the moment."""


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
