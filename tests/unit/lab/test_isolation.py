# SPDX-License-Identifier: Apache-2.0
"""Which denials count against an instance, and which have other causes."""

from __future__ import annotations

import testtools

from tests.lab import isolation

_ANN = 's0:c1,c2'
_BOB = 's0:c3,c4'
_OWN = frozenset({1, 2})


def _denial(access, target, kind, inode=None, source=_ANN):
    return {
        'access': [access],
        'source': f'system_u:system_r:svirt_t:{source}',
        'target': f'system_u:object_r:{target}',
        'kind': kind,
        'inode': inode,
        'permissive': '0',
    }


_RING = _denial('create', f'svirt_t:{_ANN}', 'anon_inode')
_FOREIGN = _denial('read', f'svirt_image_t:{_BOB}', 'file', 8)
_UNLABELED = _denial('read', 'var_lib_t:s0', 'file', 7)


class DenialsTest(testtools.TestCase):
    attack = isolation.Attack(
        [
            {
                'attacker': 'ann',
                'owner': owner,
                'path': f'/{owner}/disk',
                'inode': inode,
                'outcome': outcome,
            }
            for owner, inode, outcome in (
                ('ann', 7, isolation.OPENED),
                ('bob', 8, isolation.DENIED),
            )
        ],
        {'ann': 'ann', 'bob': 'bob'},
    )

    def beside(self, *denials, usual=frozenset()):
        return self.attack.beside(denials, 'ann', _OWN, usual)

    def test_what_the_attack_met_is_not_counted(self):
        self.assertEqual([], self.beside(_FOREIGN))

    def test_a_refusal_of_an_own_file_counts_though_it_was_attacked(self):
        own = _denial('read', f'svirt_image_t:{_ANN}', 'file', 8)
        self.assertEqual([own], self.beside(own))

    def test_a_file_that_lost_its_label_counts(self):
        self.assertEqual([_UNLABELED], self.beside(_UNLABELED))

    def test_a_file_that_was_not_attacked_counts(self):
        other = _denial('read', 'svirt_image_t:s0', 'file', 9)
        self.assertEqual([other], self.beside(other))

    def test_what_another_guest_was_refused_is_not_counted(self):
        self.assertEqual(
            [], self.beside(_denial('read', 'x_t:s0', 'file', source=_BOB))
        )

    def test_what_any_guest_is_refused_is_left_out_once_that_is_known(self):
        self.assertEqual([_RING], self.beside(_RING))
        usual = self.attack.usual([_RING])
        self.assertEqual([], self.beside(_RING, usual=usual))

    def test_a_usual_kind_counts_where_categories_may_be_the_reason(self):
        usual = self.attack.usual([_RING])
        foreign = _denial('create', f'svirt_t:{_BOB}', 'anon_inode')
        self.assertEqual([foreign], self.beside(foreign, usual=usual))

    def test_neither_an_instance_s_file_nor_a_category_is_ever_usual(self):
        self.assertEqual(
            frozenset(), self.attack.usual([_FOREIGN, _UNLABELED])
        )
        self.assertEqual(
            frozenset(),
            self.attack.usual(
                [_denial('read', f'svirt_image_t:{_BOB}', 'file', 99)]
            ),
        )

    def test_what_other_processes_are_refused_is_not_usual_for_a_guest(self):
        libvirt = 'system_u:system_r:virtd_t:s0'
        self.assertEqual(
            frozenset(), self.attack.usual([{**_RING, 'source': libvirt}])
        )
