# SPDX-License-Identifier: Apache-2.0
"""One SELinux MCS level for each instance, unique in the whole cloud.

Kept empty on purpose: the root privsep helper imports this package, and
nothing that is not needed there may come with it.
"""
