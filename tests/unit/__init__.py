# SPDX-License-Identifier: Apache-2.0

from hypothesis import HealthCheck
from hypothesis import settings

from tests import time_limit

time_limit.install()

# A busy machine is no fault of the code.
settings.register_profile(
    'svirt_nova', deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile('svirt_nova')
