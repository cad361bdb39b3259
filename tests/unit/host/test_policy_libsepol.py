# SPDX-License-Identifier: Apache-2.0
"""The questions, asked of compiled policies."""

from __future__ import annotations

import testtools

from svirt_nova.host import policy
from svirt_nova.mcs import contexts
from tests import libsepol

# The classes and constraints of the reference policy, as far as guests meet
# them (mcs.te), and the types that Debian's policy has for guests.
POLICY = f"""
(class file (open read write append execute relabelfrom relabelto))
(class blk_file (open read write append relabelfrom relabelto))
(class chr_file (open read write append))
(class dir (read write search add_name remove_name))
(class process (fork signal sigkill sigstop ptrace execmem))
(classorder (file blk_file chr_file dir process))
(sid kernel) (sidorder (kernel))
(sidcontext kernel (system_u object_r var_lib_t ((s0) (s0))))
{libsepol.CATEGORIES}
(user system_u) (role system_r) (role object_r)
(userrole system_u system_r) (userrole system_u object_r)
(userlevel system_u (s0))
(userrange system_u ((s0) (s0 (range c0 c1023))))
(typeattribute mcs_constrained)
(typeattribute domain)
(type svirt_t) (type unconfined_t)
(type svirt_image_t) (type svirt_devpts_t) (type var_lib_t)
(type svirt_runtime_t)
(roletype system_r domain) (roletype object_r svirt_image_t)
(roletype object_r svirt_devpts_t) (roletype object_r var_lib_t)
(roletype object_r svirt_runtime_t)
(typeattributeset domain (svirt_t unconfined_t))
(typeattributeset mcs_constrained (%(constrained)s))
(mlsconstrain (file (read write append relabelfrom relabelto open))
    (or (dom h1 h2) (not (eq t1 mcs_constrained))))
(mlsconstrain (blk_file (read write append relabelfrom relabelto open))
    (or (dom h1 h2) (not (eq t1 mcs_constrained))))
(mlsconstrain (chr_file (read write append open))
    (or (dom h1 h2) (not (eq t1 mcs_constrained))))
(mlsconstrain (dir (read write add_name remove_name))
    (or (dom h1 h2) (not (eq t1 mcs_constrained))))
(mlsconstrain (process (signal sigkill sigstop ptrace))
    (or (dom h1 h2) (not (eq t1 mcs_constrained))))
(allow svirt_t svirt_image_t (file (open read write append)))
(allow svirt_t svirt_image_t (blk_file (open read write append)))
(allow svirt_t svirt_image_t (dir (read write search add_name remove_name)))
(allow svirt_t svirt_devpts_t (chr_file (open read write append)))
(allow svirt_t svirt_runtime_t (file (open read write append)))
(allow svirt_t svirt_t (process (fork signal sigkill sigstop)))
(allow svirt_t svirt_t (file (open read write append)))
(allow unconfined_t svirt_image_t (file (all)))
(allow unconfined_t svirt_devpts_t (chr_file (all)))
(allow unconfined_t unconfined_t (process (all)))
%(more)s
"""

IMAGE = contexts.Context.parse('system_u:object_r:svirt_image_t:s0')
TERMINAL = contexts.Context.parse('system_u:object_r:svirt_devpts_t:s0')


class CompiledPolicyTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        libsepol.require(self)

    def _problems(
        self,
        domain='svirt_t',
        constrained='svirt_t',
        more='',
        others=None,
    ):
        loaded = self.useFixture(
            libsepol.Policy(
                POLICY % {'constrained': constrained, 'more': more}
            )
        )
        process = contexts.Context.parse(f'system_u:system_r:{domain}:s0')
        objects = policy.parties(process, IMAGE) | {
            policy.Party.OWN_TERMINAL: str(TERMINAL.at(policy.OWN)),
            policy.Party.OTHER_TERMINAL: str(TERMINAL.at(policy.OTHER)),
            policy.Party.NEW_FILE: 'system_u:object_r:var_lib_t:s0',
            **(others or {}),
        }
        return [str(each) for each in policy.examine(objects, loaded.ask)]

    def test_a_good_policy_has_no_problem(self):
        self.assertEqual([], self._problems())

    def test_a_domain_that_no_constraint_names_is_found(self):
        found = self._problems('unconfined_t')
        self.assertIn('the disk of another guest', '\n'.join(found))
        self.assertIn('the process of another guest', '\n'.join(found))

    def test_a_module_that_exempts_the_domain_is_found(self):
        """As the attributes mcsreadall and mcswriteall do."""
        found = '\n'.join(self._problems(constrained='unconfined_t'))
        self.assertIn('Categories do not confine svirt_t', found)
        self.assertIn('file { open read write append }', found)
        self.assertIn('chr_file { open read write }', found)

    def test_a_module_that_opens_new_files_is_found(self):
        [found] = self._problems(
            more='(allow svirt_t var_lib_t (file (open read)))'
        )
        self.assertIn('file { open read }', found)
        self.assertIn('instances_path', found)

    def test_a_file_that_libvirt_leaves_open_is_found(self):
        [found] = self._problems(
            others={policy.Party.NVRAM: 'system_u:object_r:svirt_runtime_t:s0'}
        )
        self.assertIn('the NVRAM of a stopped guest', found)

    def test_a_domain_that_the_policy_does_not_know_is_found(self):
        found = '\n'.join(self._problems('no_such_t'))
        self.assertIn('no_such_t', found)
