# SPDX-License-Identifier: Apache-2.0
"""The Nova driver: the one place that touches the internals of Nova."""
