# SPDX-License-Identifier: Apache-2.0
"""What every allocator must do, as tests that each driver runs.

A driver's test makes allocators on a store of its own, and inherits the
rest::

    import testtools

    from svirt_nova.allocator import contract


    class MyAllocatorTest(contract.AllocatorContract, testtools.TestCase):
        def setUp(self):
            self.store = make_my_store(contract.SPACE)
            super().setUp()

        def make(self, cooling_time, **options):
            return MyAllocator(make_my_conf(cooling_time, **options))

:meth:`~case.ContractCase.make` gives another allocator on the same store
each time, as another process would be. The options are those of the group
``[svirt]``. A driver whose clock does not go on by itself also has
:meth:`~case.ContractCase.wait_a_tick`.

The tests need testtools, which svirt-nova requires for nothing else.
"""

from __future__ import annotations

from svirt_nova.allocator.contract import adoption_contract
from svirt_nova.allocator.contract import allocation_contract
from svirt_nova.allocator.contract import case
from svirt_nova.allocator.contract import claims_contract
from svirt_nova.allocator.contract import cloud_contract
from svirt_nova.allocator.contract import cooling_contract
from svirt_nova.allocator.contract import history_contract
from svirt_nova.allocator.contract import late_calls_contract
from svirt_nova.allocator.contract import listing_contract
from svirt_nova.allocator.contract import names_contract
from svirt_nova.allocator.contract import projects_contract
from svirt_nova.allocator.contract import reservations_contract
from svirt_nova.allocator.contract import space_contract
from svirt_nova.allocator.contract import trust_contract

SPACE = case.SPACE
"""The level space of a store when a test begins: 45 levels."""

new_uuid = case.new_uuid


class AllocatorContract(
    adoption_contract.AdoptionContract,
    allocation_contract.AllocationContract,
    claims_contract.ClaimsContract,
    cloud_contract.CloudContract,
    cooling_contract.CoolingContract,
    history_contract.HistoryContract,
    late_calls_contract.LateCallsContract,
    listing_contract.ListingContract,
    names_contract.NamesContract,
    projects_contract.ProjectsContract,
    reservations_contract.ReservationsContract,
    space_contract.SpaceContract,
    trust_contract.TrustContract,
):
    """The whole contract, to be inherited beside ``testtools.TestCase``."""
