# SPDX-License-Identifier: Apache-2.0
"""The saved state of a prepared host, from which all hosts start."""

from __future__ import annotations

from pathlib import Path

from tests.lab import cache
from tests.lab import preparation
from tests.lab import qemu
from tests.lab.image import Image
from tests.lab.machine import Machine
from tests.lab.progress import LabError
from tests.lab.progress import Progress

#: Seconds until a machine that was loaded counts as hung.
_PATIENCE = 120.0


class SavedState:
    """A prepared host's disk and memory, in the cache.

    With KVM there is none: a boot takes seconds there, and a state could be
    loaded only on a machine with the same processor.

    :ivar useful: whether hosts start from a state at all
    :ivar path: the file, which is complete if it exists
    """

    def __init__(self, image: Image, accelerator: str) -> None:
        self._accelerator = accelerator
        self.useful = accelerator != 'kvm'
        name = key(image, accelerator, qemu.platform())
        self.path = cache.root() / f'state-{name}.qcow2'

    @property
    def present(self) -> bool:
        """Whether there is one to start from."""
        return self.useful and self.path.exists()

    def make(
        self, machine: Machine, made: Path, network: int, progress: Progress
    ) -> None:
        """Boot a machine, prepare it, and save its state.

        Where it cannot be saved, there is no state, and hosts boot.

        :param made: a file name in the directory of the run, where the next
            run removes what a killed one leaves
        """
        cache.drop_others('state-*', self.path)
        start_anew(machine, self._accelerator, network)
        try:
            machine.save(made)
        except (LabError, OSError) as error:
            machine.end()
            if machine.given_up:
                raise
            progress.say(f'the state of a host cannot be saved: {error}')
        else:
            made.rename(self.path)

    def start(
        self, machine: Machine, network: int, progress: Progress
    ) -> None:
        """Start a machine from it; without one, boot and prepare it."""
        if not (self.present and self._load(machine, network, progress)):
            start_anew(machine, self._accelerator, network)
            machine.settle()
        machine.rely_on()

    def _load(
        self, machine: Machine, network: int, progress: Progress
    ) -> bool:
        try:
            machine.load(self.path, self._accelerator, network)
            machine.wait_until_up(_PATIENCE)
            machine.settle()
            machine.see_enforcing()
        except LabError as error:
            machine.end()
            if machine.given_up:
                raise
            self.path.unlink(missing_ok=True)
            progress.say(
                f'{machine.name} boots, because the saved state cannot be '
                f'used: {error}'
            )
            return False
        return True


def start_anew(machine: Machine, accelerator: str, network: int) -> None:
    """Boot a machine and prepare it."""
    machine.boot(accelerator, network)
    machine.wait_until_up()
    preparation.prepare(machine)


def key(image: Image, accelerator: str, platform: str) -> str:
    """Hash what a state is made of, and what can load it.

    :param platform: of ``qemu.platform``
    """
    return cache.key(
        image.directory.name,
        # Every build of an image makes another key.
        image.ssh_key,
        platform,
        ' '.join(qemu.hardware(accelerator)),
        *(part for pair in preparation.files().items() for part in pair),
        Path(preparation.__file__),
    )
