# SPDX-License-Identifier: Apache-2.0
"""Verifies that a started guest carries the labels that it was given.

libvirt says nothing of what it did to files, and the kernel rewrites levels:
labels must be read back, and only their sets of categories can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator

from svirt_nova import exception
from svirt_nova.host import disk_chains
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


def chain_problems(domain: str, chains: disk_chains.Chains) -> Iterator[str]:
    """What differs between a domain's chains and those that it should have.

    :param domain: the XML of a domain
    :param chains: what its disks are made of
    """
    for path, below in domain_xml.chains_of(domain).items():
        if path not in chains:
            yield f'libvirt gave the guest {path}, which is none of its disks'
            continue
        chain = chains[path]
        if chain is None or chain[0].level is None:
            continue
        if below is None:
            yield f'libvirt does not leave the files of {path} alone'
        elif below != [link.path for link in chain[1:]]:
            yield f'libvirt reads {path} from {", ".join(below) or "nothing"}'


def _labelled(chains: disk_chains.Chains) -> Iterator[disk_chains.Link]:
    for chain in chains.values():
        for link in chain or ():
            if link.level is not None:
                yield link


def _file_problems(
    chains: disk_chains.Chains,
    image: contexts.Context,
    content: contexts.Context,
    read: ReadLabel,
) -> Iterator[str]:
    for link in _labelled(chains):
        assert link.level is not None
        wanted = (image if link.writable else content).at(link.level)
        try:
            found = read(link.path)
        except exception.SvirtError as error:
            yield str(error)
            continue
        if found is not None and _differs(found, wanted):
            yield f'{link.path} carries {found} and not {wanted}'


def unlabeled_files(chains: disk_chains.Chains, read: ReadLabel) -> list[str]:
    """The files of a guest's disks that carry no label at all.

    :param chains: what the disks are made of
    :param read: what reads a file's context
    :raises LabelError: a label cannot be read
    """
    return [link.path for link in _labelled(chains) if read(link.path) is None]


def check(
    domain: str,
    process_label: tuple[str, bool],
    process: contexts.Context,
    image: contexts.Context,
    content: contexts.Context,
    chains: disk_chains.Chains,
    read: ReadLabel,
) -> None:
    """Check what libvirt, the kernel and the files say of a started guest.

    Files without any label are left to :func:`unlabeled_files`.

    :param domain: the XML of the running domain
    :param process_label: what ``virDomainGetSecurityLabel`` answers: the
        context of the QEMU process and whether the kernel enforces
    :param process: the context that QEMU should run in
    :param image: the context of files that it may write, at its level
    :param content: the base context of files that it may only read
    :param chains: what its disks are made of
    :param read: what reads a file's context
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
    problems.extend(chain_problems(domain, chains))
    problems.extend(_file_problems(chains, image, content, read))
    if problems:
        # The problems come first, because Nova cuts a fault off after 255
        # characters.
        raise exception.LabelNotApplied(
            f'{"; ".join(problems)}; it should be {process} and {image}'
        )
