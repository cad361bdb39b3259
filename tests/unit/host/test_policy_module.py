# SPDX-License-Identifier: Apache-2.0
"""The policy module that is shipped, in Debian's own policy."""

from __future__ import annotations

import functools
import pathlib
import stat

import fixtures
import selinux
import testtools

from svirt_nova.host import kernel
from svirt_nova.host import policy
from tests import libsepol

MODULE = pathlib.Path(__file__).parents[3] / 'etc/selinux/svirt_nova.cil'

TYPE = 'svirt_nova_state_t'
GUEST = 'system_u:system_r:svirt_t:s0:c1,c2'
LIBVIRTD = 'system_u:system_r:virtd_t:s0-s0:c0.c1023'

NVRAM = kernel._NVRAM
TPM = kernel._TPM
SAVED = '/var/lib/libvirt/qemu/save/guest.save'
LEFT = (
    NVRAM,
    TPM,
    SAVED,
    '/var/lib/libvirt/qemu/dump/guest.dump',
    '/var/lib/libvirt/qemu/snapshot/guest/one.xml',
    '/var/lib/libvirt/qemu/checkpoint/guest/one.xml',
)
"""What a stopped guest leaves where the policy alone labels it."""

DIRECTORIES = (
    kernel._LIBVIRT,
    '/run/libvirt/qemu/channel',
    kernel._DBUS,
    '/var/lib/libvirt/qemu/channel',
    '/var/lib/libvirt/qemu/channel/target',
    '/var/lib/libvirt/qemu/ram',
)
"""Where libvirt makes a directory for each guest that starts."""

USES = (
    'open',
    'read',
    'write',
    'append',
    'create',
    'unlink',
    'rename',
    'setattr',
    'relabelfrom',
)
CHANGES = ('read', 'write', 'add_name', 'remove_name')

# The types that Fedora's policy has and Debian's has not, so that all blocks
# of the module are compiled.
FEDORA = '\n'.join(
    f'(type {name}) (roletype system_r {name})'
    for name in ('virtqemud_t', 'swtpm_t')
)


@functools.cache
def with_module() -> libsepol.Compiled:
    return libsepol.compiled(
        *libsepol.debian_modules(), FEDORA, MODULE.read_text()
    )


class PolicyModuleTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        libsepol.require_debian(self)
        compiled = with_module()
        self.policy = self.useFixture(libsepol.Policy(compiled))
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.lines = compiled.file_contexts.splitlines(keepends=True)

    def context(self, path, *, module=True, kind=stat.S_IFREG):
        """What libselinux says is a path's label, with or without us."""
        name = self.directory / 'file_contexts'
        name.write_text(
            ''.join(line for line in self.lines if module or TYPE not in line)
        )
        selinux.matchpathcon_init(str(name))
        try:
            return selinux.matchpathcon(path, kind)[1]
        finally:
            selinux.matchpathcon_fini()

    def allowed(self, context, names=USES, object_class='file', who=GUEST):
        decision = self.policy.ask(who, context, object_class, names)
        return decision.allowed

    def test_a_guest_is_refused_what_another_left(self):
        for path in LEFT:
            context = self.context(path)
            self.assertEqual(f'system_u:object_r:{TYPE}:s0', context)
            self.assertEqual(frozenset(), self.allowed(context), path)

    def test_a_guest_is_not_refused_it_without_the_module(self):
        for path in LEFT:
            context = self.context(path, module=False)
            self.assertIn('read', self.allowed(context), path)
            if path != TPM:
                self.assertLessEqual(
                    {'write', 'unlink'}, self.allowed(context), path
                )
                self.assertLessEqual(
                    set(CHANGES), self.allowed(context, CHANGES, 'dir'), path
                )

    def test_a_guest_can_only_go_through_the_directories(self):
        for path in LEFT:
            directory = str(pathlib.Path(path).parent)
            context = self.context(directory, kind=stat.S_IFDIR)
            self.assertEqual(f'system_u:object_r:{TYPE}:s0', context)
            self.assertEqual(
                {'search'},
                self.allowed(context, ('search', *CHANGES), 'dir'),
                path,
            )

    def test_a_guest_leaves_no_link_where_libvirt_makes_directories(self):
        for path in DIRECTORIES:
            context = self.context(path, kind=stat.S_IFDIR)
            self.assertEqual(f'system_u:object_r:{TYPE}:s0', context)
            self.assertEqual(
                {'search'},
                self.allowed(context, ('search', *CHANGES), 'dir'),
                path,
            )
            self.assertEqual(
                frozenset(), self.allowed(context, ['create'], 'lnk_file')
            )

    def test_a_guest_leaves_links_there_without_the_module(self):
        for path in DIRECTORIES:
            context = self.context(path, module=False, kind=stat.S_IFDIR)
            self.assertEqual(
                set(CHANGES), self.allowed(context, CHANGES, 'dir'), path
            )
            self.assertEqual(
                {'create'}, self.allowed(context, ['create'], 'lnk_file')
            )

    def test_a_guest_changes_nothing_in_the_cache_of_capabilities(self):
        changes = (*CHANGES, 'rename', 'reparent')
        for path in (kernel._CACHE, f'{kernel._CACHE}/capabilities'):
            for module, expected in ((True, set()), (False, set(changes))):
                context = self.context(path, module=module, kind=stat.S_IFDIR)
                self.assertEqual(
                    expected, self.allowed(context, changes, 'dir'), path
                )
        path = f'{kernel._CACHE}/capabilities/0.xml'
        self.assertEqual(frozenset(), self.allowed(self.context(path)))
        self.assertLessEqual(
            {'write', 'rename', 'unlink'},
            self.allowed(self.context(path, module=False)),
        )

    def test_daemons_make_directories_and_sockets_there(self):
        context = self.context(kernel._LIBVIRT, kind=stat.S_IFDIR)
        for daemon in ('virtd_t', 'virtqemud_t'):
            who = f'system_u:system_r:{daemon}:s0-s0:c0.c1023'
            for names, object_class in (
                ((*CHANGES, 'create', 'relabelfrom', 'rmdir'), 'dir'),
                (('create', 'write', 'unlink'), 'sock_file'),
            ):
                self.assertEqual(
                    set(names),
                    self.allowed(context, names, object_class, who),
                    daemon,
                )

    def test_libvirtd_may_do_with_them_what_it_may_with_images(self):
        context = self.context(NVRAM)
        image = 'system_u:object_r:virt_image_t:s0'
        for names, object_class in (
            ((*USES, 'relabelto'), 'file'),
            ((*CHANGES, 'search', 'create', 'rmdir', 'relabelto'), 'dir'),
        ):
            for target in (context, image):
                self.assertEqual(
                    set(names),
                    self.allowed(target, names, object_class, LIBVIRTD),
                    target,
                )

    def test_so_may_fedoras_daemon_and_the_one_that_makes_tpms(self):
        for daemon, names in (
            ('virtqemud_t', (*USES, 'relabelto')),
            ('swtpm_t', tuple(n for n in USES if n != 'relabelfrom')),
        ):
            who = f'system_u:system_r:{daemon}:s0-s0:c0.c1023'
            self.assertEqual(
                set(names), self.allowed(self.context(TPM), names, who=who)
            )

    def test_nova_compute_does_not_warn_with_the_module(self):
        objects = {
            policy.Party.OWN_PROCESS: GUEST,
            policy.Party.LIBVIRT: self.context(
                kernel._LIBVIRT, kind=stat.S_IFDIR
            ),
            policy.Party.DBUS: self.context(kernel._DBUS, kind=stat.S_IFDIR),
            policy.Party.CACHE: self.context(kernel._CACHE, kind=stat.S_IFDIR),
            policy.Party.NVRAM: self.context(NVRAM),
            policy.Party.TPM: self.context(TPM),
        }
        self.assertEqual([], policy.examine(objects, self.policy.ask))

    def test_the_console_log_is_closed_by_the_type_of_its_directory(self):
        """Debian has var_lib_t for it; operators give it virt_image_t."""
        log = '/var/lib/nova/instances/guest/console.log'
        for context in (
            self.context(log),
            'system_u:object_r:virt_image_t:s0',
        ):
            self.assertEqual(frozenset(), self.allowed(context), context)

    def test_files_of_guests_that_run_are_left_to_libvirt(self):
        for path in (
            '/var/lib/libvirt/qemu/domain-1-guest/master-key.aes',
            '/var/lib/libvirt/qemu/channel/target/domain-1-guest/agent.0',
            '/var/lib/libvirt/qemu/ram/libvirt/qemu/1-guest',
            '/var/lib/libvirt/images/guest.qcow2',
        ):
            self.assertEqual(
                self.context(path, module=False), self.context(path)
            )
