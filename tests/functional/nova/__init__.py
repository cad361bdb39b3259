# SPDX-License-Identifier: Apache-2.0
"""Our driver under Nova's own functional tests: fake libvirt, real Nova."""

# Nova's package makes the concurrency patches that its tests rely on, and
# must come before anything else of Nova.
import nova.tests.functional  # noqa: F401
