# SPDX-License-Identifier: Apache-2.0
"""The demo with two hosts: why levels must be unique in the whole cloud."""

from __future__ import annotations

from typing import Any

from tests.lab import acts
from tests.lab import evacuation
from tests.lab import isolation
from tests.lab import moves
from tests.lab import stored_files
from tests.lab.cloud import Cloud
from tests.lab.cloud import NOVA_DRIVER
from tests.lab.isolation import brief
from tests.lab.progress import Progress
from tests.lab.progress import say
from tests.lab.progress import table

#: There and back.
_MIGRATIONS = 2


def show(
    progress: Progress, *, keep: bool
) -> tuple[list[str], dict[str, Any]]:
    """Run all acts.

    :param keep: whether to wait for the user before the instances go
    :returns: what did not hold, and all figures
    """
    with Cloud(progress, hosts=2, driver=NOVA_DRIVER, volumes=True) as cloud:
        story = _Story(cloud)
        story.figures['versions'] = cloud.versions()
        story.problem()
        story.levels()
        story.attack('before')
        story.migration()
        story.attack('after')
        story.writes()
        story.evacuation()
        story.attack('evacuated')
        if keep:
            cloud.wait_for_user()
        story.deletion()
        if story.faults:
            for host in cloud.hosts:
                host.save_logs()
            cloud.keep_logs()
    return story.faults, story.figures


class _Story:
    """What is shown, one act after the other."""

    def __init__(self, cloud: Cloud) -> None:
        self.faults: list[str] = []
        self.figures: dict[str, Any] = {}
        self._cloud = cloud
        self._progress = cloud.progress

    def problem(self) -> None:
        """With Nova's own driver one guest opens another's files."""
        cloud = self._cloud
        with self._progress.step(
            "Nova's own driver: two instances, one on each host"
        ):
            self._servers = acts.one_on_each_host(cloud, ['ann', 'bob'])
        with self._progress.step('both get the pair that one of them drew'):
            level = acts.share_a_level(cloud, *self._servers)
        with self._progress.step('attack over shared storage'):
            seen = acts.look(cloud)
            outcome, _ = acts.try_all(cloud, self._servers, seen)
            self._usual = acts.usual_denials(cloud, outcome)
        counts = outcome.counts()
        say(outcome.matrix())
        say(
            f'both at {level}, each on its own host: {{foreign_opened}} of '
            '{foreign_attempts} foreign files opened'.format(**counts)
        )
        if counts['foreign_opened'] != counts['foreign_attempts']:
            self.faults.append('one level did not open all files')
        self.faults += outcome.errors()
        self.figures['problem'] = {
            'level': level,
            **counts,
            'matrix': outcome.attempts,
        }

    def levels(self) -> None:
        """The same instances with our driver."""
        cloud = self._cloud
        with self._progress.step('svirt-nova: nova-compute with its driver'):
            acts.take_over(cloud)
        with self._progress.step('the same instances, hard-rebooted'):
            for server in self._servers:
                cloud.api.compute.reboot_server(server, 'HARD')
            for server in self._servers:
                cloud.wait_active(server)
        levels = acts.show_levels(cloud, self._servers)
        stored, faults = stored_files.labels_on_server(cloud, levels.instances)
        say(isolation.levels_table(levels.instances, levels.violated))
        say(
            table(
                ['file on the NFS server', 'label'],
                [[path, brief(label)] for path, label in stored.items()],
            )
        )
        self.faults += levels.faults + faults
        self.figures['instances'] = [
            {**vars(each), 'files': dict(each.files)}
            for each in levels.instances
        ]
        self.figures['labels_on_server'] = stored

    def attack(self, when: str) -> None:
        """Each QEMU of each host opens each file."""
        with self._progress.step(f'attack: {when}'):
            assault = acts.attack(self._cloud, self._servers)
        self._tell(when, assault)

    def migration(self) -> None:
        """Live migration there and back, under writes and attack."""
        ann = self._servers[0]
        with self._progress.step(
            f'live migration of {ann.name}, {_MIGRATIONS} times, while it '
            'writes'
        ):
            journey = moves.wander(
                self._cloud, self._servers, [ann], _MIGRATIONS, self._usual
            )
        self._tell('during the first migration', journey.during)
        say(
            f'{ann.name} was on {", ".join(journey.hosts[ann.name])}\n'
            f'{journey.samples}: its level was the same in all\n'
            f'on the NFS server: {journey.stored}\n'
            if not journey.faults
            else '\n'.join(journey.faults)
        )
        self.faults += journey.faults
        self.figures['migration'] = {
            'hosts': journey.hosts[ann.name],
            'seconds': journey.seconds,
            'samples': journey.samples.count,
            'longest_gap': round(journey.samples.longest_gap(), 2),
            'stored_files': journey.stored.figures(),
            'denials': journey.denials,
        }

    def writes(self) -> None:
        """What the guest wrote meanwhile is all there."""
        ann = self._servers[0]
        with self._progress.step(f'the writes of {ann.name}'):
            [writes] = moves.read_writes(self._cloud, [ann])
        say(f'{writes.last + 1} writes, {len(writes.faults)} lost or torn')
        self.faults += writes.faults
        self.figures['writes'] = writes.last + 1

    def evacuation(self) -> None:
        """A host is cut off; its instance goes on elsewhere; it returns."""
        bob = self._servers[1]
        with self._progress.step(
            f'evacuation of {bob.name} from a host that is cut off'
        ):
            found = evacuation.evacuate(
                self._cloud,
                self._servers,
                [(bob, evacuation.End.BY_NOVA)],
            )
        say(
            table(
                ['', f'hosts that claim {bob.name}'],
                [
                    [when, ', '.join(hosts)]
                    for when, hosts in zip(
                        ('before', 'while it is away', 'when it is back'),
                        found.claims[bob.id],
                        strict=True,
                    )
                ],
            )
        )
        self.faults += found.faults
        self.figures['claims'] = found.claims[bob.id]

    def deletion(self) -> None:
        """What is left of the instances, and of their levels."""
        with self._progress.step('deletion, through the API of Nova'):
            departure = acts.depart(self._cloud, self._servers)
        say(
            table(
                ['instance', 'state of its level'],
                [
                    [each.name, departure.states[each.id]]
                    for each in self._servers
                ],
            )
        )
        self.faults += departure.faults
        self.figures['deletion'] = dict(departure.states)

    def _tell(self, when: str, assault: acts.Assault) -> None:
        counts = assault.attack.counts()
        say(assault.attack.matrix())
        say(
            'own files: {own_opened} of {own_attempts} opened; foreign files: '
            '{foreign_opened} of {foreign_attempts} opened; '.format(**counts)
            + f"refusals in the kernels' audit logs: {assault.denials}"
        )
        self.faults += assault.faults
        self.figures[f'attack {when}'] = {
            **counts,
            'avc_denials': assault.denials,
            'matrix': assault.attack.attempts,
        }
