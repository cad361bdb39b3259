# SPDX-License-Identifier: Apache-2.0
"""Asks Nova's API whether an instance exists."""

from __future__ import annotations

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.conf import compute_api

# From 2.69 on, Nova may answer 404 for an instance in a cell that is down
# (nova.compute.api.API._get_instance_from_cell); before, it answers an error.
_MICROVERSION = '2.68'


class ComputeApi:
    """The servers of the cloud, as an administrator sees them."""

    def __init__(self, client: adapter.Adapter) -> None:
        self._client = client

    def _get(self, path: str) -> tuple[int, object]:
        try:
            response = self._client.get(
                path, microversion=_MICROVERSION, raise_exc=False
            )
        except keystone_exceptions.ClientException as error:
            raise exception.ComputeApiError(
                f'Nova does not answer: {error}'
            ) from error
        try:
            return response.status_code, response.json()
        except ValueError as error:
            raise exception.ComputeApiError(
                f'GET {path} answered {response.status_code} without JSON: '
                f'is [{compute_api.GROUP}] the endpoint of Nova?'
            ) from error

    def check(self) -> None:
        """Check that Nova answers, and to an administrator.

        :raises ComputeApiError: it does not
        """
        status, body = self._get('/os-services?binary=nova-compute')
        services = body.get('services') if isinstance(body, dict) else None
        if status != 200 or not services:
            raise exception.ComputeApiError(
                f'Nova answered {status} when asked for its compute '
                f'services. The user in [{compute_api.GROUP}] must be an '
                f'administrator'
            )

    def exists(self, instance_uuid: str) -> bool:
        """Whether Nova knows an instance that is not deleted.

        :raises ComputeApiError: any answer but the server itself, or
            Nova's own "not found"
        """
        status, body = self._get(f'/servers/{instance_uuid}')
        if isinstance(body, dict):
            server = body.get('server')
            if status == 200 and isinstance(server, dict):
                return bool(server.get('id') == instance_uuid)
            # A 404 without this comes from a proxy or another service.
            if status == 404 and 'itemNotFound' in body:
                return False
        raise exception.ComputeApiError(
            f'Nova answered {status} when asked for instance {instance_uuid}'
        )


def load(conf: cfg.ConfigOpts) -> ComputeApi:
    """A client made from the options in [svirt_nova_api].

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
        client = loading.load_adapter_from_conf_options(
            conf, compute_api.GROUP, session=session, auth=auth
        )
    except (keystone_exceptions.ClientException, cfg.Error) as error:
        raise exception.InvalidOption(
            f'[{compute_api.GROUP}]: {error}'
        ) from error
    return ComputeApi(client)
