# SPDX-License-Identifier: Apache-2.0
"""What libvirt gives guests of this host before they have levels."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.mcs import contexts


def context(capabilities: str, virt_type: str) -> contexts.Context:
    """The context that this host's libvirt gives guests of a type.

    :param capabilities: the XML of ``virConnectGetCapabilities``
    :param virt_type: the type of the domains: kvm or qemu. Their base
        contexts may differ: without KVM, QEMU needs to map executable
        memory, which some policies allow to svirt_tcg_t alone.
    :raises UnconfinedHost: libvirt does not confine guests with SELinux
    """
    labels = of_model(capabilities, 'selinux')
    if labels is None:
        raise exception.UnconfinedHost(
            'libvirt on this host has no SELinux security driver, so guests '
            'would not be kept apart. Boot the host with SELinux enforcing '
            'and a policy installed, leave security_driver in '
            '/etc/libvirt/qemu.conf unset or set it to "selinux", and restart '
            'libvirt; or set [svirt] mode to permissive or disabled in '
            'nova.conf'
        )
    label = labels.get(virt_type)
    if not label:
        raise exception.UnconfinedHost(
            f'libvirt names no SELinux context for guests of the type '
            f'{virt_type!r} on this host; check [libvirt] virt_type'
        )
    return contexts.Context.parse(label)


def of_model(capabilities: str, model: str) -> dict[str, str] | None:
    """What this host's libvirt gives guests before they have levels.

    :param capabilities: the XML of ``virConnectGetCapabilities``
    :param model: the security model: selinux or dac
    :returns: the labels by the type of the domains; None where libvirt does
        not use that model
    """
    for each in domain_xml.parse(capabilities).findall('host/secmodel'):
        if each.findtext('model') == model:
            return {
                label.get('type', ''): label.text or ''
                for label in each.findall('baselabel')
            }
    return None


def user(capabilities: str, virt_type: str) -> int | None:
    """The user that this host's libvirt runs guests of a type as.

    :param capabilities: the XML of ``virConnectGetCapabilities``
    :param virt_type: the type of the domains: kvm or qemu
    :returns: the number of the user; None where libvirt names none
    """
    label = (of_model(capabilities, 'dac') or {}).get(virt_type)
    # virSecurityDACGenLabel writes numbers: +64055:+64055.
    number = (label or '').partition(':')[0].removeprefix('+')
    return int(number) if number.isdecimal() else None
