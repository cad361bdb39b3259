# SPDX-License-Identifier: Apache-2.0
"""Whether hosts run on KVM or on QEMU's own emulation."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

from tests.lab import cache
from tests.lab.image import Image
from tests.lab.progress import Progress

#: tb-size (MiB) keeps the code that Python makes QEMU translate.
EMULATION = 'tcg,thread=multi,tb-size=1024'
#: Seconds that a kernel may take to boot, and for how long it may be silent.
_PATIENCE = 20.0
_SILENCE = 5.0
# Said by the initial RAM disk when told to stop there.
_MARKER = b'initramfs'


def choose(image: Image, progress: Progress) -> str:
    """Give the value of QEMU's -accel that boots the image.

    A /dev/kvm that opens proves little: with some nested hypervisors a
    Debian kernel hangs. So the kernel itself has to get to its initial RAM
    disk. The answer is remembered in the cache for the machine's kernel.
    """
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return EMULATION
    machine = cache.key(
        platform.release(),
        image.directory.name,
        Path('/proc/sys/kernel/random/boot_id'),
    )
    memory = cache.root() / 'accelerator'
    if memory.exists():
        known, _, answer = memory.read_text().partition(' ')
        if known == machine:
            return answer
    with progress.step('KVM: does a kernel boot?'):
        answer = 'kvm' if _boots(image) else EMULATION
    progress.say(
        'KVM works'
        if answer == 'kvm'
        else 'KVM does not boot a Debian kernel here: emulation instead'
    )
    memory.write_text(f'{machine} {answer}')
    return answer


def _boots(image: Image) -> bool:
    with tempfile.NamedTemporaryFile(dir=cache.root()) as console:
        process = subprocess.Popen(
            [
                'qemu-system-x86_64',
                '-accel',
                'kvm',
                '-cpu',
                'host',
                '-m',
                '512',
                '-nodefaults',
                '-display',
                'none',
                '-kernel',
                image.kernel,
                '-initrd',
                image.initrd,
                '-serial',
                f'file:{console.name}',
                '-append',
                'console=ttyS0 earlyprintk=ttyS0 break=top panic=1',
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            begin = last = time.monotonic()
            length = 0
            while process.poll() is None:
                said = Path(console.name).read_bytes()
                if _MARKER in said:
                    return True
                now = time.monotonic()
                if len(said) > length:
                    length, last = len(said), now
                if now - begin > _PATIENCE or now - last > _SILENCE:
                    return False
                time.sleep(0.3)
            return False
        finally:
            process.kill()
            process.wait()
