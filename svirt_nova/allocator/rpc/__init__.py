# SPDX-License-Identifier: Apache-2.0
"""The allocator as a service, so that computes hold no database password."""
