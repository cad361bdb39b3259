# SPDX-License-Identifier: Apache-2.0

from hypothesis import settings

# Without a deadline: a busy machine is no fault of the code.
settings.register_profile('svirt_nova', deadline=None)
settings.load_profile('svirt_nova')
