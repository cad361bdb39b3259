# SPDX-License-Identifier: Apache-2.0

import re

import testtools

from tests.functional import soak_list


class SoakListTest(soak_list.SoakListMixin, testtools.TestCase):
    DIRECTORY = 'functional'
    ENTRY = re.compile(r'\^tests\\\.functional\\\.(?!nova\\)')
