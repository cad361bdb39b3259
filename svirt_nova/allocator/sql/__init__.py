# SPDX-License-Identifier: Apache-2.0
"""The allocator that keeps levels in an SQL database."""
