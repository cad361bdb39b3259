# SPDX-License-Identifier: Apache-2.0
"""cinder's NFS driver, with volumes that several instances may share.

The drivers of real storage over NFS offer that; the generic one leaves it
out. It is copied into the host and runs in cinder-volume.
"""

from __future__ import annotations

from cinder.volume.drivers import nfs


class NfsDriver(nfs.NfsDriver):  # type: ignore[misc]
    """Offers multiattach volumes."""

    def _update_volume_stats(self) -> None:
        super()._update_volume_stats()
        self._stats['multiattach'] = True
