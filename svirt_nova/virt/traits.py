# SPDX-License-Identifier: Apache-2.0
"""Tells the scheduler which hosts keep guests apart."""

from __future__ import annotations

from typing import Any

from svirt_nova.virt import compute_metrics

ENFORCING = 'CUSTOM_SVIRT_NOVA_ENFORCING'
"""The trait of a host on which no guest runs without its level.

Flavors and images require it as ``trait:CUSTOM_SVIRT_NOVA_ENFORCING``.
Placement takes names of traits that begin with ``CUSTOM_`` from anybody.
"""


def update(tree: Any, provider: str, *, keeps_apart: bool) -> None:
    """Give the trait to the provider of a host, or take it off.

    Nova writes to placement what has changed, and makes the trait there
    (``SchedulerReportClient.update_from_provider_tree``).

    :param tree: Nova's ``nova.compute.provider_tree.ProviderTree``
    :param provider: the name of the host's resource provider
    :param keeps_apart: whether the host keeps guests apart now
    """
    if keeps_apart:
        tree.add_traits(provider, ENFORCING)
    else:
        tree.remove_traits(provider, ENFORCING)
    compute_metrics.trait_given(keeps_apart)
