# SPDX-License-Identifier: Apache-2.0
"""What lines of an audit log say, and about whom.

Nothing does I/O but what asks an allocator.
"""
