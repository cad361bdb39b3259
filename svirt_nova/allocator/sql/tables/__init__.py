# SPDX-License-Identifier: Apache-2.0
"""The store's tables: their columns, and what is read and changed in them."""
