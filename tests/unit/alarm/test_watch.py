# SPDX-License-Identifier: Apache-2.0

import datetime
import json
import re
import threading
import time
import tracemalloc

import fixtures

from svirt_nova.alarm import attempts
from svirt_nova.alarm import audit_lines
from svirt_nova.alarm import watch as watches
from tests.unit.alarm import audit
from tests.unit.denials import test_hostile_lines


class VerdictsTest(audit.AlarmTestCase):
    def test_a_guest_at_another_project_is_told_with_both_names(self):
        self.say(self.watch(), audit.denial(permissions='read write'))
        [line] = self.told()
        self.assertTrue(line.startswith('ERROR '), line)
        for part in (
            'verdict=cross-project',
            'outcome=denied',
            'source_level=s0:c1,c2',
            f'source_instance={audit.UUIDS[audit.ANN]}',
            'source_project=ann',
            'target_level=s0:c6,c7',
            f'target_instance={audit.UUIDS[audit.BOB]}',
            'target_project=bob',
            'host=compute1',
            'process=qemu-system-x86',
            'pid=4242',
            'class=file',
            'permissions=read,write',
            'path=/var/lib/nova/instances/x/disk',
            'count=1',
        ):
            self.assertIn(f' {part} ', f' {line} ')

    def test_a_guest_at_another_one_of_its_project_is_told(self):
        watch = self.watch()
        self.say(watch, audit.denial(target=audit.ANN_TOO))
        self.assertIn('verdict=same-project', self.told()[0])
        self.say(watch, audit.denial(target=audit.BOB))
        self.assertIn('verdict=cross-project', self.told()[0])
        self.say(watch, audit.denial(target=audit.ANN_TOO))
        self.say(watch, audit.denial(target=audit.ELSEWHERE))
        self.assertEqual([], self.told())

    def test_what_was_not_enforced_is_critical(self):
        self.say(self.watch(), audit.denial(), audit.denial(permissive=1))
        _, took_place = self.told()
        self.assertTrue(took_place.startswith('CRITICAL '), took_place)
        self.assertIn('outcome=permissive', took_place)

    def test_who_is_not_known_is_told_without_a_name(self):
        for source, target in (
            (audit.NOBODY, audit.BOB),
            (audit.ANN, audit.NOBODY),
            ('', audit.BOB),
        ):
            self.say(self.watch(), audit.denial(source, target))
            [line] = self.told()
            self.assertIn('verdict=doubtful', line)

    def test_other_denials_are_only_counted(self):
        self.say(
            self.watch(),
            audit.denial(audit.ANN, audit.ANN),
            audit.denial(target=''),
            audit.denial(target_type='shadow_t'),
            audit.denial(source_type='container_t'),
            audit.denial(source_type='sshd_t', source=''),
            audit.denial(audit.ANN, audit.ANN),
            b'type=SYSCALL msg=audit(1.0:1): arch=c000003e syscall=257',
            audit.denial().replace(b'denied', b'granted'),
        )
        self.assertEqual([], self.told())
        counts = {
            verdict: self.metric('denials_total', verdict=verdict)
            for verdict in ('own', 'host', 'not-ours', 'cross-project')
        }
        self.assertEqual(
            {'own': 2, 'host': 2, 'not-ours': 2, 'cross-project': 0}, counts
        )
        self.assertEqual(8, self.metric('alarm_lines_total'))

    def test_a_claim_that_is_younger_than_the_line_names_nobody(self):
        now = datetime.datetime.now(datetime.UTC)
        self.allocator.rows[0] = audit.row(audit.ANN, audit.HOST, now)
        self.say(self.watch(), audit.denial(at=time.time() - 60))
        [line] = self.told()
        self.assertIn('verdict=doubtful', line)
        self.assertNotIn('source_instance', line)

    def test_a_record_that_is_cut_off_is_told(self):
        whole = audit.denial()
        self.say(self.watch(), whole[: whole.index(b'tcontext')])
        [line] = self.told()
        self.assertIn('verdict=doubtful', line)

    def test_lines_that_are_not_the_kernels_are_not_believed(self):
        record = audit.denial()
        self.say(
            self.watch(),
            record.replace(b'type=AVC', b'type=USER_AVC'),
            b"type=USER_CMD msg=audit(1.0:1): pid=1 cmd='" + record,
            b' ' + record,
            record.partition(b': ')[2],
            b'\x00\xff\xfe',
            b'',
        )
        self.assertEqual([], self.told())

    def test_lost_records_are_counted(self):
        kernel = b'type=KERNEL msg=audit(0.0:0): audit_lost=%d audit_rate'
        watch = self.watch()
        self.say(watch, kernel % 3, kernel % 3, kernel % 10)
        self.assertEqual(10, self.metric('alarm_lost_records_total'))


