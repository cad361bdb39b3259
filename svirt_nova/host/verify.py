# SPDX-License-Identifier: Apache-2.0
"""Verifies that a started guest carries the labels that it was given.

libvirt reports success on storage that cannot carry a label, so that labels
must be read back; and the kernel rewrites levels, so that only their sets of
categories can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.mcs import contexts

ReadLabel = Callable[[str], contexts.Context | None]
"""What reads a file's context, such as :func:`file_labels.read`."""


def _differs(found: contexts.Context | None, wanted: contexts.Context) -> bool:
    return (
        found is None
        or found.type != wanted.type
        or found.range != wanted.range
    )


def _domain_problems(
    domain: str, process: contexts.Context, image: contexts.Context
) -> Iterator[str]:
    label = domain_xml.read(domain)
    if label is None:
        yield 'libvirt runs the domain without an SELinux label'
        return
    if _differs(label.label, process):
        yield f'libvirt runs the domain as {label.label}'
    if _differs(label.imagelabel, image):
        yield f'libvirt labels its disks {label.imagelabel}'


_LABELLED = (domain_xml.DiskLabel.OWN, domain_xml.DiskLabel.PROJECT)


def _labelled_files(domain: str) -> Iterator[domain_xml.Disk]:
    """The disks of a domain that carry a level on a file.

    Block devices are left out, because libvirt labels them in the private
    /dev of the guest. Files that are open to every guest on purpose are left
    out, too.
    """
    for disk in domain_xml.disks(domain):
        if disk.is_file and disk.label in _LABELLED:
            yield disk


def _file_problems(
    domain: str,
    image: contexts.Context,
    shared: contexts.Context | None,
    read: ReadLabel,
) -> Iterator[str]:
    for disk in _labelled_files(domain):
        wanted: contexts.Context | None = image
        if disk.label is domain_xml.DiskLabel.PROJECT:
            wanted = shared
        try:
            found = read(disk.path)
        except exception.SvirtError as error:
            yield str(error)
            continue
        if wanted is None:
            yield f'disk {disk.target} has a label of its own'
        elif found is not None and _differs(found, wanted):
            yield f'{disk.path} (disk {disk.target}) carries {found}'


def unlabeled_files(domain: str, read: ReadLabel) -> list[str]:
    """The files of a domain's disks that carry no label at all.

    libvirt says nothing of storage that cannot carry one.

    :param domain: the XML of the running domain
    :param read: what reads a file's context
    :raises LabelError: a label cannot be read
    """
    return [
        disk.path
        for disk in _labelled_files(domain)
        if read(disk.path) is None
    ]


def check(
    domain: str,
    process_label: tuple[str, bool],
    process: contexts.Context,
    image: contexts.Context,
    read: ReadLabel,
    shared: contexts.Context | None = None,
) -> None:
    """Check what libvirt, the kernel and the files say of a started guest.

    Files without any label are left to :func:`unlabeled_files`.

    :param domain: the XML of the running domain
    :param process_label: what ``virDomainGetSecurityLabel`` answers: the
        context of the QEMU process and whether the kernel enforces
    :param process: the context that QEMU should run in
    :param image: the context that its disks should have
    :param read: what reads a file's context
    :param shared: the context that disks should have which instances of
        the project share; None where there can be none
    :raises LabelNotApplied: anything differs; the text names it all
    """
    problems = list(_domain_problems(domain, process, image))
    text, enforced = process_label
    try:
        running = contexts.Context.parse(text)
    except exception.InvalidContext as error:
        problems.append(f'the QEMU process has no usable label: {error}')
    else:
        if _differs(running, process):
            problems.append(f'the QEMU process runs as {running}')
    if not enforced:
        problems.append('the kernel does not enforce SELinux')
    problems.extend(_file_problems(domain, image, shared, read))
    if problems:
        # The problems come first, because Nova cuts a fault off after 255
        # characters.
        raise exception.LabelNotApplied(
            f'{"; ".join(problems)}; it should be {process} and {image}'
        )
