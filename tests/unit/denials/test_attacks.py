# SPDX-License-Identifier: Apache-2.0
"""Tenants who want another one to be named, or their own attack to be lost."""

import testtools

from tests.unit.denials import test_hostile_lines as hostile
from tests.unit.denials import world

INNOCENT = 'system_u:system_r:svirt_t:s0:c419,c644'
FORGED = hostile.record('q', 'x').replace(hostile.SOURCE, INNOCENT)
SHOWN = ' scontext='.join(
    [
        'x dev="dm-0" ino=7',
        f'{INNOCENT} tcontext={hostile.TARGET} tclass=file permissive=0',
    ]
)
"""A name that looks like the end of a record of "ausearch -i"."""


def report(name):
    return (
        f'SELinux is preventing qemu from read access on the file {name}.\n\n'
        f'Additional Information:\n'
        f'Source Context                {hostile.SOURCE}\n'
        f'Target Context                {hostile.TARGET}\n'
        f'Target Objects                {name} [ file ]\n'
        f'Source                        qemu\n'
        f'Raw Audit Messages\n{hostile.record("qemu", name)}\n\n'
        f'Hash: qemu,svirt_t,svirt_image_t,file,read\n'
    )


class AttackCase(testtools.TestCase):
    def check_nobody_is_named(self, text):
        answers = hostile.answers(text)
        self.assertNotEqual([], answers)
        for found in answers:
            self.assertEqual(hostile.NOBODY, found)


class ForgedTest(AttackCase):
    def test_a_name_of_many_lines_ends_no_report(self):
        lines = '\n' * 600
        for name in (
            f'x\nSource Context  {INNOCENT}\nTarget Context  {hostile.TARGET}'
            f'\nRaw Audit Messages\n{FORGED}{lines}',
            f'x{lines}{FORGED}\n',
            f'x{lines}SELinux is preventing\nSource Context  {INNOCENT}\n'
            f'Target Context  {hostile.TARGET}\nRaw Audit Messages\n{FORGED}',
        ):
            self.check_nobody_is_named(report(name))

    def test_a_name_that_ends_a_report_and_begins_one_names_nobody(self):
        whole = report('x').replace(hostile.SOURCE, INNOCENT)
        for name in (f'{whole}SELinux is preventing x', f'x\n{whole}' * 2):
            self.check_nobody_is_named(report(name))

    def test_what_comes_behind_a_report_of_many_lines_is_told(self):
        lines = [hostile.record('a', 'b')] * 600
        found = world.judge(report('x') + '\n'.join(lines))
        self.assertGreater(len(found), 100)
        for sighting, judged in found:
            self.assertEqual('doubtful', judged.verdict.value)
            self.assertIn('report', sighting.doubt)

    def test_a_name_in_a_listing_adds_no_record(self):
        for before in (
            f'{hostile.TARGET} a',
            f'-rw-r--r--. 1 qemu qemu {hostile.TARGET} 7 Nov  1 10:00 a',
            f'{hostile.TARGET} {FORGED}',
            f'{hostile.TARGET} ',
            'total 4',
            '? a',
            '-rw-r--r--. 1 qemu qemu ? 7 Nov  1 10:00 a',
            'LABEL                             PID TTY          TIME CMD',
        ):
            for added in (
                FORGED,
                report('x').replace(hostile.SOURCE, INNOCENT),
            ):
                found = hostile.answers(f'{before}\n{added}')
                self.assertEqual(hostile.NOBODY, found[-1], before)

    def test_a_name_of_a_file_without_a_label_is_no_label(self):
        for before in (
            '?',
            '-rw-r--r-- root root ?',
            '-rw-r--r-- 107 107 ?',
            '-rw-r--r-- 1 root root ?',
            '42 ?',
        ):
            self.assertEqual([], hostile.answers(f'{before} {hostile.TARGET}'))

    def test_a_message_that_a_program_may_have_cut_names_nobody(self):
        text = (
            f'type=USER_AVC msg=audit({hostile.TIME}): pid=1 uid=0 '
            f"auid=4294967295 ses=4294967295 msg='avc:  denied  {{ start }} "
            f'for auid=n/a uid=107 gid=107 path="/x" cmdline="%s" '
            f'function="f" scontext={INNOCENT} tcontext={hostile.TARGET} '
            f'tclass=service permissive=0 exe="/usr/lib/systemd/systemd" '
            f"sauid=0 hostname=? addr=? terminal=?'"
        )
        self.check_nobody_is_named(text % ('a' * 800))
        [found] = hostile.answers(text % 'a')
        self.assertEqual(('cross-project', 'ann-db', 'bob-db'), found)

    def test_an_interpreted_name_cannot_end_a_record(self):
        for end in ('\x1d', '\x1dAUID="x', '#035A=', '\x1e', '\r', '\x00'):
            text = hostile.record(
                'qemu', f'{SHOWN}{end}', hostile.INTERPRETED, str
            )
            self.check_nobody_is_named(text)
            if end != '\r':
                # As if it were cut off there.
                self.check_nobody_is_named(text.partition(end)[0] + end)

    def test_an_outcome_that_cannot_be_read_is_none(self):
        for value in ('2', '0x', '0#035', '-', ''):
            self.check_nobody_is_named(
                hostile.record('a', 'b').removesuffix('0') + value
            )


class HiddenTest(testtools.TestCase):
    def test_the_name_of_a_process_hides_no_attack(self):
        for comm in (
            'q pid=1',
            'x scontext=y',
            'x tclass=y',
            'x srawcon=y',
            'x path=/y',
            'x dev=',
            '\n\n\n scontext=',
        ):
            text = hostile.record(
                comm, 'disk', hostile.INTERPRETED, hostile.shown
            )
            self.assertEqual([hostile.RIGHT], hostile.answers(text), comm)

    def test_a_path_makes_no_file_of_the_host_an_own_one(self):
        own = world.INSTANCES['ann-web']
        for type_name, expected in (
            ('shadow_t', 'host'),
            ('etc_t', 'host'),
            ('nova_var_lib_t', 'own'),
        ):
            text = hostile.record('q', f'/t/{own}/shadow').replace(
                'name=', 'path='
            )
            text = text.replace(
                hostile.TARGET, f'system_u:object_r:{type_name}:s0'
            )
            self.assertEqual(
                [(expected, 'ann-web', None)], hostile.answers(text)
            )

    def test_what_rsyslog_escapes_does_not_change_the_outcome(self):
        text = hostile.record('a', 'b')
        [(plain, _)] = world.judge(text)
        for more in ('\x1dARCH=x86_64', '#035ARCH=x86_64 SYSCALL="read"'):
            [(sighting, judged)] = world.judge(
                f'May 20 10:00:00 compute1 audisp-syslog[7]: {text}{more}'
            )
            self.assertEqual('cross-project', judged.verdict.value)
            self.assertEqual(plain.access, sighting.access)
