# SPDX-License-Identifier: Apache-2.0
"""When a level comes and goes. Nothing here imports Nova."""
