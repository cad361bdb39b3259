# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova.allocator import contract
from tests import quick_store


class SqliteContractTest(contract.AllocatorContract, testtools.TestCase):
    def setUp(self):
        self.store = quick_store.QuickStore()
        self.store.setUp()
        self.addCleanup(self.store.cleanUp)
        super().setUp()

    def make(self, cooling_time, **options):
        return self.store.make(cooling_time, **options)
