# SPDX-License-Identifier: Apache-2.0
"""The driver in a fake cloud that crashes.

Nothing here imports ``nova.tests``, whose patches for eventlet would meet the
greenlets of the walks.
"""
