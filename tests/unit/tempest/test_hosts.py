# SPDX-License-Identifier: Apache-2.0
"""Hosts over ssh: a script stands for ssh, and runs commands right here.

virsh, cat and stat are scripts, too, since this machine has no guests.
"""

import pathlib
import textwrap

import fixtures
import testtools
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.tempest import access
from svirt_nova.tempest import hosts
from svirt_nova.tempest import options
from tests.unit.tempest import showing

# What sshd does with its last word: it gives it to the user's shell.
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
            file.write_text(showing.image('s0:c12,c900') + '\n')
        (self.home / 'instance-00000007.pid').write_text('4711')
        (self.home / 'domain.xml').write_text(
            showing.domain(
                ''.join(showing.disk(str(file)) for file in self.files)
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
            uuid=showing.UUID,
            process=showing.process('s0:c12,c900'),
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

    def test_a_guest_is_looked_at(self):
        guest = self.host.look(showing.UUID)
        self.assertEqual('one', guest.host)
        self.assertEqual('instance-00000007', guest.name)
        self.assertEqual(showing.process('s0:c12,c900'), guest.process)
        self.assertTrue(guest.enforced)
        self.assertEqual(
            dict.fromkeys(map(str, self.files), showing.image('s0:c12,c900')),
            dict(guest.files),
        )
        self.assertEqual([], guest.faults())

    def test_only_a_uuid_is_looked_for(self):
        self.assertRaises(ValueError, self.host.look, 'x; reboot')
        self.assertFalse(self.log.exists())

    def test_a_guest_that_does_not_run(self):
        (self.home / 'instance-00000007.pid').unlink()
        error = self.assertRaises(
            exception.HostCommandFailed, self.host.look, showing.UUID
        )
        self.assertIn('on host one', str(error))
        self.assertIn('instance-00000007.pid', str(error))

    def test_a_file_that_is_gone(self):
        self.files[0].unlink()
        error = self.assertRaises(
            exception.HostCommandFailed, self.host.look, showing.UUID
        )
        self.assertIn('No such file', str(error))

    def test_a_host_that_says_too_much(self):
        self.script('stat', 'echo a; echo b; echo c; echo d')
        error = self.assertRaises(
            exception.HostCommandFailed, self.host.look, showing.UUID
        )
        self.assertIn('6 lines where 4 are needed', str(error))

    def test_the_processes_of_guests_that_still_run(self):
        self.assertEqual(
            {'instance-00000007': showing.process('s0:c12,c900')},
            self.host.processes(),
        )

    def test_a_host_without_guests(self):
        self.script('virsh', 'echo')
        self.assertEqual({}, self.host.processes())
        self.assertEqual(frozenset(), self.host.domains())

    def test_the_domains_of_a_host(self):
        self.assertIn(showing.UUID, self.host.domains())

    def test_the_directories_of_instances(self):
        (self.home / showing.UUID).mkdir()
        self.assertIn(showing.UUID, self.host.instances())

    def test_the_label_of_a_file(self):
        for file in self.files:
            self.assertEqual(
                showing.image('s0:c12,c900'), self.host.label(str(file))
            )
        self.assertIsNone(self.host.label(str(self.home / 'no; file')))

    def test_every_word_arrives_as_it_is(self):
        words = ["it's", 'a $(touch /x)', '`x`', '"', '*', '', 'a;b', '-n']
        self.assertEqual(
            ''.join(f'{word}\n' for word in words),
            self.host.run(['printf', '%s\\n', *words]),
        )

    def test_a_host_that_ssh_does_not_get_to(self):
        self.script('ssh', 'echo "Connection refused" >&2; exit 255')
        error = self.assertRaises(exception.HostUnreachable, self.host.domains)
        self.assertIn('host one cannot be reached', str(error))
        self.assertIn('192.0.2.1 port 22: Connection refused', str(error))

    def test_a_host_that_does_not_answer(self):
        self.script('ssh', 'exec sleep 60')
        error = self.assertRaises(
            exception.HostUnreachable, self.reach(timeout=1).domains
        )
        self.assertIn('within 1 s', str(error))
        self.assertIn('remote_timeout', str(error))

    def test_no_ssh_on_this_machine(self):
        host = self.reach(program=str(self.home / 'none'))
        error = self.assertRaises(exception.HostUnreachable, host.domains)
        self.assertIn('OpenSSH', str(error))

    def test_a_command_that_fails(self):
        error = self.assertRaises(
            exception.HostCommandFailed,
            self.host.run,
            ['sh', '-c', 'printf "\\033[31mno\\n" >&2; exit 3'],
        )
        self.assertIn('ended with 3: [31mno', str(error))

    def test_what_the_allocator_says(self):
        self.script(
            'svirt-nova',
            """
            [ "$*" = '--config-file /a b label show s0:c1,c2 -f json' ] ||
                exit 1
            echo '{{"Level": "s0:c1,c2", "State": "free", "Instance": null,'
            echo '"Hosts": []}}'
            """,
        )
        manager = hosts.Manager(
            self.host, ['svirt-nova', '--config-file', '/a b'], 10
        )
        self.assertEqual('free', manager.show('s0:c1,c2').state)
        self.assertRaises(
            exception.HostCommandFailed, manager.show, showing.UUID
        )


class ConfiguredTest(testtools.TestCase):
    def options(self, text):
        path = self.useFixture(fixtures.TempDir()).join('tempest.conf')
        pathlib.Path(path).write_text(f'[svirt_nova]\n{text}')
        conf = cfg.ConfigOpts()
        conf.register_group(cfg.OptGroup('service_available'))
        options.register_opts(conf)
        conf([], default_config_files=[path], default_config_dirs=[])
        return conf.svirt_nova

    def test_no_host_by_default(self):
        options = self.options('')
        self.assertEqual({}, hosts.configured(options))
        self.assertIsNone(hosts.manager(options, {}))

    def test_the_defaults_are_those_of_the_access(self):
        self.assertEqual(access.Access(), access.configured(self.options('')))

    def test_hosts_with_ports(self):
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
        self.assertIsNotNone(hosts.manager(options, found))

    def test_a_host_that_is_not_named(self):
        options = self.options('hosts = one:h1\nmanage_host = two\n')
        error = self.assertRaises(
            exception.InvalidOption,
            hosts.manager,
            options,
            hosts.configured(options),
        )
        self.assertIn('[svirt_nova] manage_host', str(error))
        self.assertIn('two', str(error))
