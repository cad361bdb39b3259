# SPDX-License-Identifier: Apache-2.0
import sys
from tests.lab import bootstrap
p = bootstrap.ensure('tests.lab.demo', sys.argv[1:])
from tests.lab.cloud import Cloud
import os
try:
    with Cloud(p, driver=os.environ.get('LABDRIVER','svirt_nova.SvirtLibvirtDriver')) as c:
        print(c.hosts[0].ssh_command())
        print(c.plane.password, c.plane.url('identity'))
        try:
            s = c.boot(['a','b','c'])
            p.say('booted')
            print(c.hosts[0].probe('look'))
        except Exception as e:
            print(repr(e))
        import time
        while not os.path.exists('/tmp/lab/stop'): time.sleep(1)
except BaseException as e:
    sys.exit(bootstrap.main_guard(e))