class OwnClaimsTest(audit.AlarmTestCase):
    driver = 'rpc'

    def test_only_claims_of_this_host_are_asked_for(self):
        watch = self.watch()
        self.say(watch, audit.denial(target=audit.ELSEWHERE))
        [line] = self.told()
        self.assertIn('verdict=doubtful', line)
        self.assertIn('source_project=ann', line)
        self.say(watch, audit.denial(audit.BOB, audit.ANN))
        self.assertIn('verdict=cross-project', self.told()[0])
        self.assertEqual({'list'}, {*self.allocator.asked})

    def test_claims_are_listed_no_more_often_than_every_five_seconds(self):
        watch = self.watch()
        for number in range(20, 60):
            self.say(watch, audit.denial(f'c{number},c90', audit.BOB))
        self.assertEqual(1, self.allocator.asked.count('list'))

    def test_an_allocator_that_hangs_costs_names_alone(self):
        self.allocator.hangs.clear()
        watch = self.watch(name_timeout=0.2)
        begin = time.monotonic()
        self.say(watch, audit.denial(), audit.denial(), audit.denial())
        self.assertLess(time.monotonic() - begin, 1.5)
        [line] = self.told()
        self.assertIn('verdict=doubtful', line)
        self.assertIn('did not answer in time', line)


