# SPDX-License-Identifier: Apache-2.0
"""Asks Nova's conductor for programs that do not run inside of nova-compute.

oslo.messaging waits without limit for its first connection to the bus, so
that each question is asked in a thread of its own, and given up after a
while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from typing import TypeVar

import nova.conf
import oslo_messaging
from nova import exception as nova_exception
from nova import objects
from nova import rpc
from nova.conductor import rpcapi
from nova.objects import base

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.virt import claims
from svirt_nova.virt import whereabouts

CONF = nova.conf.CONF
Answer = TypeVar('Answer')

_TIMEOUT = 10.0
"""Seconds to wait for an answer, the connection included."""


def connect() -> None:
    """Have Nova's objects ask the conductor, as nova-compute has them.

    :raises ComputeApiError: the configuration names no message bus
    """
    if isinstance(base.NovaObject.indirection_api, rpcapi.ConductorAPI):
        return
    if not oslo_messaging.TransportURL.parse(CONF).hosts:
        raise exception.ComputeApiError(
            'Nova is not asked: [DEFAULT] transport_url names no message '
            'bus. Give the configuration files of nova-compute with '
            '--config-file'
        )
    # As nova.config.parse_args and nova.cmd.compute.main do.
    rpc.set_defaults(control_exchange='nova')
    objects.register_all()
    rpc.init(CONF)
    base.NovaObject.indirection_api = rpcapi.ConductorAPI()


def ask(question: Callable[[], Answer]) -> Answer:
    """Ask something that the conductor has to answer.

    :param question: what asks it
    :raises SvirtError: what the question itself raises
    :raises ComputeApiError: there is no answer
    """
    connect()
    answers: list[Answer] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(question())
        except Exception as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_TIMEOUT)
    if answers:
        return answers[0]
    if not errors:
        raise exception.ComputeApiError(
            f"Nova's conductor did not answer within {_TIMEOUT:.0f} seconds; "
            f'check [DEFAULT] transport_url, the message bus and '
            f'nova-conductor'
        )
    if isinstance(
        errors[0],
        nova_exception.NovaException | oslo_messaging.MessagingException,
    ):
        raise exception.ComputeApiError(
            f"Nova's conductor does not answer: {errors[0]}"
        ) from errors[0]
    raise errors[0]


def remembered_levels(
    host_name: str,
) -> dict[str, types.InstanceLevels | None]:
    """What Nova remembers of the instances of a host, by UUID.

    :param host_name: the name of the host, as Nova has it
    :raises SvirtError: what is remembered is not a level
    """
    found: Any = objects.InstanceList.get_by_host(
        whereabouts.admin(), host_name, expected_attrs=['system_metadata']
    )
    return {each.uuid: claims.remembered_levels(each) for each in found}
