# SPDX-License-Identifier: Apache-2.0
"""Who holds which level: the allocator's contract and its drivers."""
