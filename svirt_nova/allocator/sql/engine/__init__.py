# SPDX-License-Identifier: Apache-2.0
"""Transactions on the database: connections, retries, errors, time limits."""
