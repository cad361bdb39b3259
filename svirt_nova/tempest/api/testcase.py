# SPDX-License-Identifier: Apache-2.0
"""The base class of the tests: an instance, driven through Nova's API.

Of tempest, only what its documentation names as stable for plugins is used.
``tempest.common.waiters`` is not stable, so the class waits by itself.
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
    """Yield at least once, and again and again until the time is over.

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

    [compute] max_microversion of tempest.conf is not looked at: every Nova
    that svirt-nova extends has the microversions that are used here.
    """
    with api_microversion_fixture.APIMicroversionFixture(
        compute_microversion=version
    ):
        yield


class InstanceTestCase(test.BaseTestCase):
    """Tests that share an instance, the *subject*.

    Most of the time is spent on booting, so one subject goes through all
    tests of a class. Each test finds it active: where the test before left
    it in another status, a new subject is booted.
    """

    credentials: ClassVar[list[str]] = ['primary']
    subject: ClassVar[str | None]

    @classmethod
    def skip_checks(cls) -> None:
        """Skip the class where the cloud has no Nova or no svirt-nova."""
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
        """Ask for a network, for clouds where each project has its own."""
        cls.set_network_resources(network=True, subnet=True)
        super().setup_credentials()

    @classmethod
    def setup_clients(cls) -> None:
        """Name the clients of Nova and cinder.

        ``actions_client`` is the one that asks why an action failed; Nova
        tells administrators more than others.
        """
        super().setup_clients()
        cls.servers = cls.os_primary.servers_client
        cls.actions_client = cls.servers
        if CONF.service_available.cinder:
            cls.volumes = cls.os_primary.volumes_client_latest

    @classmethod
    def resource_setup(cls) -> None:
        """Boot the subject."""
        super().resource_setup()
        cls.subject = None
        [cls.subject] = cls.boot('subject')

    def setUp(self) -> None:
        """Boot another subject if the last test left none that is active."""
        super().setUp()
        self.renew_subject()
        self.earlier_actions = frozenset(self._actions())

    # Instances

    @classmethod
    def boot(cls, *names: str) -> list[str]:
        """Boot instances, all at once, and wait until they are active.

        :param names: a part of the name of each
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
            cls.wait_for_status(server_id, 'ACTIVE')
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
    def wait_for_status(
        cls,
        server_id: str,
        status: str,
        failures: Callable[[], list[str]] = list,
    ) -> Server:
        """Wait until a server is in a status and Nova has no task for it.

        An operation that ends in the status that it began in is not taken
        for ended too early: Nova's API sets its task before it answers.

        :param failures: gives what Nova has failed to do to the server
        :raises TempestException: the server is gone; it is in ERROR, and
            the text has Nova's fault; it is in another status, and Nova has
            failed; or it takes longer than [compute] build_timeout
        """
        server: Server = {}
        for _ in poll(CONF.compute.build_timeout, CONF.compute.build_interval):
            found = cls.show(server_id)
            if found is None:
                raise lib_exc.TempestException(
                    f'server {server_id} is gone, and was expected to become '
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
        """Wait until Nova's API does not show a server any more.

        Where Nova keeps deleted servers for a while ([DEFAULT]
        reclaim_instance_interval), the server is deleted by force.

        :raises TimeoutException: it still shows it after [compute]
            build_timeout
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
    def server_id(self) -> str:
        """The UUID of the subject."""
        assert self.subject is not None
        return self.subject

    def renew_subject(self, flavor: str | None = None) -> None:
        """Boot another subject unless this one is active and has a flavor.

        :param flavor: the flavor that it must have; None for any
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

    def wait_until(self, status: str) -> Server:
        """Wait until the subject is in a status and has no task."""
        return self.wait_for_status(
            self.server_id, status, self.failed_actions
        )

    def skip_unless(self, condition: Any, reason: str) -> None:
        """Skip the test unless a condition holds.

        :param reason: why the test cannot be run without it
        """
        if not condition:
            self.skipTest(reason)

    def fail_on(self, faults: list[str]) -> None:
        """Fail with everything that is wrong, if anything is."""
        if faults:
            self.fail('; '.join(faults))

    # Instance actions

    def _actions(self) -> dict[str, dict[str, Any]]:
        found = self.servers.list_instance_actions(self.server_id)
        return {
            action['request_id']: action for action in found['instanceActions']
        }

    def failed_actions(self) -> list[str]:
        """Which actions on the subject have failed since the test began.

        An action has a message when one of its events ended in an error
        (``action_event_finish`` of ``nova.db.main.api``).
        """
        return [
            f'{action["action"]} ({request}): {self._explain(request)}'
            for request, action in self._actions().items()
            if request not in self.earlier_actions and action['message']
        ]

    def _explain(self, request: str) -> str:
        """Why an action failed; Nova tells only administrators."""
        with microversion('2.84'):
            action = self.actions_client.show_instance_action(
                self.server_id, request
            )
        return (
            ', '.join(
                f'{event["event"]}: {event["details"]}'
                for event in action['instanceAction'].get('events', [])
                if event.get('details')
            )
            or 'no details'
        )
