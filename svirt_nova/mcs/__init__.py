# SPDX-License-Identifier: Apache-2.0
"""MCS values: levels, contexts, level spaces, ranks. Nothing does I/O."""
