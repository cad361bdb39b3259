# SPDX-License-Identifier: Apache-2.0
"""Hosts that are broken in one way each, and what is to be said of them."""

from __future__ import annotations

import sqlite3
import sys
from unittest import mock

from oslo_privsep import daemon

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.host import policy
from tests import samples
from tests.fakes import compute_node

WEB, OTHER = compute_node.WEB, compute_node.OTHER
STRANGE = compute_node.STRANGE
EXEMPT = samples.CAPABILITIES.replace('svirt_t', 'unconfined_t')
WITHOUT_SELINUX = samples.CAPABILITIES.replace(
    '<model>selinux</model>', '<model>apparmor</model>'
)
AS_ROOT = samples.CAPABILITIES.replace('+64055', '+0')
ONLY_EMULATION = samples.CAPABILITIES.replace("type='kvm'", "type='x'")


def _broken_store(node):
    with sqlite3.connect(node.store) as connection:
        connection.execute(f'DELETE FROM {schema.VERSION_TABLE}')
    connection.close()


def _guest(change):
    """Break the one guest of a host."""

    def apply(node):
        change(node, node.domains[0])

    return apply


def _set(name, value):
    return lambda node: setattr(node, name, value)


def _kernel(name, value):
    return lambda node: setattr(node.kernel, name, value)


def _option(section, name, value):
    return lambda node: node.options[section].update({name: value})


def _no_context():
    raise exception.UnconfinedHost('the policy names no context for images')


def _without_binding(node):
    # What is imported stays: Python is asked for the name once more.
    patch = mock.patch.dict(sys.modules, {'selinux': None})
    patch.start()
    node.addCleanup(patch.stop)


def _away(conf):
    class Away:
        def space(self):
            raise exception.StoreUnreachable('the service is away')

    return Away()


