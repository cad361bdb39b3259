# SPDX-License-Identifier: Apache-2.0
"""Reads the configuration that nova-compute reads, without Nova."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

from oslo_config import cfg

import svirt_nova.conf
from svirt_nova import exception

PROJECT = 'nova'
"""oslo.config looks for ``nova.conf`` in the directories of this name."""

PROGRAM = 'nova-compute'
"""Some distributions keep a compute's own options in a second file."""


def version() -> str:
    """The release of svirt-nova that is installed."""
    return importlib.metadata.version('svirt-nova')


def load(
    files: Sequence[str] = (), directories: Sequence[str] = ()
) -> cfg.ConfigOpts:
    """Read and check the options of svirt-nova.

    :param files: configuration files, of which later ones take precedence;
        by default those that nova-compute finds
    :param directories: directories of ``*.conf`` files, read after them
    :raises InvalidOption: a file cannot be read, or a value is not valid
    """
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    try:
        conf(arguments(files, directories), project=PROJECT, prog=PROGRAM)
        check(conf)
    except cfg.Error as error:
        raise invalid(error) from error
    return conf


def of_service(
    argv: Sequence[str],
    program: str,
    *registers: Callable[[cfg.ConfigOpts], None],
) -> cfg.ConfigOpts:
    """Read and check the options of a program that runs as a service.

    :param argv: its command line, without its name
    :param registers: register options beside those of svirt-nova
    :raises InvalidOption: see :func:`load`
    """
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    for register in registers:
        register(conf)
    try:
        conf(
            [*argv],
            project=PROJECT,
            prog=program,
            version=version(),
            default_config_files=cfg.find_config_files(PROJECT, PROGRAM),
        )
        check(conf)
    except cfg.Error as error:
        raise invalid(error) from error
    return conf


def arguments(
    files: Iterable[object], directories: Iterable[object]
) -> list[str]:
    """What names configuration files to a program.

    :param files: see :func:`load`
    :param directories: see :func:`load`
    """
    return [
        argument
        for option, paths in (
            ('--config-file', files),
            ('--config-dir', directories),
        )
        for path in paths
        for argument in (option, str(path))
    ]


def check(conf: cfg.ConfigOpts) -> None:
    """Read every option once: oslo.config checks a value when it is read.

    :raises oslo_config.cfg.Error: a value is not valid
    """
    for name in conf:
        value = conf[name]
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            for option in value:
                value[option]


def invalid(error: cfg.Error) -> exception.InvalidOption:
    """An oslo.config error as one line for people."""
    text = ' '.join(str(error).split())
    return exception.InvalidOption(f'the configuration is not valid: {text}')
