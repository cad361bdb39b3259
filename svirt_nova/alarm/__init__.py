# SPDX-License-Identifier: Apache-2.0
"""Tells at once when a guest was refused what is another guest's."""