class FloodTest(audit.AlarmTestCase):
    def setUp(self):
        super().setUp()
        self.seconds = 1000.0
        self.useFixture(
            fixtures.MonkeyPatch(f'{watches.__name__}.now', self.clock)
        )

    def clock(self):
        return self.seconds

    def watch(self, **options):
        made = super().watch(**options)
        made._clock = self.clock
        return made

    def test_a_minute_of_denials_is_two_alarms(self):
        watch = self.watch()
        told, other = [], None
        for second in range(61):
            self.seconds = 1000.0 + second
            lines = [audit.denial(target=audit.BOB) for _ in range(100)]
            if second == 30:
                lines.append(audit.denial(audit.BOB, audit.ANN))
            self.say(watch, *lines)
            for line in self.told():
                if 'source_level=s0:c6,c7' in line:
                    other = second
                else:
                    told.append(line)
        self.assertEqual(30, other)
        first, last = told
        self.assertIn(' count=1 ', first)
        self.assertIn(' count=6099 ', last)
        self.assertIn(f'target_instance={audit.UUIDS[audit.BOB]}', last)
        self.assertEqual(
            6100 + 1, self.metric('denials_total', verdict='cross-project')
        )

    def test_a_flood_is_counted_quickly_and_in_flat_memory(self):
        watch = self.watch()
        self.say(watch, audit.denial())
        lines = [audit.denial() for _ in range(10_000)]
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        watch.process(lines)
        watch.tick()
        before = tracemalloc.take_snapshot()
        for _ in range(3):
            watch.process(lines)
            watch.tick()
        after = tracemalloc.take_snapshot()
        grown = sum(
            each.size_diff
            for each in after.compare_to(before, 'filename')
            if 'svirt_nova' in each.traceback[0].filename
        )
        self.assertLess(grown, 100_000)
        tracemalloc.stop()
        begin = time.process_time()
        for _ in range(5):
            watch.process(lines)
            watch.tick()
        rate = 50_000 / (time.process_time() - begin)
        self.assertGreater(rate, 20_000)

    def test_names_that_a_guest_chose_hide_nobody(self):
        forged = (
            b' scontext=system_u:system_r:svirt_t:s0:c1,c2 '
            b'tcontext=system_u:object_r:svirt_image_t:s0:c6,c7 '
            b'tclass=file permissive=0'
        )
        for number, name in enumerate(
            (
                test_hostile_lines.raw(forged.decode()),
                test_hostile_lines.raw(
                    'x' + forged.decode().replace(' ', '\n')
                ),
                f'"{forged.decode().replace(" ", "_")}"',
            )
        ):
            watch = self.watch(state_path=f'{self.path}{number}')
            self.say(watch, audit.denial())
            self.told()
            self.say(watch, audit.denial(audit.BOB, audit.ANN, path=name))
            [line] = self.told()
            self.assertIn('source_level=s0:c6,c7', line)
            self.assertTrue(line.isprintable())
            self.assertEqual(1, line.count(' verdict='))
            self.assertEqual(1, line.count(' source_level='))

    def test_targets_without_number_are_all_counted(self):
        watch = self.watch()
        for first in range(20, 60):
            self.say(
                watch,
                *(
                    audit.denial(target=f'c{first},c{second}')
                    for second in range(60, 90)
                ),
            )
        self.assertEqual(1, len(self.told()))
        self.seconds += 61
        self.say(watch)
        [line] = self.told()
        self.assertIn(f' count={40 * 30 - 1} ', line)
        self.assertIn(' targets=100 ', line)

    def test_nothing_is_told_that_waits_after_the_end(self):
        watch = self.watch()
        self.say(watch, *(audit.denial() for _ in range(5)))
        self.told()
        ended = threading.Event()
        ended.set()
        watch.run(ended)
        [line] = self.told()
        self.assertIn(' count=4 ', line)
        # The next run tells nothing again.
        watch = self.watch()
        self.say(watch)
        self.seconds += 61
        self.say(watch)
        self.assertEqual([], self.told())

    def test_a_crash_loses_and_doubles_nothing(self):
        with open(self.path, 'wb') as log:
            log.write(b'old\n')
        watch = self.watch(name_timeout=0.5)
        source = watch._source
        self.say(watch, *source.read(0))
        self.allocator.hangs.clear()
        with open(self.path, 'ab') as log:
            log.write(b''.join(audit.denial() + b'\n' for _ in range(4)))
        watch.process(source.read(0))
        watch._save()
        # It ends here, while the names are waited for.
        self.assertEqual([], self.told())
        self.allocator.hangs.set()
        watch = self.watch()
        self.say(watch, *watch._source.read(0))
        [line] = self.told()
        self.assertIn('verdict=cross-project', line)
        watch = self.watch()
        self.seconds += 61
        self.say(watch, *watch._source.read(0))
        [line] = self.told()
        self.assertIn(' count=3 ', line)


class TextTest(audit.AlarmTestCase):
    def test_what_is_told_again_has_the_same_id(self):
        """As if the alarm was killed when it had told, and not saved."""
        lines = [audit.denial(serial=1), audit.denial(serial=2)]
        ids = set()
        for number in range(2):
            watch = self.watch(state_path=f'{self.path}{number}')
            self.say(watch, *lines)
            ended = threading.Event()
            ended.set()
            watch.run(ended)
            first, last = self.told()
            ids.add(
                tuple(each.partition(' id=')[2][:36] for each in (first, last))
            )
        [(first, last)] = ids
        self.assertNotEqual(first, last)

    def test_each_value_ends_where_the_next_key_begins(self):
        line = audit.denial(
            path=test_hostile_lines.raw(
                "x' verdict=own \n count=0 \u202e" + 'y' * 5000
            )
        )
        found = attempts.judged(audit_lines.read(line), None, audit.HOST)
        text = found.line()
        self.assertTrue(text.isprintable() and text.isascii(), text)
        self.assertLess(len(text), 3000)
        self.assertNotIn('\n', text)
        fields = dict(
            re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)(?: |$)', text)
        )
        self.assertEqual('doubtful', fields['verdict'])
        self.assertEqual('1', fields['count'])
        self.assertEqual(1, text.count(' count='))
        self.assertIn("x' verdict=own \\n", json.loads(fields['path']))

    def test_an_alarm_is_read_back_from_the_state(self):
        found = audit.alarm()
        kept = json.loads(json.dumps(found.to_json()))
        self.assertEqual(found, attempts.Alarm.from_json(kept))
