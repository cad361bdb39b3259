# SPDX-License-Identifier: Apache-2.0
"""Files with the keys of hosts, of operators and of the service.

A private key is in the form PKCS #8, public keys are in the form
SubjectPublicKeyInfo, both as PEM, which openssl reads and writes as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import stat
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Generic
from typing import TypeVar

from cryptography import exceptions
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from svirt_nova import exception
from svirt_nova.allocator.rpc import signatures

Key = TypeVar('Key')

_PUBLIC = re.compile(
    rb'-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----', re.DOTALL
)
_MOST_BYTES = 64 * 1024
_ROOT = 0

_PRIVATE = 0o037, '0640'
_PUBLIC_FILE = 0o022, '0644'
"""What a mode must not allow, and a mode that is right."""

# PEM text of a broken file may name anything, and stays untold.
_ERRORS = (ValueError, TypeError, exceptions.UnsupportedAlgorithm)


def make(path: pathlib.Path) -> str:
    """Make a key pair: the private key in a file, the public in another.

    The private key's file is readable for its owner alone. The public key's
    has the same name and ``.pub``.

    :returns: the name of the public key
    :raises InvalidOption: a file is there already or cannot be written;
        nothing that was there is changed, and nothing is left
    """
    key = _draw()
    # The file with the public key is made first, so that a private key is
    # never written in vain.
    with (
        _new(
            path.with_name(f'{path.name}.pub'),
            0o644,
            key.public_key().public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            ),
        ),
        _new(
            path,
            0o600,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        ),
    ):
        return signatures.public_text(key.public_key())


def _draw() -> ed25519.Ed25519PrivateKey:
    """Draw a private key.

    A public key that begins with a hyphen would look like an option of the
    commands that it is given to. One of 64 does.
    """
    while True:
        key = ed25519.Ed25519PrivateKey.generate()
        if not signatures.public_text(key.public_key()).startswith('-'):
            return key


@contextlib.contextmanager
def _new(path: pathlib.Path, mode: int, content: bytes) -> Iterator[None]:
    """Make a file, which goes again if the context ends with an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as error:
        raise _cannot_make(path, error) from error
    try:
        try:
            with open(descriptor, 'wb') as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_make(path, error) from error
        yield
    except BaseException:
        path.unlink()
        raise


def _cannot_make(
    path: pathlib.Path, error: OSError
) -> exception.InvalidOption:
    return exception.InvalidOption(
        f'cannot make the file {path}: {error.strerror}; no key was replaced, '
        f'and none was made'
    )


def read_private(path: str) -> ed25519.Ed25519PrivateKey:
    """Read a private key.

    :raises InvalidOption: the file cannot be read; it belongs to another
        user than root and the one of this process; others than its owner may
        write it, or others than its group may read it; or it has no such key
    """
    content = _read(path, *_PRIVATE)
    _check_owner(path, content.owner)
    try:
        key = serialization.load_pem_private_key(content.octets, None)
    except _ERRORS as error:
        raise _no_key(path, 'private') from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _no_key(path, 'private')
    return key


def read_public(path: str) -> list[str]:
    """Read the names of the public keys that are believed.

    :returns: one or more
    :raises InvalidOption: the file cannot be read; it belongs to another
        user than root and the one of this process; others than its owner may
        write it; or it has no such key
    """
    content = _read(path, *_PUBLIC_FILE)
    _check_owner(path, content.owner)
    return _names_of(path, content.octets)


def read_sent(path: str) -> list[str]:
    """Read the names of public keys that somebody else has sent.

    :returns: one or more
    :raises InvalidOption: the file cannot be read, others than its owner
        may write it, or it has no such key
    """
    return _names_of(path, _read(path, *_PUBLIC_FILE).octets)


def _names_of(path: str, octets: bytes) -> list[str]:
    found = []
    for block in _PUBLIC.findall(octets):
        try:
            key = serialization.load_pem_public_key(block)
        except _ERRORS as error:
            raise _no_key(path, 'public') from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise _no_key(path, 'public')
        try:
            name = signatures.check_public_text(signatures.public_text(key))
        except signatures.Invalid as error:
            raise exception.InvalidOption(
                f'the key {path} cannot be used: {error}'
            ) from error
        found.append(name)
    if not found:
        raise _no_key(path, 'public')
    return found


def _no_key(path: str, kind: str) -> exception.InvalidOption:
    return exception.InvalidOption(
        f'the file {path} has no Ed25519 {kind} key in the form PEM: make one '
        f'with "svirt-nova key create"'
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Content:
    owner: int
    octets: bytes


def _read(path: str, forbidden: int, right: str) -> _Content:
    """Read a file.

    :param forbidden: what the mode of the file must not allow
    :param right: a mode that is right, for the error
    """
    # Not blocking: it may be the path of a pipe by mistake.
    flags = os.O_RDONLY | os.O_NONBLOCK
    try:
        with open(os.open(path, flags), 'rb') as file:
            found = os.fstat(file.fileno())
            octets = b''
            if stat.S_ISREG(found.st_mode):
                octets = file.read(_MOST_BYTES)
    except OSError as error:
        raise exception.InvalidOption(
            f'cannot read the key {path}: {error.strerror}; a private key '
            f'must belong to the user that uses it'
        ) from error
    mode = stat.S_IMODE(found.st_mode)
    if mode & forbidden:
        raise exception.InvalidOption(
            f'the key {path} has the mode {mode:04o}: others may use or '
            f'replace it. Look who can have done so, and run "chmod {right} '
            f'{path}"'
        )
    return _Content(found.st_uid, octets)


def _check_owner(path: str, owner: int) -> None:
    """Check that nobody but who uses a key, and root, can replace it.

    :raises InvalidOption: somebody else can
    """
    if owner not in (_ROOT, os.geteuid()):
        raise exception.InvalidOption(
            f'the key {path} belongs to the user {owner}, who may replace it: '
            f'only root and the user of this process, {os.geteuid()}, must. '
            f'Look who can have done so, and run "chown"'
        )


class Watched(Generic[Key]):
    """The keys of a file, which are read again when the file changes.

    So a key is replaced without a restart.

    :param path: of the file
    :param read: reads it
    """

    def __init__(self, path: str, read: Callable[[str], Key]) -> None:
        self.path = path
        self._read = read
        self._lock = threading.Lock()
        self._found: tuple[object, Key] | None = None

    def get(self) -> Key:
        """The keys that the file has at present.

        :raises InvalidOption: it cannot be used
        """
        with self._lock:
            seen = self._stamp()
            if self._found is None or self._found[0] != seen:
                self._found = (seen, self._read(self.path))
            return self._found[1]

    def _stamp(self) -> object:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise exception.InvalidOption(
                f'cannot read the key {self.path}: {error.strerror}'
            ) from error
        return (
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_mode,
            found.st_uid,
        )
