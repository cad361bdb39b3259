# SPDX-License-Identifier: Apache-2.0
"""Options of the group [svirt_database]: those of oslo.db."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from oslo_config import cfg
from oslo_db import options as db_options

GROUP = 'svirt_database'

DEFAULT_CONNECTION = 'sqlite:////var/lib/nova/svirt-nova.sqlite'
"""A file that nova-compute can make without any set-up."""


def _opts() -> Sequence[cfg.Opt]:
    opts = [copy.deepcopy(opt) for opt in db_options.database_opts]
    for opt in opts:
        if opt.name == 'connection':
            opt.default = DEFAULT_CONNECTION
            opt.help = """
The database that holds the levels, as an SQLAlchemy URL.

The default is an SQLite file, made at its first use, which serves one
compute node. Several hosts must share one database: levels are unique
only within it.
"""
    opts.append(
        cfg.FloatOpt(
            'call_timeout',
            default=15.0,
            min=1.0,
            help="""
Seconds after which a call to a database server gives up, in which it tries
again after deadlocks and lost connections. The server ends transactions
that take longer. Where computes ask the service, their
``[svirt_nova_allocator] call_timeout`` must exceed twice this.

An SQLite file has its own: ``?timeout=`` in its URL.
""",
        )
    )
    return opts


OPTS = _opts()


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of [svirt_database]."""
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of [svirt_database]."""
    return [(GROUP, OPTS)]
