# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator.sql import sql_allocator
from tests import quick_store


class LoadTest(testtools.TestCase):
    def test_the_configured_driver_is_loaded(self):
        conf = quick_store.make_conf('sqlite:////nowhere/x', allocator='sql')
        self.assertIs(sql_allocator.SqlAllocator, type(base.load(conf)))

    def test_a_named_driver_is_loaded_instead(self):
        conf = quick_store.make_conf('sqlite:////nowhere/x', allocator='rpc')
        self.assertIs(sql_allocator.SqlAllocator, type(base.load(conf, 'sql')))

    def test_a_driver_that_is_not_installed_is_refused_by_name(self):
        error = self.assertRaises(
            exception.InvalidOption,
            base.load,
            quick_store.make_conf('sqlite:////nowhere/x'),
            'nothing',
        )
        self.assertIn('nothing', str(error))
        self.assertIn(base.NAMESPACE, str(error))
