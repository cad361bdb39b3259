# SPDX-License-Identifier: Apache-2.0
"""The tempest plugin: checks a cloud from outside and on its hosts."""
