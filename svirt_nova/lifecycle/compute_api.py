# SPDX-License-Identifier: Apache-2.0
"""Asks Nova's API whether an instance exists, and believes little.

An answer counts only if nobody but Nova gives it, and about this very
instance. Everything else is an error, and never "gone".
"""

from __future__ import annotations

import collections
import threading
import urllib.parse
import uuid
from collections.abc import Mapping
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading
from oslo_config import cfg
from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.conf import compute_api

# From 2.69 on, Nova may answer 404 for an instance in a cell that is down
# (nova.compute.api.API._get_instance_from_cell); before, it answers an error.
_MICROVERSION = '2.68'

_VERSION_HEADER = 'OpenStack-API-Version'
_VERSION = f'compute {_MICROVERSION}'
"""What Nova sends with each answer, errors too (``wsgi.ResponseObject``,
``wsgi.Fault``). Other services send their own name, and proxies none. The
old endpoint /v2 sends none either (``LegacyV2CompatibleWrapper``)."""

_REQUEST_ID = 'x-openstack-request-id'
"""Nova draws another one for each answer (``ComputeReqIdMiddleware``)."""

_BINARY = 'nova-compute'
_ATTRIBUTE_HOST = 'OS-EXT-SRV-ATTR:host'

_MOST_REQUEST_IDS = 20_000
"""How many answers are remembered, to notice that one comes again: those of
some minutes."""


