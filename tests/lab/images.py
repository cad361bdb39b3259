# SPDX-License-Identifier: Apache-2.0
"""Images of projects, beside those that the lab makes for all."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.lab import guest
from tests.lab import survey
from tests.lab.cloud import Cloud
from tests.lab.storage import INSTANCES


def make_private(cloud: Cloud, api: Any, name: str, mark: bytes) -> Any:
    """Make a private image with a guest in it.

    :param api: the cloud as the project of the image sees it
    :param mark: what is written into it, to tell it from others
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, f'{name}.qcow2')
        guest.build(
            path, writes=False, log=cloud.logs / 'guest.log', mark=mark
        )
        return api.create_image(
            name,
            filename=str(path),
            wait=True,
            disk_format='qcow2',
            container_format='bare',
            visibility='private',
            min_disk=0,
            timeout=120,
        )


def base(image: Any) -> str:
    """Name the file of a host's image cache that has an image."""
    return f'{INSTANCES}/_base/{survey.base_of(image.id)}'
