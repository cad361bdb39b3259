# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt_metrics]: how metrics are shown."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg

GROUP = 'svirt_metrics'

OPTS: Sequence[cfg.Opt] = (
    cfg.ListOpt(
        'listen',
        default=[],
        sample_default=['127.0.0.1:9177', 'svirt-nova-alarm=127.0.0.1:9178'],
        help="""
Where this program answers Prometheus by HTTP: an address and a port, such as
``127.0.0.1:9177`` or ``[::1]:9177``. By default it does not.

Only one program can have a port. Where several programs of a host read the
same file, put the name of a program before its address:
``svirt-nova-alarm=127.0.0.1:9178``. An address without a name is for all
programs that are not named.

Whoever reaches the port can read how full the level space is and how many
guests run here, but no names. Use the loopback device, or a network that
guests and tenants do not reach. In a nova-compute that runs eventlet, use
``textfile_directory``: there, nothing answers while a library blocks.
""",
    ),
    cfg.StrOpt(
        'textfile_directory',
        sample_default='/var/lib/prometheus/node-exporter',
        help="""
The directory of node_exporter's text files (its
``--collector.textfile.directory``), in which this program writes a file with
its name and ``.prom``. By default it writes none.

The directory must exist, and the user of the program must be allowed to make
files in it.
""",
    ),
    cfg.IntOpt(
        'interval',
        default=30,
        min=1,
        help="""
Seconds between two writes of that file and, in the allocator service, between
two looks at the store. A scrape never asks the store.
""",
    ),
)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt_metrics]."""
    conf.register_opts(OPTS, group=GROUP)


def is_wanted(conf: cfg.ConfigOpts) -> bool:
    """Whether the options say that metrics are shown at all."""
    options = conf.svirt_metrics
    return bool(options.listen or options.textfile_directory)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt_metrics]."""
    return [(GROUP, OPTS)]