class ComputeApi:
    """The servers of the cloud, as an administrator sees them.

    Several threads may ask at once.
    """

    def __init__(self, client: adapter.Adapter) -> None:
        self._client = client
        self._checking = threading.Lock()
        self._request_ids: collections.OrderedDict[str, None]
        self._request_ids = collections.OrderedDict()

    def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Nova's answer: its status, and its body.

        :raises ComputeApiError: there is none, or it is not Nova's
        """
        try:
            # A redirection would lead to another service, with our token.
            response = self._client.get(
                path,
                microversion=_MICROVERSION,
                raise_exc=False,
                redirect=False,
                headers={'Cache-Control': 'no-cache'},
            )
        except keystone_exceptions.ClientException as error:
            raise exception.ComputeApiError(
                f'Nova does not answer: {error}'
            ) from error
        what = f'GET {path} answered {response.status_code}'
        self._check_headers(what, response.headers)
        try:
            body = response.json()
        # Too many brackets make the parser of JSON give up.
        except (ValueError, RecursionError) as error:
            raise exception.ComputeApiError(
                f'{what} without JSON: is [{compute_api.GROUP}] the endpoint '
                f'of Nova?'
            ) from error
        if not isinstance(body, dict):
            raise exception.ComputeApiError(f'{what} with JSON that is no map')
        return response.status_code, body

    def _check_headers(self, what: str, headers: Mapping[str, str]) -> None:
        """Check that Nova itself has just answered."""
        version = headers.get(_VERSION_HEADER)
        if version != _VERSION:
            raise exception.ComputeApiError(
                f'{what} with {_VERSION_HEADER} {version!r} and not '
                f'{_VERSION!r}: a proxy or another service has answered, or '
                f'the endpoint in [{compute_api.GROUP}] is not that of '
                f"Nova's API v2.1"
            )
        is_new = self._is_new(headers.get(_REQUEST_ID))
        if headers.get('Age', '0') != '0' or not is_new:
            raise exception.ComputeApiError(
                f'{what} with an old answer, from a cache: let '
                f'[{compute_api.GROUP}] have an endpoint of Nova that has none'
            )

    def _is_new(self, number: str | None) -> bool:
        """Whether an answer has not come before.

        :param number: its request ID; None if it has none
        """
        if number is None:
            return True
        with self._checking:
            if number in self._request_ids:
                return False
            self._request_ids[number] = None
            if len(self._request_ids) > _MOST_REQUEST_IDS:
                self._request_ids.popitem(last=False)
            return True

    def check(self) -> clouds.Cloud:
        """Check that Nova answers, and to an administrator.

        :returns: the cloud, with all its compute services
        :raises ComputeApiError: it does not
        """
        # A service has a UUID from 2.53 on.
        status, body = self._get(f'/os-services?binary={_BINARY}')
        services = body.get('services')
        if status != 200 or not isinstance(services, list) or not services:
            raise exception.ComputeApiError(
                f'Nova answered {status} when asked for its compute '
                f'services. The user in [{compute_api.GROUP}] must be an '
                f'administrator'
            )
        found = tuple(_read_service(each) for each in services)
        self._check_administrator()
        return clouds.Cloud(self._name(), found)

    def _check_administrator(self) -> None:
        """Check that Nova shows us the instances of all projects.

        It filters those of another project out of each query unless the
        context is an administrator's (``nova.db.main.api.model_query``),
        whatever policies allow. Only deleted servers are refused by the same
        rule (``ServersController._get_servers``).
        """
        status, body = self._get(
            '/servers?all_tenants=1&status=deleted&limit=1'
        )
        if status != 200 or not isinstance(body.get('servers'), list):
            raise exception.ComputeApiError(
                f'Nova answered {status} when asked for the servers of all '
                f'projects. The user in [{compute_api.GROUP}] must be an '
                f'administrator of all of them, and must not see one alone'
            )

    def _name(self) -> str:
        """Where it is, for people."""
        endpoint = self._client.get_endpoint()
        region = self._client.region_name
        return f'{endpoint} (region {region})' if region else str(endpoint)

    def exists(self, instance_uuid: str) -> bool:
        """Whether Nova knows an instance that is not deleted.

        :raises ComputeApiError: see :meth:`find`
        """
        return self.find(instance_uuid) is not None

    def find(self, instance_uuid: str) -> clouds.Server | None:
        """What Nova says of an instance; None if it is deleted or unknown.

        :raises ComputeApiError: any answer but the server itself, or
            Nova's own "not found"
        """
        if not uuidutils.is_uuid_like(instance_uuid):
            raise exception.ComputeApiError(
                f'{instance_uuid!r} is not the UUID of an instance'
            )
        # Nova spells it like that.
        asked = str(uuid.UUID(instance_uuid))
        status, body = self._get(f'/servers/{asked}')
        if status == 200:
            return _read_server(asked, body)
        if status == 404 and _is_absence(asked, body):
            return None
        raise exception.ComputeApiError(
            f'Nova answered {status} when asked for instance {asked}, and '
            f'neither with it nor that it could not be found'
        )

    def named(self, name: str) -> list[str]:
        """The UUIDs of all instances that have a name and are not deleted.

        :raises ComputeApiError: no certain answer, or too many for one
        """
        # Nova takes it as a regular expression of its database, and each has
        # signs of its own: the answer is compared with the name.
        pattern = ''.join(
            each if each.isalnum() or each in '-_' else '.' for each in name
        )
        query = urllib.parse.urlencode(
            {'all_tenants': 1, 'name': f'^{pattern}$'}
        )
        status, body = self._get(f'/servers?{query}')
        servers = body.get('servers')
        if status != 200 or not isinstance(servers, list):
            raise exception.ComputeApiError(
                f'Nova answered {status} when asked for the instances of a '
                f'name. The user in [{compute_api.GROUP}] must be an '
                f'administrator'
            )
        if body.get('servers_links'):
            raise exception.ComputeApiError(
                'more instances have such a name than Nova lists at a time'
            )
        found = [
            each.get('id')
            for each in servers
            if isinstance(each, dict) and each.get('name') == name
        ]
        if not all(map(uuidutils.is_uuid_like, found)):
            raise exception.ComputeApiError(
                'Nova listed an instance without a UUID'
            )
        return [str(each) for each in found]


def _read_server(asked: str, body: Mapping[str, Any]) -> clouds.Server:
    """Read a body that must be about the server that was asked for."""
    server = body.get('server')
    found = server.get('id') if isinstance(server, dict) else None
    if isinstance(server, dict) and found == asked:
        return clouds.Server(
            _read_name(server.get('tenant_id')),
            _read_name(server.get(_ATTRIBUTE_HOST)),
            _read_name(server.get('name')),
        )
    told = f'with the id {found!r}' if found else 'without an id'
    if uuidutils.is_uuid_like(found) and str(uuid.UUID(found)) == asked:
        told += ', which Nova spells in another way'
    raise exception.ComputeApiError(
        f'Nova was asked for instance {asked} and answered {told}: a proxy '
        f'or a cache may have answered in its place'
    )


def _read_name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_absence(asked: str, body: Mapping[str, Any]) -> bool:
    """Whether a 404 says of this instance that it is not there.

    Nova names it, in every language (``exception.InstanceNotFound``). What
    else it could not find, such as the path, gives a 404 without that.
    """
    item = body.get('itemNotFound')
    if body.keys() != {'itemNotFound'} or not isinstance(item, dict):
        return False
    message = item.get('message')
    return (
        item.get('code') == 404
        and isinstance(message, str)
        and asked in message.split()
    )


def _read_service(service: object) -> clouds.ComputeService:
    """Read an entry of the list of compute services."""
    if isinstance(service, dict) and service.get('binary') == _BINARY:
        host, number = service.get('host'), service.get('id')
        state = service.get('state')
        if (
            isinstance(host, str)
            and host
            and uuidutils.is_uuid_like(number)
            and state in ('up', 'down')
        ):
            return clouds.ComputeService(
                host, str(uuid.UUID(number)), state == 'up'
            )
    raise exception.ComputeApiError(
        f'Nova lists a compute service without a host, a UUID or a state: '
        f'{str(service)[:200]!r}'
    )


def load(conf: cfg.ConfigOpts, most_wait: float | None = None) -> ComputeApi:
    """A client made from the options in [svirt_nova_api].

    :param most_wait: seconds that it waits at most to connect, and for each
        part of an answer; None for what the option says
    :raises InvalidOption: they are not complete
    """
    compute_api.register_opts(conf)
    try:
        auth = loading.load_auth_from_conf_options(conf, compute_api.GROUP)
        if auth is None:
            raise exception.InvalidOption(
                f'[{compute_api.GROUP}] auth_type is not set: give the '
                f'credentials of an administrator of Nova'
            )
        session = loading.load_session_from_conf_options(
            conf, compute_api.GROUP, auth=auth
        )
        if most_wait is not None:
            session.timeout = min(session.timeout or most_wait, most_wait)
        client = loading.load_adapter_from_conf_options(
            conf, compute_api.GROUP, session=session, auth=auth
        )
    except (keystone_exceptions.ClientException, cfg.Error) as error:
        raise exception.InvalidOption(
            f'[{compute_api.GROUP}]: {error}'
        ) from error
    return ComputeApi(client)
