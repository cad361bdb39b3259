# SPDX-License-Identifier: Apache-2.0
"""The start of ``svirt-nova-alarm``, before anything heavy is imported."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the alarm; see :func:`svirt_nova.cmd.alarm.main`."""
    # What libraries warn their developers of is no part of the log.
    if not sys.warnoptions:
        warnings.simplefilter('ignore')
    from svirt_nova.cmd import alarm

    return alarm.main(argv)


if __name__ == '__main__':
    sys.exit(main())
