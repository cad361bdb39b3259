# SPDX-License-Identifier: Apache-2.0
"""Labels on this machine: in XML, on files, on mounts. No Nova in here."""
