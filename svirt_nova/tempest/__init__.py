# SPDX-License-Identifier: Apache-2.0
"""The tempest plugin: checks a cloud by Nova's API and on its hosts."""
