# SPDX-License-Identifier: Apache-2.0
"""Compiled SELinux policies, asked without a kernel."""

from __future__ import annotations

import bz2
import ctypes
import dataclasses
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.host import policy
from svirt_nova.mcs import levels

LIBRARY = 'libsepol.so.2'

CATEGORIES = f"""
(sensitivity s0) (sensitivityorder (s0))
{' '.join(f'(category c{n})' for n in range(levels.CATEGORY_LIMIT))}
(categoryorder ({' '.join(f'c{n}' for n in range(levels.CATEGORY_LIMIT))}))
(sensitivitycategory s0 (range c0 c1023))
"""
"""The part of every MCS policy that declares its levels, in CIL."""

MODULES = pathlib.Path(
    os.environ.get(
        'SVIRT_NOVA_POLICY_MODULES', '/var/lib/selinux/default/active/modules'
    )
)
"""Where Debian's policy is installed, module by module."""


def require(case: testtools.TestCase) -> None:
    """Skip a test, or let it fail, where policies cannot be compiled."""
    missing = []
    if shutil.which('secilc') is None:
        missing.append('secilc')
    try:
        ctypes.CDLL(LIBRARY).sepol_context_to_sid  # noqa: B018
    except (OSError, AttributeError) as error:
        missing.append(f'{LIBRARY} 3.4 or later ({error})')
    if missing:
        _do_without(case, f'not installed: {" and ".join(missing)}')


def require_debian(case: testtools.TestCase) -> None:
    """Skip a test, or let it fail, where Debian's policy is not at hand."""
    require(case)
    if not os.access(MODULES / '100/virt/cil', os.R_OK):
        _do_without(
            case,
            f'selinux-policy-default is not installed, or its modules in '
            f'{MODULES} may not be read by this user',
        )


def _do_without(case: testtools.TestCase, reason: str) -> None:
    if os.environ.get('SVIRT_NOVA_REQUIRE_LIBSEPOL') == '1':
        case.fail(reason)
    case.skipTest(reason)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A policy as secilc made it.

    :param binary: what the kernel would load
    :param file_contexts: the text of the file of that name
    """

    binary: bytes
    file_contexts: str


def compiled(*sources: str) -> Compiled:
    """Compile a policy.

    :param sources: its modules, in CIL
    :raises AssertionError: secilc refuses them
    """
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        paths = []
        for number, source in enumerate(sources):
            paths.append(directory / f'{number}.cil')
            paths[-1].write_text(source)
        binary, contexts = directory / 'policy', directory / 'file_contexts'
        done = subprocess.run(
            # -m and -N as libsemanage compiles what is installed; both cost
            # nothing where there is one module.
            [
                'secilc',
                *('-m', '-N', '-M', 'true', '-o', binary, '-f', contexts),
                *paths,
            ],
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise AssertionError(done.stderr)
        return Compiled(binary.read_bytes(), contexts.read_text())


def debian_modules() -> list[str]:
    """The modules of Debian's policy that are not disabled, in CIL."""
    found = []
    for path in sorted((MODULES / '100').iterdir()):
        if not (MODULES / 'disabled' / path.name).exists():
            data = (path / 'cil').read_bytes()
            if data.startswith(b'BZh'):
                data = bz2.decompress(data)
            found.append(data.decode())
    return found


class _Decision(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint32)
        for name in ('allowed', 'decided', 'granted', 'denied', 'number')
    ]


class Policy(fixtures.Fixture):
    """A compiled policy, loaded into libsepol, which has one at a time.

    :param source: the policy, in CIL or compiled
    """

    def __init__(self, source: str | Compiled) -> None:
        super().__init__()
        self._source = source

    def _setUp(self) -> None:
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        source = self._source
        if isinstance(source, str):
            source = compiled(source)
        binary = directory / 'policy'
        binary.write_bytes(source.binary)
        self._sepol = sepol = ctypes.CDLL(LIBRARY)
        sepol.sepol_debug(0)
        sepol.sepol_set_policydb_from_file.argtypes = [ctypes.c_void_p]
        sepol.sepol_context_to_sid.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.POINTER(ctypes.c_uint32),
        ]
        sepol.sepol_sid_to_context.argtypes = [
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_size_t),
        ]
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        libc.fopen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        libc.fclose.argtypes = [ctypes.c_void_p]
        libc.free.argtypes = [ctypes.c_void_p]
        self._free = libc.free
        opened = libc.fopen(os.fsencode(binary), b'r')
        status = sepol.sepol_set_policydb_from_file(opened)
        libc.fclose(opened)
        if status != 0:
            raise RuntimeError('libsepol cannot load the compiled policy')

    def sid(self, context: str) -> int | None:
        """A number for a context, the same for equal ones.

        :returns: None when libsepol rejects the text
        """
        sid = ctypes.c_uint32()
        text = context.encode()
        if self._sepol.sepol_context_to_sid(
            text, len(text) + 1, ctypes.byref(sid)
        ):
            return None
        return sid.value

    def text(self, sid: int) -> str:
        """The canonical form of a context."""
        found, length = ctypes.c_void_p(), ctypes.c_size_t()
        if self._sepol.sepol_sid_to_context(
            sid, ctypes.byref(found), ctypes.byref(length)
        ):
            raise RuntimeError(f'libsepol cannot write SID {sid}')
        assert found.value is not None
        written = ctypes.string_at(found.value).decode()
        self._free(found)
        return written

    def ask(
        self, source: str, target: str, object_class: str, names: Sequence[str]
    ) -> policy.Decision:
        """As :func:`svirt_nova.host.kernel.ask`.

        libsepol does not say whether a domain is permissive.
        """
        sids: list[Any] = [self.sid(source), self.sid(target)]
        if None in sids:
            raise exception.UnconfinedHost(f'no such context: {source}')
        number = ctypes.c_uint16()
        self._check(
            self._sepol.sepol_string_to_security_class(
                object_class.encode(), ctypes.byref(number)
            )
        )
        decision = _Decision()
        self._check(
            self._sepol.sepol_compute_av(
                *sids, number, 0xFFFFFFFF, ctypes.byref(decision)
            )
        )
        allowed = set()
        for name in names:
            bit = ctypes.c_uint32()
            self._check(
                self._sepol.sepol_string_to_av_perm(
                    number, name.encode(), ctypes.byref(bit)
                )
            )
            if decision.allowed & bit.value:
                allowed.add(name)
        return policy.Decision(frozenset(allowed))

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise exception.UnconfinedHost('the policy does not know that')
