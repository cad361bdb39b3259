# SPDX-License-Identifier: Apache-2.0
"""Runs the plugin's tests in simulated clouds.

A program, and its own process: tempest keeps its options where Nova keeps
its own. For every scenario that its standard input has, it writes what
became of each test to the file that it is given: null where it passed, else
a text.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import types
import unittest
from unittest import mock

from oslo_config import cfg
from tempest import config
from tempest import test
from tempest.common import credentials_factory

from svirt_nova.tempest import hosts
from svirt_nova.tempest import plugin
from tests.unit.tempest import fake_cloud


class Result(unittest.TestResult):
    """Keeps a text for each test that did not pass."""

    def __init__(self):
        super().__init__()
        self.outcomes = {}

    def _note(self, case, text):
        name = case.id().partition('[')[0].rpartition('.api.')[2]
        if 'setUpClass' in case.id():
            name = case.id().partition('(')[2].strip(')').rpartition('.')[2]
        self.outcomes[name] = text

    def addSuccess(self, test, details=None):  # noqa: N802
        self._note(test, None)

    def addSkip(self, test, reason=None, details=None):  # noqa: N802
        if details is not None:
            reason = details['reason'].as_text()
        self._note(test, f'skipped: {reason}')

    def addError(self, test, err=None, details=None):  # noqa: N802
        if details is not None:
            text = details['traceback'].as_text()
        else:
            text = f'{err[0].__name__}: {err[1]}'
        self._note(test, text)

    addFailure = addError  # noqa: N815


def run(scenario):
    """Run all tests of the plugin once."""
    cloud = fake_cloud.Cloud(**scenario.get('faults', {}))
    known = {name: fake_cloud.Host(name, cloud) for name in fake_cloud.HOSTS}
    allocator = None if scenario.get('no_allocator') else cloud
    clients = types.SimpleNamespace(
        servers_client=cloud,
        services_client=cloud,
        volumes_client_latest=cloud,
        networks_client=cloud,
        auth_provider=mock.Mock(),
    )
    provider = mock.Mock()
    provider.get_primary_creds.return_value.network = {
        'id': 'network',
        'name': 'network',
    }
    result = Result()
    with contextlib.ExitStack() as stack:
        for target, name, value in (
            (hosts, 'configured', lambda options: known),
            (hosts, 'label_command', lambda options, known: allocator),
            (test.BaseTestCase, 'client_manager', lambda **kwargs: clients),
            (
                credentials_factory,
                'get_credentials_provider',
                lambda **kwargs: provider,
            ),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        options = {
            'compute.build_timeout': 1,
            'compute.build_interval': 0,
            'compute.ready_wait': 0,
            'compute.image_ref': 'image',
            'compute.flavor_ref': '1',
            'compute.flavor_ref_alt': '2',
            'compute.min_compute_nodes': 2,
            'compute-feature-enabled.resize': True,
            'service_available.svirt_nova': True,
            'svirt_nova.settle_timeout': 0,
            'svirt_nova.hosts': {'one': '192.0.2.1', 'two': '192.0.2.2'},
            **scenario.get('options', {}),
        }
        for name, value in options.items():
            group, option = name.split('.')
            cfg.CONF.set_override(option, value, group=group)
            stack.callback(cfg.CONF.clear_override, option, group=group)
        directory, top = plugin.SvirtNovaTempestPlugin().load_tests()
        unittest.TestLoader().discover(directory, top_level_dir=top).run(
            result
        )
    assert not cloud.left, cloud.left
    return result.outcomes


def main():
    assert os.environ['TEMPEST_CONFIG_DIR']
    assert config.CONF.service_available.nova
    scenarios = json.load(sys.stdin)
    outcomes = {name: run(scenario) for name, scenario in scenarios.items()}
    pathlib.Path(sys.argv[1]).write_text(json.dumps(outcomes))


if __name__ == '__main__':
    main()
