# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack on SELinux-enforcing hosts, on one small machine."""
