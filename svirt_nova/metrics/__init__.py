# SPDX-License-Identifier: Apache-2.0
"""What a program counts, and how that is shown to Prometheus."""
