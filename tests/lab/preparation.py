# SPDX-License-Identifier: Apache-2.0
"""What every host gets before it becomes a particular one.

A saved state holds all of it: units, interpreters that have imported the
modules of nova-compute and cinder-volume, and what libvirt finds out about
its QEMU. The project itself is not part of it: every run installs that anew.
"""

from __future__ import annotations

from tests.lab import cache
from tests.lab import wheels
from tests.lab.machine import Machine

_PLACE = '/usr/local/lib/svirt-nova-lab'
#: Runs inside a host: it looks, and attacks.
PROBE = f'{_PLACE}/probe.py'
#: cinder's driver. It lies beside all other modules, so that all programs have
#: the same path: stevedore caches the entry points that it finds on a path.
_SHAREABLE = 'shareable.py'
#: What each waiting interpreter has imported; see ``preforked.py``. There are
#: two because Nova runs native threads and cinder those of eventlet.
INTERPRETERS = {
    'nova': (
        'nova.cmd.compute',
        'nova.objects:register_all',
        'nova.compute.manager',
        'nova.compute.monitors.cpu.virt_driver',
        'nova.servicegroup.drivers.db',
        'nova.virt.libvirt.driver',
        # The modules above load these by name, or when they need them.
        'alembic.command',
        'dogpile.cache.backends.null',
        'keystoneauth1.loading._plugins.identity.generic',
        'kombu.transport.pyamqp',
        'oslo_messaging._drivers.impl_rabbit',
        'sqlalchemy.dialects.sqlite',
        'sqlalchemy.ext.compiler',
        'vif_plug_noop.noop',
        'vif_plug_ovs.ovs',
        # The operator's command and the probe need these.
        'cliff.app',
        'cliff.formatters.json_format',
        'libvirt',
        'libvirt_qemu',
        'selinux',
    ),
    'cinder': (
        'cinder.cmd.volume',
        'cinder.objects:register_all',
        'cinder.volume.manager',
        'cinder.volume.drivers.nfs',
        'kombu.transport.pyamqp',
        'oslo_messaging._drivers.impl_rabbit',
        'pymysql',
    ),
}
_PATH = f'{cache.VENV}/bin:/usr/sbin:/usr/bin:/sbin:/bin'
_INTERPRETER = f"""\
[Service]
Type=notify
ExecStart={cache.VENV}/bin/python3 {_PLACE}/preforked.py {{socket}} {{modules}}
Environment=PATH={_PATH}
LimitNOFILE=65536
TimeoutStartSec=600
"""
_SERVICE = f"""\
[Unit]
Wants={{interpreter}}.service
After={{interpreter}}.service libvirtd.service

[Service]
Type=forking
PIDFile=/run/{{name}}.pid
ExecStart={{command}} --config-file {{configuration}} --log-file {{log}}
Environment=PATH={_PATH}
LimitNOFILE=65536
TimeoutStopSec=30
"""


def _interpreter(name: str) -> str:
    return f'preforked-{name}'


def _socket(name: str) -> str:
    return f'/run/{_interpreter(name)}.socket'


def python(interpreter: str = 'nova', pid_file: str = '-') -> str:
    """Give the command that runs a Python script in a host.

    :param interpreter: the one that forks for it
    :param pid_file: for a service: where its process is to be noted
    """
    return (
        f'/usr/bin/python3 -I -S {_PLACE}/preforked_client.py '
        f'{_socket(interpreter)} {pid_file}'
    )


def _service(name: str, interpreter: str, configuration: str, log: str) -> str:
    return _SERVICE.format(
        name=name,
        interpreter=_interpreter(interpreter),
        command=f'{python(interpreter, f"/run/{name}.pid")} '
        f'{cache.VENV}/bin/{name}',
        configuration=configuration,
        log=log,
    )


def files() -> dict[str, str]:
    """Give all files, by their paths in the host."""
    units = {
        'nova-compute': _service(
            'nova-compute',
            'nova',
            '/etc/nova/nova.conf',
            '/var/log/nova/nova-compute.log',
        ),
        'cinder-volume': _service(
            'cinder-volume',
            'cinder',
            '/etc/cinder/cinder.conf',
            '/var/log/cinder-volume.log',
        ),
    }
    for name, modules in INTERPRETERS.items():
        units[_interpreter(name)] = _INTERPRETER.format(
            socket=_socket(name), modules=' '.join(modules)
        )
    programs = ('preforked.py', 'preforked_client.py', 'probe.py')
    return {
        **{
            f'/etc/systemd/system/{name}.service': text
            for name, text in units.items()
        },
        **{
            f'{_PLACE}/{name}': (cache.HERE / name).read_text()
            for name in programs
        },
        f'{wheels.SITE}/{_SHAREABLE}': (cache.HERE / _SHAREABLE).read_text(),
    }


def prepare(machine: Machine) -> None:
    """Prepare a machine that has booted; its kernel enforces from here on."""
    machine.run(f'mkdir -p {_PLACE}')
    for path, text in files().items():
        machine.write(path, text)
    machine.enforce()
    interpreters = ' '.join(map(_interpreter, INTERPRETERS))
    # libvirt asks its QEMU for its capabilities, and caches them.
    machine.run(
        f'systemctl daemon-reload; systemctl start --no-block {interpreters}; '
        'virsh capabilities >/dev/null; virsh domcapabilities >/dev/null; '
        f'systemctl start {interpreters}',
        timeout=900,
    )
