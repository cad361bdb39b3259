# SPDX-License-Identifier: Apache-2.0
"""An instance that tests work on, by Nova's API.

Of tempest, only what its documentation names as stable for plugins is used.
``tempest.common.waiters`` is not, hence the waiting here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import ClassVar

from tempest import config
from tempest import test
from tempest.common import compute
from tempest.lib import exceptions as lib_exc
from tempest.lib.common import api_microversion_fixture
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils

CONF = config.CONF

Server = dict[str, Any]
"""A server as Nova's API shows it."""


def poll(seconds: float, interval: float) -> Iterator[None]:
    """Give the caller turns, at least one, until the time is over.

    :param seconds: how long
    :param interval: seconds between two turns
    """
    deadline = time.monotonic() + seconds
    yield
    while time.monotonic() < deadline:
        time.sleep(interval)
        yield


@contextlib.contextmanager
def microversion(version: str) -> Iterator[None]:
    """Let the calls within ask for a microversion of Nova's API.

    Every Nova that svirt-nova runs beside has those used here, so
    [compute] max_microversion is not asked.
    """
    with api_microversion_fixture.APIMicroversionFixture(
        compute_microversion=version
    ):
        yield


class InstanceTest(test.BaseTestCase):
    """Tests that share an instance, the *subject*.

    Booting is what takes time, so one subject goes through all tests of a
    class. Each finds it active: where a test left it otherwise, the next
    one gets a new one.
    """

    credentials: ClassVar[list[str]] = ['primary']
    subject: ClassVar[str | None]

    @classmethod
    def skip_checks(cls) -> None:
        """Skip where the cloud has no Nova or no svirt-nova."""
        super().skip_checks()
        if not CONF.service_available.nova:
            raise cls.skipException('[service_available] nova is False')
        if not CONF.service_available.svirt_nova:
            raise cls.skipException(
                '[service_available] svirt_nova is False: tempest.conf does '
                'not say that this cloud runs svirt-nova'
            )

    @classmethod
    def setup_credentials(cls) -> None:
        """Ask for a network, where each project is to have its own."""
        cls.set_network_resources(network=True, subnet=True)
        super().setup_credentials()

    @classmethod
    def setup_clients(cls) -> None:
        """Name the clients."""
        super().setup_clients()
        cls.servers = cls.os_primary.servers_client
        cls.witness = cls.servers
        if CONF.service_available.cinder:
            cls.volumes = cls.os_primary.volumes_client_latest

    @classmethod
    def resource_setup(cls) -> None:
        """Boot the subject."""
        super().resource_setup()
        cls.subject = None
        [cls.subject] = cls.boot('subject')

    def setUp(self) -> None:
        """See that there is a subject that a test can begin with."""
        super().setUp()
        self.renew_subject()
        self.known_actions = frozenset(self._actions())

    # Instances

    @classmethod
    def boot(cls, *names: str) -> list[str]:
        """Boot instances, all at once; wait until they are active.

        :param names: what they are called, in part
        :returns: their UUIDs
        :raises TempestException: one of them does not become active
        """
        created = []
        for name in names:
            body, _ = compute.create_test_server(
                cls.os_primary,
                tenant_network=cls.get_tenant_network(),
                name=data_utils.rand_name(
                    f'svirt-nova-{name}', prefix=CONF.resource_name_prefix
                ),
                config_drive=CONF.compute_feature_enabled.config_drive,
            )
            created.append(body['id'])
            cls.addClassResourceCleanup(cls.wait_until_gone, body['id'])
            cls.addClassResourceCleanup(
                test_utils.call_and_ignore_notfound_exc,
                cls.servers.delete_server,
                body['id'],
            )
        for server_id in created:
            cls.wait_for(server_id, 'ACTIVE')
        return created

    @classmethod
    def show(cls, server_id: str) -> Server | None:
        """A server as Nova's API shows it; None when there is none."""
        try:
            server: Server = cls.servers.show_server(server_id)['server']
        except lib_exc.NotFound:
            return None
        return server

    @classmethod
    def wait_for(
        cls,
        server_id: str,
        status: str,
        failures: Callable[[], list[str]] = list,
    ) -> Server:
        """Wait until Nova has brought a server into a status, and rests.

        Nova's API sets the task of every operation that ends in the status
        it began in before it answers, so that is not taken for the end.

        :param failures: what Nova has failed to do to the server
        :raises TempestException: the server is gone, or in error, which
            Nova's fault explains, or in another status after a failure, or
            it takes too long
        """
        server: Server = {}
        for _ in poll(CONF.compute.build_timeout, CONF.compute.build_interval):
            found = cls.show(server_id)
            if found is None:
                raise lib_exc.TempestException(
                    f'server {server_id} is gone while it was to become '
                    f'{status}'
                )
            server = found
            if server['OS-EXT-STS:task_state'] is None:
                if server['status'] == status:
                    return server
                if server['status'] == 'ERROR':
                    fault = server.get('fault', {}).get('message', 'no fault')
                    raise lib_exc.TempestException(
                        f'server {server_id} is in ERROR, not {status}: '
                        f'{fault}'
                    )
                if failed := failures():
                    raise lib_exc.TempestException(
                        f'server {server_id} is {server["status"]}, not '
                        f'{status}; Nova failed: {"; ".join(failed)}'
                    )
        raise lib_exc.TimeoutException(
            f'server {server_id} is {server["status"]} (task '
            f'{server["OS-EXT-STS:task_state"]}), not {status}, after '
            f'{CONF.compute.build_timeout} s; see [compute] build_timeout'
        )

    @classmethod
    def wait_until_gone(cls, server_id: str) -> None:
        """Wait until Nova's API has no such server any more.

        Where Nova keeps deleted servers for a while ([DEFAULT]
        reclaim_instance_interval), it is told not to.

        :raises TimeoutException: it has it still
        """
        for _ in poll(CONF.compute.build_timeout, CONF.compute.build_interval):
            server = cls.show(server_id)
            if server is None:
                return
            if server['status'] == 'SOFT_DELETED':
                test_utils.call_and_ignore_notfound_exc(
                    cls.servers.force_delete_server, server_id
                )
        raise lib_exc.TimeoutException(
            f'server {server_id} is still there {CONF.compute.build_timeout} '
            f's after it was deleted; see [compute] build_timeout'
        )

    @classmethod
    def delete(cls, server_id: str) -> None:
        """Delete a server and wait until it is gone."""
        test_utils.call_and_ignore_notfound_exc(
            cls.servers.delete_server, server_id
        )
        cls.wait_until_gone(server_id)

    # The subject

    @property
    def server(self) -> str:
        """The UUID of the subject."""
        assert self.subject is not None
        return self.subject

    def renew_subject(self, flavor: str | None = None) -> None:
        """Boot another subject, where this one is not as it should be.

        :param flavor: what it should have; any will do if None
        """
        cls = type(self)
        if cls.subject is not None:
            server = self.show(cls.subject)
            if (
                server is not None
                and server['status'] == 'ACTIVE'
                and server['OS-EXT-STS:task_state'] is None
                and flavor in (None, server['flavor']['id'])
            ):
                return
            self.delete(cls.subject)
            cls.subject = None
        [cls.subject] = cls.boot('subject')

    def wait(self, status: str) -> Server:
        """Wait until the subject is in a status, and rests."""
        return self.wait_for(self.server, status, self.failed_actions)

    def need(self, holds: Any, reason: str) -> None:
        """Skip the test unless a thing holds.

        :param reason: what does not hold, then
        """
        if not holds:
            self.skipTest(reason)

    def refuse(self, faults: list[str]) -> None:
        """Fail with everything that is wrong, if anything is."""
        if faults:
            self.fail('; '.join(faults))

    # What anybody sees

    def _actions(self) -> dict[str, dict[str, Any]]:
        found = self.servers.list_instance_actions(self.server)
        return {
            action['request_id']: action for action in found['instanceActions']
        }

    def failed_actions(self) -> list[str]:
        """What Nova did to the subject since the test began, and failed.

        An action has a message when one of its events ended in an error
        (``action_event_finish`` of ``nova.db.main.api``).
        """
        return [
            f'{action["action"]} ({request}): {self._explain(request)}'
            for request, action in self._actions().items()
            if request not in self.known_actions and action['message']
        ]

    def _explain(self, request: str) -> str:
        """Why an action failed, which only administrators are told."""
        with microversion('2.84'):
            action = self.witness.show_instance_action(self.server, request)
        return (
            ', '.join(
                f'{event["event"]}: {event["details"]}'
                for event in action['instanceAction'].get('events', [])
                if event.get('details')
            )
            or 'no details'
        )
