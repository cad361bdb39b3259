# SPDX-License-Identifier: Apache-2.0
"""Hosts over ssh: a script takes the place of ssh and runs commands here.

virsh, cat and stat are scripts, too, since this machine has no guests.
"""

import json
import pathlib
import textwrap
import uuid

import fixtures
import testtools
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.mcs import levels
from svirt_nova.tempest import access
from svirt_nova.tempest import hosts
from svirt_nova.tempest import options
from tests.unit.tempest import samples

# sshd gives the last word to the user's shell, and so does this.
SSH = """
for word; do echo "$word" >>"{log}"; done
for word; do :; done
exec sh -c "$word"
"""

VIRSH = """
echo "virsh $*" >>"{log}"
case $* in
'-q -c qemu:///system domname'*) echo instance-00000007
    cat "{home}/domain.xml" ;;
'-q -c qemu:///system list --name') echo instance-00000007; echo gone; echo
    ;;
'-q -c qemu:///system list --all --uuid') echo {uuid}; echo ;;
*) echo "error: $*" >&2; exit 1 ;;
esac
"""

CAT = """
for word; do :; done
case $word in
/proc/4711/attr/current) printf '{process}\\000' ;;
/proc/*) exit 1 ;;
/sys/fs/selinux/enforce) printf 1 ;;
*) exec /bin/cat "$@" ;;
esac
"""

STAT = """
[ "$1 $2 $3" = '-c %C --' ] || exit 1
shift 3
for path; do
    /bin/cat "$path" || exit 1
done
"""


class HostTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.home = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.log = self.home / 'log'
        self.files = [self.home / "it's a disk", self.home / '$(id) disk']
        for file in self.files:
            file.write_text(samples.image() + '\n')
        (self.home / 'instance-00000007.pid').write_text('4711')
        (self.home / 'domain.xml').write_text(
            samples.domain(
                ''.join(samples.disk(str(file)) for file in self.files)
            )
        )
        for name, text in (
            ('ssh', SSH),
            ('virsh', VIRSH),
            ('cat', CAT),
            ('stat', STAT),
        ):
            self.script(name, text)
        self.host = self.reach()

    def script(self, name, text):
        path = self.home / name
        text = text.format(
            home=self.home,
            log=self.log,
            uuid=samples.UUID,
            process=samples.process(),
        )
        path.write_text(f'#!/bin/sh\n{textwrap.dedent(text)}')
        path.chmod(0o755)

    def reach(self, **options):
        options = {
            'become': ('env', f'PATH={self.home}:/usr/bin:/bin'),
            'program': str(self.home / 'ssh'),
            'run_path': str(self.home),
            'instances_path': str(self.home),
            **options,
        }
        return hosts.Host(
            'one', access.Target('192.0.2.1', 22), access.Access(**options)
        )

    def test_a_running_domain_is_read(self):
        domain = self.host.running_domain(samples.UUID)
        self.assertEqual('one', domain.host)
        self.assertEqual('instance-00000007', domain.name)
        self.assertEqual(samples.process(), domain.process)
        self.assertTrue(domain.is_enforcing)
        self.assertEqual(
            dict.fromkeys(map(str, self.files), samples.image()),
            dict(domain.files),
        )
        self.assertEqual([], domain.faults())

    def test_a_name_that_is_no_uuid_is_not_sent_to_a_host(self):
        self.assertRaises(ValueError, self.host.running_domain, 'x; reboot')
        self.assertFalse(self.log.exists())

    def test_an_instance_without_a_process_is_an_error(self):
        (self.home / 'instance-00000007.pid').unlink()
        error = self.assertRaises(
            exception.HostCommandFailed, self.host.running_domain, samples.UUID
        )
        self.assertIn('on host one', str(error))
        self.assertIn('instance-00000007.pid', str(error))

    def test_a_disk_without_a_file_is_an_error(self):
        self.files[0].unlink()
        error = self.assertRaises(
            exception.HostCommandFailed, self.host.running_domain, samples.UUID
        )
        self.assertIn('No such file', str(error))

    def test_an_answer_with_too_many_lines_is_refused(self):
        self.script('stat', 'echo a; echo b; echo c; echo d')
        error = self.assertRaises(
            exception.HostCommandFailed, self.host.running_domain, samples.UUID
        )
        self.assertIn('6 lines where 4 are needed', str(error))

    def test_a_domain_that_stopped_meanwhile_is_left_out(self):
        self.assertEqual(
            {'instance-00000007': samples.process()},
            self.host.process_contexts(),
        )

    def test_a_host_without_domains_has_no_processes(self):
        self.script('virsh', 'echo')
        self.assertEqual({}, self.host.process_contexts())
        self.assertEqual(frozenset(), self.host.domain_uuids())

    def test_the_uuids_of_domains_are_listed(self):
        self.assertIn(samples.UUID, self.host.domain_uuids())

    def test_the_directories_of_instances_are_listed(self):
        (self.home / samples.UUID).mkdir()
        self.assertIn(samples.UUID, self.host.instance_directories())

    def test_the_context_of_a_file_is_read_if_it_exists(self):
        for file in self.files:
            self.assertEqual(
                samples.image(), self.host.file_context(str(file))
            )
        self.assertIsNone(self.host.file_context(str(self.home / 'no; file')))

    def test_each_word_of_a_command_arrives_unchanged(self):
        words = ["it's", 'a $(touch /x)', '`x`', '"', '*', '', 'a;b', '-n']
        self.assertEqual(
            ''.join(f'{word}\n' for word in words),
            self.host.run(['printf', '%s\\n', *words]),
        )

    def test_a_host_that_ssh_cannot_reach_is_unreachable(self):
        self.script('ssh', 'echo "Connection refused" >&2; exit 255')
        error = self.assertRaises(
            exception.HostUnreachable, self.host.domain_uuids
        )
        self.assertIn('host one cannot be reached', str(error))
        self.assertIn('192.0.2.1 port 22: Connection refused', str(error))

    def test_a_host_that_does_not_answer_in_time_is_unreachable(self):
        self.script('ssh', 'exec sleep 60')
        error = self.assertRaises(
            exception.HostUnreachable, self.reach(timeout=1).domain_uuids
        )
        self.assertIn('within 1 s', str(error))
        self.assertIn('remote_timeout', str(error))

    def test_a_machine_without_ssh_is_told_to_install_it(self):
        host = self.reach(program=str(self.home / 'none'))
        error = self.assertRaises(exception.HostUnreachable, host.domain_uuids)
        self.assertIn('OpenSSH', str(error))

    def test_a_command_that_fails_is_named_with_its_error(self):
        error = self.assertRaises(
            exception.HostCommandFailed,
            self.host.run,
            ['sh', '-c', 'printf "\\033[31mno\\n" >&2; exit 3'],
        )
        self.assertIn('ended with 3: [31mno', str(error))

    def label_command(self, level='s0:c1,c2', state='held', **changes):
        """The command on a host where it gives one answer."""
        answer = {
            'Level': level,
            'State': state,
            'Instance': samples.UUID,
            'Project': 'p',
            'Hosts': ['one'],
            'Since': None,
            'Retired': None,
            'Note': None,
        }
        (self.home / 'answer').write_text(json.dumps({**answer, **changes}))
        self.script(
            'svirt-nova',
            """
            [ "$1 $2 $3 $4" = '--config-file /a b label show' ] || exit 1
            [ "$6 $7" = '-f json' ] || exit 1
            echo "$5" >"{home}/asked"
            exec cat "{home}/answer"
            """,
        )
        return hosts.LabelCommand(
            self.host, ['svirt-nova', '--config-file', '/a b'], 10
        )

    def test_the_allocation_of_an_instance_is_read(self):
        found = self.label_command().allocation_of(samples.UUID)
        self.assertEqual(levels.Level.parse('s0:c1,c2'), found.level)
        self.assertEqual(frozenset(['one']), found.hosts)
        self.assertEqual(
            samples.UUID, (self.home / 'asked').read_text().strip()
        )

    def test_the_holder_of_a_level_is_read(self):
        level = levels.Level.parse('s0:c2,c1')
        found = self.label_command().holder_of(level)
        self.assertEqual(samples.UUID, found.instance_uuid)
        self.assertEqual('s0:c1,c2', (self.home / 'asked').read_text().strip())
        command = self.label_command(state='free', Instance=None, Hosts=[])
        self.assertIsNone(command.holder_of(level))

    def test_an_instance_without_a_level_is_an_error(self):
        command = self.label_command()
        self.script('svirt-nova', 'echo "no level" >&2; exit 1')
        error = self.assertRaises(
            exception.HostCommandFailed, command.allocation_of, samples.UUID
        )
        self.assertIn('no level', str(error))

    def test_an_answer_about_something_else_is_refused(self):
        for changes in (
            {'Instance': str(uuid.uuid4())},
            {'state': 'free', 'Instance': None, 'Hosts': []},
        ):
            error = self.assertRaises(
                exception.HostCommandFailed,
                self.label_command(**changes).allocation_of,
                samples.UUID,
            )
            self.assertIn(f'was asked about {samples.UUID}', str(error))
        error = self.assertRaises(
            exception.HostCommandFailed,
            self.label_command().holder_of,
            samples.LEVEL,
        )
        self.assertIn(f's0:c1,c2 of instance {samples.UUID}', str(error))


