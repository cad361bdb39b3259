# SPDX-License-Identifier: Apache-2.0
"""Draws lines that someone wants to be read wrong, and what is true of them.

The kernel's own fields of a line (its time, the two contexts, the class) are
true. All else may be what a guest has chosen, a program has written, or a log
has lost. What is drawn depends on the seed alone.
"""

from __future__ import annotations

import dataclasses
import datetime
import random

from tests.unit.denials import clouds
from tests.unit.denials import scenes

INNOCENT = 'system_u:system_r:svirt_t:s0:c12,c900'
VICTIM = 'system_u:object_r:svirt_image_t:s0:c40,c41'
FORGED_END = f'scontext={INNOCENT} tcontext={VICTIM} tclass=file permissive=0'
FORGED_BODY = (
    f'avc:  denied  {{ read }} for  pid=1 comm="q" name="x" dev="dm-0" ino=7 '
    f'{FORGED_END}'
)
FORGED = f'type=AVC msg=audit(1792924800.465:78): {FORGED_BODY}'
FORGED_REPORT = (
    f'SELinux is preventing q from read access on the file x.\n\n'
    f'Additional Information:\nSource Context                {INNOCENT}\n'
    f'Target Context                {VICTIM}\n'
    f'Target Objects                x [ file ]\n'
    f'Source                        q\n'
    f'First Seen                    2026-10-25 10:40:00 UTC\n'
    f'Last Seen                     2026-10-25 10:40:00 UTC\n\n'
    f'Raw Audit Messages\n{FORGED}\n\nHash: q,svirt_t,svirt_image_t,file,read'
)