BROKEN = {
    'the_kernel_is_permissive': (
        _kernel('enforces', 0),
        {'kernel': 'Run "setenforce 1"'},
    ),
    'the_kernel_has_no_selinux': (
        lambda node: node.kernel_says(0),
        {'kernel': 'SELinux is off in the kernel'},
    ),
    'a_container_lacks_selinuxfs': (
        lambda node: node.hide_selinuxfs(),
        {'kernel': 'mount these of the host into it'},
    ),
    'a_container_lacks_etc_selinux': (
        lambda node: node.hide_configuration(),
        {'kernel': '/etc/selinux (read-only)'},
    ),
    'the_policy_has_no_categories': (
        lambda node: node.replace('selinux.is_selinux_mls_enabled', int),
        {'kernel': 'has no categories'},
    ),
    'the_domain_of_guests_is_permissive': (
        _kernel('permissive', {'svirt_t'}),
        {'policy': 'semanage permissive -d svirt_t'},
    ),
    'the_baselabel_is_not_constrained': (
        lambda node: (
            _set('capabilities', EXEMPT)(node),
            _kernel('exempt', {'unconfined_t'})(node),
        ),
        {
            'policy': 'Categories do not confine unconfined_t',
            'guest web': 'run in the domain unconfined_t',
        },
    ),
    'a_module_exempts_guests': (
        _kernel('exempt', {'svirt_t'}),
        {'policy': 'the disk of another guest'},
    ),
    'new_files_have_a_type_that_guests_may_use': (
        _kernel(
            'at_rest', {policy.Party.NEW_FILE: f'{samples.IMAGE_TEXT}:c1'}
        ),
        {'policy': 'Give instances_path a type that guests may not use'},
    ),
    'guests_may_leave_links_for_libvirt': (
        _kernel('at_rest', {policy.Party.LIBVIRT: f'{samples.IMAGE_TEXT}:c1'}),
        {'policy': 'by a symbolic link. Install the policy module'},
    ),
    'guests_may_name_processes_for_libvirt': (
        _kernel('at_rest', {policy.Party.DBUS: f'{samples.IMAGE_TEXT}:c1'}),
        {'policy': 'kill any process of this host. Install the policy module'},
    ),
    'libvirt_has_no_selinux_driver': (
        _set('capabilities', WITHOUT_SELINUX),
        {'libvirt': 'security_driver in /etc/libvirt/qemu.conf'},
    ),
    'libvirt_has_no_baselabel_for_the_type': (
        _set('capabilities', ONLY_EMULATION),
        {'libvirt': 'check [libvirt] virt_type'},
    ),
    'libvirt_is_down': (
        _set('capabilities', None),
        {'libvirt': 'check that it runs'},
    ),
    'the_policy_names_no_image_context': (
        lambda node: node.replace(
            'svirt_nova.host.image_contexts.writable', _no_context
        ),
        {'libvirt': 'names no context for images'},
    ),
    'the_helper_may_not_be_started': (
        _set('helper', daemon.FailedToDropPrivileges('exit status 1')),
        {'privileged helper': 'helper_command in [svirt_nova_privileged]'},
    ),
    'there_are_no_instances': (
        lambda node: node.instances.rmdir(),
        {'instances_path': 'make it, owned by the user nova'},
    ),
    'instances_are_mounted_with_one_context': (
        lambda node: node.mounts.update(
            {node.instances: 'xfs /dev/vdb rw,context="u:r:virt_image_t:s0"'}
        ),
        {'instances_path': 'Mount it without that option'},
    ),
    'instances_are_on_nfs_without_labels': (
        lambda node: node.mounts.update({node.instances: compute_node.NFS}),
        {'instances_path': 'exported with security_label'},
    ),
    'a_mount_of_volumes_has_no_labels': (
        lambda node: node.mounts.update(
            {node.directory / 'mnt/hash': compute_node.NFS}
        ),
        {"volumes' mounts": 'mnt/hash lies on nfs4'},
    ),
    'nova_has_more_hosts_than_one_sqlite_file_serves': (
        _set('others', ['compute2']),
        {'one store': 'Nova has more hosts with nova-compute: compute2'},
    ),
    'sqlite_is_on_storage_that_hosts_share': (
        lambda node: node.mounts.update(
            {node.directory: f'{compute_node.NFS},seclabel'}
        ),
        {'one store': 'which other hosts may have mounted'},
    ),
    'the_store_has_another_schema': (
        _broken_store,
        {'store': 'the store'},
    ),
    'the_store_was_lost': (
        lambda node: node.store.unlink(),
        {'guest web': 'another one may get this'},
    ),
    'the_configuration_names_an_impossible_store': (
        _option('svirt_database', 'connection', 'nosuchdb://x/y'),
        {'store': '[svirt_database] connection cannot be used'},
    ),
    'nova_lacks_a_hook': (
        lambda node: node.replace(
            'svirt_nova.virt.hooks.problems', lambda: ['there is no spawn()']
        ),
        {'hooks in Nova': 'Install releases of Nova and svirt-nova'},
    ),
    'nova_cannot_find_the_driver': (
        lambda node: node.replace(
            'importlib.util.find_spec', lambda name: None
        ),
        {'driver found by Nova': 'install svirt-nova into'},
    ),
    'the_binding_is_missing': (
        _without_binding,
        {'SELinux binding': 'install python3-selinux (Debian)'},
    ),
    'a_process_runs_at_another_level': (
        _guest(
            lambda node, domain: setattr(
                domain, 'process', f'{samples.PROCESS_TEXT}:c5,c6'
            )
        ),
        {'guest web': 'the process of instance'},
    ),
    'a_process_runs_in_another_domain': (
        _guest(
            lambda node, domain: setattr(
                domain,
                'process',
                f'system_u:system_r:unconfined_t:{node.level}',
            )
        ),
        {'guest web': 'guests of this host run in the domain svirt_t'},
    ),
    'a_guest_runs_without_a_label': (
        lambda node: node.relabel(''),
        {'guest web': 'libvirt runs it without a label'},
    ),
    'a_guest_runs_at_a_level_that_libvirt_drew': (
        lambda node: node.relabel(
            compute_node.seclabel(STRANGE, 'dynamic'),
            f'{samples.PROCESS_TEXT}:c5,c6',
        ),
        {'guest web': 'at a level that libvirt drew'},
    ),
    'the_xml_names_another_level_than_the_process': (
        lambda node: node.relabel(compute_node.seclabel(STRANGE)),
        {'guest web': "libvirt's XML of instance"},
    ),
    'the_definition_names_another_level': (
        _guest(
            lambda node, domain: setattr(
                domain,
                'definition',
                domain.xml.replace(str(node.level)[3:], 'c5,c6'),
            )
        ),
        {'guest web': 'the definition in libvirt of instance'},
    ),
    'a_disk_carries_another_level': (
        lambda node: node.files.update({node.disk(): samples.IMAGE}),
        {'guest web': 'is at s0:c12,c900, and the level of the instance'},
    ),
    'every_guest_may_read_a_disk': (
        lambda node: node.files.update({node.disk(): samples.CONTENT}),
        {'guest web': 'so that every guest may read it'},
    ),
    'a_disk_carries_no_label': (
        lambda node: node.files.update({node.disk(): None}),
        {'guest web': 'lies on storage that carries no SELinux labels'},
    ),
    'the_base_image_may_be_written_by_all': (
        lambda node: node.files.update(
            {
                str(node.instances / '_base/image'): samples.IMAGE.at(
                    samples.CONTENT.level
                )
            }
        ),
        {'guest web': 'so that every guest may write it'},
    ),
    'the_host_does_not_claim_what_it_runs': (
        lambda node: node.allocator().unclaim(WEB, compute_node.NAME),
        {'guest web': 'does not claim its level'},
    ),
    'the_level_of_a_guest_cools': (
        lambda node: node.allocator().give_back(WEB, compute_node.NAME),
        {'guest web': 'is cooling while the domain'},
    ),
    'nova_remembers_another_level': (
        lambda node: node.remembered.update(
            {WEB: types.InstanceLevels(STRANGE, None)}
        ),
        {'guest web': f'Nova remembers the level {STRANGE}'},
    ),
    'another_guest_has_the_level_of_an_instance': (
        lambda node: node.domains.append(
            node.domain(
                OTHER,
                'own',
                compute_node.seclabel(node.level),
                node.level,
                '',
            )
        ),
        {'guest web': 'both have the level'},
    ),
}
"""How a host is broken, and which row must say which words as an error."""

