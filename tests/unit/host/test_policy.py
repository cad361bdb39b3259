# SPDX-License-Identifier: Apache-2.0
"""What is asked of a policy, and what is made of the answers."""

from __future__ import annotations

import testtools

from svirt_nova import exception
from svirt_nova.host import policy
from svirt_nova.mcs import contexts
from tests import samples
from tests.fakes import kernel as fake_kernel

PROCESS = contexts.Context.parse(samples.PROCESS_TEXT)
IMAGE = contexts.Context.parse(samples.IMAGE_TEXT)


class ExamineTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.kernel = fake_kernel.Kernel()
        self.objects = policy.parties(PROCESS, IMAGE)

    def _problems(self, **options):
        return policy.examine(self.objects, self.kernel.ask, **options)

    def _only(self):
        [found] = self._problems()
        return found

    def test_a_policy_that_keeps_guests_apart_has_no_problem(self):
        self.assertEqual([], self._problems())
        self.assertGreater(self.kernel.asked, 5)

    def test_a_permissive_domain_is_told_with_its_remedy(self):
        self.kernel.permissive = {'svirt_t'}
        found = self._only()
        self.assertTrue(found.is_fatal)
        self.assertIn('semanage permissive -d svirt_t', found.text)

    def test_a_domain_without_constraint_is_told_with_each_right(self):
        self.kernel.exempt = {'svirt_t'}
        self.objects[policy.Party.NEW_FILE] = 'system_u:object_r:var_lib_t:s0'
        found = self._problems()
        self.assertTrue(all(each.is_fatal for each in found))
        text = '\n'.join(map(str, found))
        for part in (
            'the disk of another guest (system_u:object_r:svirt_image_t:'
            's0:c1,c3)',
            'file { open read write append relabelfrom relabelto }',
            'blk_file { open read',
            'process { signal sigkill sigstop ptrace }',
            'a file that Nova makes in instances_path',
            'Categories do not confine svirt_t',
        ):
            self.assertIn(part, text)

    def test_one_right_too_many_is_told(self):
        """Each permission is judged by itself."""
        for question in policy.QUESTIONS:
            if question.expected is not policy.Answer.REFUSED:
                continue
            objects = dict.fromkeys(policy.Party, 'u:r:t:s0')
            for name in question.permissions:

                def ask(*args, allowed=frozenset([name])):
                    return policy.Decision(allowed)

                found = policy.examine(objects, ask, [question])
                self.assertEqual(
                    [question.is_fatal],
                    [each.is_fatal for each in found],
                    (question, name),
                )
                self.assertIn(f'{{ {name} }}', found[0].text)

    def test_what_every_guest_needs_must_be_allowed(self):
        self.kernel.denied = {'write'}
        text = self._only().text
        self.assertIn('refuses a guest', text)
        self.assertIn('its own disk', text)
        self.assertIn('file { write }', text)

    def test_emulation_needs_executable_memory(self):
        self.kernel.denied = {'execmem'}
        self.assertEqual([], self._problems())
        [found] = self._problems(questions=[policy.EMULATION])
        self.assertIn('virt_use_execmem', found.text)

    def test_what_libvirt_leaves_open_is_a_warning(self):
        self.objects[policy.Party.NVRAM] = str(IMAGE.at(policy.OWN))
        found = self._only()
        self.assertFalse(found.is_fatal)
        self.assertIn('the NVRAM of a stopped guest', found.text)
        # Without -F the level stays, and the type alone is changed.
        self.assertIn('"restorecon -F"', found.text)

    def test_a_cache_that_guests_may_change_is_a_warning(self):
        self.objects[policy.Party.CACHE] = str(IMAGE.at(policy.OWN))
        found = self._only()
        self.assertFalse(found.is_fatal)
        self.assertIn('how libvirt starts any guest', found.text)

    def test_guests_must_not_leave_links_where_libvirt_follows_them(self):
        for whom, harm in (
            (policy.Party.LIBVIRT, 'by a symbolic link'),
            (policy.Party.DBUS, 'kill any process'),
        ):
            self.objects[whom] = str(IMAGE.at(policy.OWN))
            found = self._only()
            self.assertTrue(found.is_fatal)
            self.assertIn('dir { write add_name remove_name }', found.text)
            self.assertIn(harm, found.text)
            del self.objects[whom]

    def test_what_keeps_guests_from_running_comes_first(self):
        self.objects[policy.Party.NVRAM] = str(IMAGE.at(policy.OWN))
        self.kernel.denied = {'fork'}
        self.assertEqual(
            [True, False], [each.is_fatal for each in self._problems()]
        )

    def test_a_question_that_is_not_answered_is_a_problem(self):
        def ask(*args):
            raise exception.UnconfinedHost('no such type')

        [found] = policy.examine(self.objects, ask)
        self.assertTrue(found.is_fatal)
        self.assertEqual('no such type', found.text)

    def test_the_levels_of_the_two_guests_share_a_category(self):
        own, other = policy.OWN.categories, policy.OTHER.categories
        self.assertTrue(own & other)
        self.assertTrue(own - other and other - own)