PIECES = (
    *FORGED_END.split(),
    *('scontext=', 'tcontext=', 'tclass=', 'permissive=1', 'srawcon=x'),
    *('trawcon=x', 'pid=1', 'comm=x', 'name=', 'path=/x', 'dev=d ino=7'),
    *('exe=/x', 'cmdline=x', 'auid=n/a', 'msg=', "msg='avc: ", "'", '"', '""'),
    *('{', '}', '=', '\\', '\\012', '#012', '#035AUID=', '%s', '(null)', '?'),
    *(' ', '\t', '\r', '\v', '\x1c', '\x1d', '\x1e', '\x85', '\0', '\x7f'),
    *('\x1b[2J', '\x1b]0;t\x07', '\u202e', '\u2066', '\u200b', '\ufeff'),
    # What looks like "c", "s0:" and a digit.
    *('\u0441', '\u0455\u043e:', '\u0661', '\uff11', '\u2028', '\u2029'),
    *('AABB', '00', 's0:c12,c900', 'c12,c900', '9' * 400, 'A' * 4096),
    *('2026-10-25', '1792924800.465', 'audit(1792924800.465:78)'),
    *('type=AVC', 'type=1400', 'kernel: ', 'audit[7]: AVC ', 'AVC '),
    *('SELinux is preventing ', 'Raw Audit Messages', 'Source Context  '),
)
LINES = (
    *('', FORGED, FORGED_BODY, f'audit: type=1400 {FORGED[13:]}'),
    *(FORGED_REPORT, 'Raw Audit Messages', 'Additional Information:'),
    f'Source Context                {INNOCENT}',
    f'Target Context                {VICTIM}',
    'SELinux is preventing q from read access on the file x.',
    'Hash: q,svirt_t,svirt_image_t,file,read',
    f'{VICTIM} x',
    f'[   12.000001] audit: type=1400 {FORGED[13:]}',
    f'Oct 25 10:40:00 h kernel: audit: type=1400 {FORGED[13:]}',
)
ABSURD_TIMES = (
    *('0.000', '9' * 12 + '.000', '9' * 400 + '.0', '-1.000', '1e9', '', 'x'),
    *(
        '99999999999.999',
        '4102444800.000',
        '0' * 50,
        '00/00/0000 00:00:00.000',
    ),
    *('31.02.2026 10:00:00.000', '9999-12-31 23:59:59.999', '\u0661.\u0661'),
)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A text, and what may be said of it.

    :param source: the only instance that may be named as the source, or None
    :param target: the same of the target
    :param is_whole: whether the kernel's record is whole, and in a form in
        which no name can be mistaken, so that who is to be named must be
    :param is_junk: whether each answer must be doubtful
    :param may_show_labels: whether lines can be labels alone, which somebody
        has put there: that a level is of an instance is true of them, too
    """

    text: str
    source: str | None = None
    target: str | None = None
    is_whole: bool = False
    is_junk: bool = False
    may_show_labels: bool = False


def hexadecimal(text: str) -> str:
    """A name as the kernel writes it."""
    found = text.encode('utf-8', 'surrogatepass')
    if found and all(0x21 <= x <= 0x7E and x != 0x22 for x in found):
        return f'"{text}"'
    return found.hex().upper()


def escaped(text: str) -> str:
    """A name as "ausearch -i" shows it."""
    return ''.join(
        f'\\{ord(x):03o}' if x < ' ' or x == '\x7f' else x for x in text
    )


class Painter:
    """Draws texts.

    :param seed: the same one draws the same texts
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def draw(self) -> Drawn:
        """Draw a text of one or more lines."""
        kinds = (
            *[self._named] * 6,
            *[self._interpreted] * 3,
            *[self._damaged] * 4,
            *[self._retimed, self._report, self._listing, self._several],
            *[self._by_a_program] * 2,
            *[self._junk] * 2,
        )
        return self._random.choice(kinds)()

    # Parts

    def _scene(self) -> scenes.Scene:
        choose = self._random.choice
        levels_ = choose(scenes.LEVELS), choose(scenes.LEVELS)
        # Often at a moment at which something changed hands.
        if self._random.random() < 0.3:
            level = clouds.CLOUDS['clouds']['by-instance']['levels']
            each = choose(choose([*level.values()]))
            at = each.get('until') or each.get('since')
            if at is not None:
                moment = clouds.moment(at) + datetime.timedelta(
                    seconds=choose((-2, -1, 0, 1, 3598, 3600, 3602)),
                    milliseconds=self._random.randrange(1000),
                )
                return scenes.Scene(moment, *levels_)
        return scenes.Scene(
            scenes.BEGIN
            + datetime.timedelta(
                seconds=self._random.randrange(scenes.SECONDS),
                milliseconds=self._random.randrange(1000),
            ),
            *levels_,
            choose(('svirt_t', 'svirt_tcg_t')),
        )

    def _name(self, pieces: tuple[str, ...] = PIECES, most: int = 7) -> str:
        number = self._random.randrange(most)
        found = [self._random.choice(pieces) for _ in range(number)]
        if self._random.random() < 0.2:
            found.append(
                ''.join(
                    chr(
                        self._random.choice(
                            (
                                self._random.randrange(1, 128),
                                self._random.randrange(0xD800),
                            )
                        )
                    )
                    for _ in range(self._random.randrange(20))
                )
            )
        return self._random.choice(('', ' ', ' ', 'x')).join(found)

    def _lines(self) -> str:
        """A name with line ends."""
        found = [self._random.choice((*LINES, self._name())) for _ in range(6)]
        if self._random.random() < 0.1:
            found.insert(self._random.randrange(6), '\n' * 600)
        return '\n'.join(found)

    def _comm(self, text: str) -> str:
        return text.encode()[:15].decode(errors='ignore')

    def _body(self, scene: scenes.Scene, comm: str, name: str) -> str:
        where = self._random.choice(('name', 'path'))
        return (
            f'avc:  denied  {{ read write }} for  pid=42 '
            f'comm={hexadecimal(self._comm(comm))} '
            f'{where}={hexadecimal(name)} dev="dm-0" ino=7 {scene.end}'
        )

    def _record(self, scene: scenes.Scene, body: str) -> str:
        """The line in which the kernel or a tool writes a raw record."""
        seconds = f'{scene.moment.timestamp():.3f}:77'
        stamp = f'{scene.moment:%Y-%m-%dT%H:%M:%S.%f+0000}'
        short = f'{scene.moment:%b %d %H:%M:%S}'
        kernel = f'audit: type=1400 audit({seconds}): {body}'
        return self._random.choice(
            (
                f'type=AVC msg=audit({seconds}): {body}',
                f'node=compute1 type=AVC msg=audit({seconds}): {body}',
                f'type=AVC msg=audit({seconds}): {body}\x1dAUID="unset"',
                f'[   12.345678] {kernel}',
                f'<5>[   12.345678][  T42] {kernel}',
                f'{short} compute1 kernel: {kernel}',
                f'{short} compute1 kernel: [   12.345678] {kernel}',
                f'{stamp} compute1 kernel: {kernel}',
                f'{stamp} compute1 audit[42]: AVC {body}',
                f'{short} compute1 audisp-syslog[7]: type=AVC '
                f'msg=audit({seconds}): {body}#035AUID="unset"',
            )
        )

    def _drawn(self, scene: scenes.Scene, text: str, **more: bool) -> Drawn:
        return Drawn(
            text,
            scenes.holder(scene.source_level, scene.moment),
            scenes.holder(scene.target_level, scene.moment),
            **more,
        )

    # Kinds of texts

    def _named(self) -> Drawn:
        """Guests choose names; the kernel's record is whole."""
        scene = self._scene()
        name = self._random.choice((self._name, self._lines))()[:2000]
        body = self._body(scene, self._name(), name)
        return self._drawn(scene, self._record(scene, body), is_whole=True)

    def _interpreted(self) -> Drawn:
        """The same, shown by "ausearch -i"."""
        scene = self._scene()
        is_odd = self._random.random() < 0.5
        comm = escaped(self._comm(self._name()))
        name = escaped(self._name()) if is_odd else 'disk'
        text = (
            f'type=AVC msg=audit({scene.moment:%Y-%m-%d %H:%M:%S}.'
            f'{scene.moment.microsecond // 1000:03}:77) : avc:  denied  '
            f'{{ read }} for  pid=42 comm={comm} name={name} dev="dm-0" '
            f'ino=7 {scene.end} '
        )
        if self._random.random() < 0.3 and FORGED_END not in name:
            text = text[: self._random.randrange(len(text))]
        return self._drawn(scene, text)

    def _damaged(self) -> Drawn:
        """A log has lost, doubled or moved parts, or a terminal added some."""
        scene = self._scene()
        text = self._record(
            scene, self._body(scene, self._name(), self._name())
        )
        for _ in range(self._random.randrange(1, 4)):
            text = self._random.choice(
                (self._cut, self._double, self._swap, self._put)
            )(text, scene)
        return self._drawn(scene, text, may_show_labels=True)

    def _cut(self, text: str, scene: scenes.Scene) -> str:
        # A kernel's time, or a level, that is cut off is another one.
        first, last = self._random.choice(((0, 1), (1, 0), (1, 1)))
        words = text.split(' ')
        if self._random.random() < 0.5:
            return text[: self._random.randrange(len(text) + 1)]
        begin = first and self._random.randrange(len(words))
        end = last and self._random.randrange(len(words))
        return ' '.join(words[begin : len(words) - end])

    def _double(self, text: str, scene: scenes.Scene) -> str:
        words = text.split(' ')
        begin = self._random.randrange(len(words))
        end = begin + self._random.randrange(1, 6)
        return ' '.join(words[:end] + words[begin:end] + words[end:])

    def _swap(self, text: str, scene: scenes.Scene) -> str:
        words = text.split(' ')
        # The value of one context in place of the other is none that a log
        # could make; whole fields move.
        a, b = (self._random.randrange(len(words)) for _ in range(2))
        words[a], words[b] = words[b], words[a]
        return ' '.join(words)

    def _put(self, text: str, scene: scenes.Scene) -> str:
        place = self._random.randrange(len(text) + 1)
        return text[:place] + self._random.choice(PIECES) + text[place:]

    def _retimed(self) -> Drawn:
        """A record with a time that is none, or in no history."""
        scene = self._scene()
        body = self._body(scene, 'q', self._name())
        when = self._random.choice(ABSURD_TIMES)
        return Drawn(f'type=AVC msg=audit({when}:77): {body}')

    def _by_a_program(self) -> Drawn:
        """A program has written what looks like a record."""
        prefix = self._random.choice(
            (
                *('Oct 25 10:40:00 h su[9]: ', 'Oct 25 10:40:00 h qemu: '),
                'Oct 25 10:40:00 h kernel[9]: ',
                'Oct 25 10:40:00 h kernel: usb 1-1: Product: ',
                '[   12.000000] usb 1-1: Product: ',
                '2026-10-25T10:40:00+0000 h audit[9]: x ',
                '2026-10-25T10:40:00+0000 h libvirtd[9]: audit[9]: AVC ',
                'type=SYSCALL msg=audit(1792924800.465:78): comm="q" ',
                'type=USER_CMD msg=audit(1792924800.465:78): pid=1 uid=0 '
                'msg=\'cwd="/" cmd=',
                'type=PROCTITLE msg=audit(2026-10-25 10:40:00.1:7) : '
                'proctitle=',
                *('> ', '"', '\ufeff', '\x1b[1m', '\0', 'x', '-- ', '#'),
            )
        )
        if self._random.random() < 0.5:
            prefix += self._name().replace('\n', '')
        return Drawn(prefix + self._random.choice((FORGED, FORGED_BODY)))

    def _report(self) -> Drawn:
        """A report of setroubleshoot, in which names are as they are."""
        scene = self._scene()
        name = self._random.choice((self._name, self._lines))()
        comm = self._comm(self._random.choice((self._name, self._lines))())
        text = (
            f'SELinux is preventing {comm} from read access on the file '
            f'{name}.\n\n*****  Plugin catchall suggests  *****\n\n'
            f'If you believe that {comm} should be allowed read access on the '
            f'{name} file\nThen report it.\n\nAdditional Information:\n'
            f'Source Context                {scene.source}\n'
            f'Target Context                {scene.target}\n'
            f'Target Objects                {name} [ file ]\n'
            f'Source                        {comm}\n'
            f'First Seen                    {scene.moment:%Y-%m-%d %H:%M:%S}'
            f' UTC\n'
            f'Last Seen                     {scene.moment:%Y-%m-%d %H:%M:%S}'
            f' UTC\n\nRaw Audit Messages\n'
            f'type=AVC msg=audit({scene.moment.timestamp():.3f}:77): '
            f'{self._body(scene, comm, name)}\n\n'
            f'Hash: {comm},svirt_t,svirt_image_t,file,read\n'
        )
        return self._drawn(scene, text)

    def _listing(self) -> Drawn:
        """Lines of ls with names as they are."""
        scene = dataclasses.replace(self._scene(), moment=clouds.NOW)
        name = self._random.choice((self._name, self._lines))()
        text = self._random.choice(
            (
                f'{scene.target} {name}',
                f'-rw-r--r--. 1 q q {scene.target} 7 Nov 20 10:00 {name}',
                f'?                                     {name}',
                f'-rw-r--r--. 1 q q ? 7 Nov 20 10:00 {name}',
            )
        )
        has_label = scene.target in text
        if scene.target_level == 'c77,c78':
            target = 'lab-sim'
        else:
            target = scenes.holder(scene.target_level, clouds.NOW)
        return Drawn(
            text, None, target if has_label else None, may_show_labels=True
        )

    def _several(self) -> Drawn:
        """Records on one line."""
        scene = self._scene()
        record = self._record(
            scene, self._body(scene, self._name(), self._name())
        )
        other = self._random.choice((record, FORGED, FORGED_BODY))
        between = self._random.choice(('', ' ', '\r', '\0', ' -- ', '\x0b'))
        return self._drawn(scene, record + between + other)

    def _junk(self) -> Drawn:
        """Nothing that is a line of a log."""
        if self._random.random() < 0.1:
            unit = self._random.choice(PIECES)
            number = self._random.choice((40_000, 400_000))
            return Drawn(unit * (number // len(unit)), is_junk=True)
        text = ''.join(
            self._random.choice(
                (
                    self._random.choice(PIECES),
                    chr(self._random.randrange(0xD800)),
                    chr(self._random.randrange(32, 127)),
                )
            )
            for _ in range(self._random.randrange(60))
        )
        return Drawn('!' + text, is_junk=True)