DOUBTFUL = {
    'guests_may_change_what_libvirt_knows_of_qemu': (
        _kernel('at_rest', {policy.Party.CACHE: f'{samples.IMAGE_TEXT}:c1'}),
        {'policy': 'how libvirt starts any guest of this host'},
    ),
    'nova_uses_another_driver': (
        _option('DEFAULT', 'compute_driver', 'libvirt.LibvirtDriver'),
        {'driver in use': 'compute_driver is libvirt.LibvirtDriver'},
    ),
    'qemu_runs_as_root': (
        _set('capabilities', AS_ROOT),
        {"QEMU's user": 'Set user and group in /etc/libvirt/qemu.conf'},
    ),
    'a_boolean_opens_storage': (
        _kernel('booleans', ['virt_use_nfs']),
        {'booleans': 'setsebool -P virt_use_nfs off'},
    ),
    'all_may_connect_to_the_read_only_socket': (
        lambda node: node.socket.chmod(0o666),
        {'read-only socket': 'unix_sock_ro_perms = "0770"'},
    ),
    'instances_have_a_type_that_the_policy_does_not_know': (
        lambda node: node.replace(
            'svirt_nova.host.kernel.differing_types',
            lambda path: ('default_t', 'virt_var_lib_t'),
        ),
        {'instances_path': 'Run "restorecon '},
    ),
    'instances_are_on_nfs_that_caches_names': (
        lambda node: node.mounts.update(
            {node.instances: 'nfs4 server:/export rw,seclabel'}
        ),
        {'instances_path': 'Mount it with lookupcache=none'},
    ),
    'a_stopped_guest_leaves_what_others_may_use': (
        lambda node: node.kernel.at_rest.update(
            {policy.Party.NVRAM: f'{samples.IMAGE_TEXT}:c1,c2'}
        ),
        {'policy': 'the NVRAM of a stopped guest'},
    ),
    'the_mode_is_disabled': (
        _option('svirt', 'mode', 'disabled'),
        {'mode': 'Set it to enforcing'},
    ),
    'the_service_does_not_answer': (
        lambda node: (
            node.replace('svirt_nova.allocator.base.load', _away)
            or _option('svirt', 'allocator', 'rpc')(node)
        ),
        {'store': 'the service is away'},
    ),
    'a_disk_of_a_guest_is_gone': (
        lambda node: node.files.pop(node.disk()),
        {'guest web': 'cannot be read'},
    ),
    'a_guest_of_somebody_else_has_no_label': (
        lambda node: node.domains.append(
            node.domain(OTHER, 'own', '', STRANGE, '')
        ),
        {'guest own': 'no level keeps it away'},
    ),
    'nova_is_of_an_untested_release': (
        lambda node: node.replace(
            'svirt_nova.virt.hooks.untested', lambda: 'Nova 99 is installed'
        ),
        {'hooks in Nova': 'Nova 99 is installed'},
    ),
}
"""How a host is doubtful, and which row must say which words as a warning."""

DEPENDENT = {
    'kernel': {'policy'},
    'libvirt': {"QEMU's user", 'policy', 'guests'},
    'one store': {'store'},
}
"""What cannot be known, or is wrong too, if a row is wrong."""