class ConfiguredTest(testtools.TestCase):
    def options(self, text):
        path = self.useFixture(fixtures.TempDir()).join('tempest.conf')
        pathlib.Path(path).write_text(f'[svirt_nova]\n{text}')
        conf = cfg.ConfigOpts()
        conf.register_group(cfg.OptGroup('service_available'))
        options.register_opts(conf)
        conf([], default_config_files=[path], default_config_dirs=[])
        return conf.svirt_nova

    def test_a_configuration_without_hosts_names_none(self):
        options = self.options('')
        self.assertEqual({}, hosts.configured(options))
        self.assertIsNone(hosts.label_command(options, {}))

    def test_defaults_of_options_are_those_of_the_access(self):
        self.assertEqual(access.Access(), access.configured(self.options('')))

    def test_hosts_with_users_and_ports_are_read(self):
        options = self.options(
            'hosts = one:192.0.2.1:2222, two:me@[2001:db8::2]:22,three:h3\n'
            'become = sudo -n -u "the root"\n'
            'manage_host = two\n'
        )
        found = hosts.configured(options)
        self.assertEqual(['one', 'three', 'two'], sorted(found))
        self.assertEqual(
            ('sudo', '-n', '-u', 'the root'), access.configured(options).become
        )
        self.assertIsNotNone(hosts.label_command(options, found))

    def test_a_manage_host_that_is_not_named_is_refused(self):
        options = self.options('hosts = one:h1\nmanage_host = two\n')
        error = self.assertRaises(
            exception.InvalidOption,
            hosts.label_command,
            options,
            hosts.configured(options),
        )
        self.assertIn('[svirt_nova] manage_host', str(error))
        self.assertIn('two', str(error))
