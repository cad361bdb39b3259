# SPDX-License-Identifier: Apache-2.0

import errno
import os
import pathlib
import stat

import fixtures
import testtools
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519

from svirt_nova import exception
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures

HYPHENATED = (33, 87)


class _Owned:
    """The state of a file, as if it were another user's."""

    def __init__(self, found, user):
        self.st_mode = found.st_mode
        self.st_uid = user


class KeyFilesTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = self.useFixture(fixtures.TempDir()).path
        self.path = pathlib.Path(directory, 'host.key')
        self.public = self.path.with_name('host.key.pub')

    def refusal(self, read, path):
        error = self.assertRaises(exception.InvalidOption, read, str(path))
        self.assertIn(str(path), str(error))
        return str(error)

    def test_public_key_never_looks_like_an_option(self):
        # Seeds whose public keys begin with a hyphen, and one whose does not.
        drawn = [
            ed25519.Ed25519PrivateKey.from_private_bytes(
                seed.to_bytes(32, 'big')
            )
            for seed in (*HYPHENATED, 0)
        ]
        names = [signatures.public_text(each.public_key()) for each in drawn]
        self.assertEqual([True, True, False], [n[0] == '-' for n in names])
        self.useFixture(
            fixtures.MockPatchObject(
                ed25519.Ed25519PrivateKey, 'generate', iter(drawn).__next__
            )
        )
        self.assertEqual(names[-1], key_files.make(self.path))

    def test_key_pair_is_made_for_its_owner_alone(self):
        self.addCleanup(os.umask, os.umask(0))
        name = key_files.make(self.path)
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual(0o644, stat.S_IMODE(self.public.stat().st_mode))
        key = key_files.read_private(str(self.path))
        self.assertEqual(name, signatures.public_text(key.public_key()))
        self.assertEqual([name], key_files.read_public(str(self.public)))

    def test_key_that_is_there_is_not_replaced(self):
        key_files.make(self.path)
        before = self.path.read_bytes()
        self.refusal(lambda p: key_files.make(pathlib.Path(p)), self.path)
        self.assertEqual(before, self.path.read_bytes())
        link = self.path.with_name('link')
        link.symlink_to('elsewhere')
        self.refusal(lambda p: key_files.make(pathlib.Path(p)), link)

    def test_private_key_that_others_may_use_is_refused(self):
        key_files.make(self.path)
        for mode in (0o604, 0o620, 0o660, 0o601, 0o610, 0o644, 0o777):
            self.path.chmod(mode)
            text = self.refusal(key_files.read_private, self.path)
            self.assertIn(f'{mode:04o}', text)
        for mode in (0o400, 0o600, 0o640, 0o440):
            self.path.chmod(mode)
            key_files.read_private(str(self.path))

    def test_key_that_belongs_to_another_user_is_refused(self):
        """Its owner can replace it."""
        key_files.make(self.path)
        reads = (
            (key_files.read_private, self.path),
            (key_files.read_public, self.public),
        )
        real = os.fstat
        for user, own in ((0, True), (1000, True), (1001, False)):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'{key_files.__name__}.os.fstat',
                    lambda fd, u=user: _Owned(real(fd), u),
                )
            )
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'{key_files.__name__}.os.geteuid', lambda: 1000
                )
            )
            for read, path in reads:
                if own:
                    read(str(path))
                else:
                    self.assertIn('1001', self.refusal(read, path))
            # What is to be enrolled may come from anybody.
            key_files.read_sent(str(self.public))

    def test_no_private_key_is_left_where_the_public_one_is_there(self):
        self.public.write_text('another')
        error = self.assertRaises(
            exception.InvalidOption, key_files.make, self.path
        )
        self.assertIn(str(self.public), str(error))
        self.assertEqual([self.public], [*self.path.parent.iterdir()])
        self.assertEqual('another', self.public.read_text())

    def test_no_file_is_left_where_one_cannot_be_written(self):
        for name in (self.path, self.public):
            real = os.fsync
            path = os.fspath(name)

            def full(descriptor, path=path, real=real):
                if os.readlink(f'/proc/self/fd/{descriptor}') == path:
                    raise OSError(errno.ENOSPC, 'No space left on device')
                real(descriptor)

            with fixtures.MonkeyPatch(f'{key_files.__name__}.os.fsync', full):
                error = self.assertRaises(
                    exception.InvalidOption, key_files.make, self.path
                )
            self.assertIn('No space', str(error))
            self.assertEqual([], [*self.path.parent.iterdir()])

    def test_public_key_that_anybody_can_sign_for_is_refused(self):
        """OpenSSL takes these 32 zeros for a public key."""
        weak = ed25519.Ed25519PublicKey.from_public_bytes(bytes(32))
        self.public.write_bytes(
            weak.public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            )
        )
        for read in (key_files.read_public, key_files.read_sent):
            self.assertIn('anybody', self.refusal(read, self.public))

    def test_public_key_that_others_may_replace_is_refused(self):
        key_files.make(self.path)
        for mode in (0o664, 0o646):
            self.public.chmod(mode)
            self.refusal(key_files.read_public, self.public)

    def test_what_is_no_key_is_refused(self):
        other = ec.generate_private_key(ec.SECP256R1())
        for content in (
            b'',
            b'-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
            b'\0' * 100,
            other.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b'secret'),
            ),
            other.public_key().public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            ),
            b'-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n',
        ):
            self.path.write_bytes(content)
            self.path.chmod(0o600)
            for read in (key_files.read_private, key_files.read_public):
                self.refusal(read, self.path)

    def test_what_is_no_file_is_refused(self):
        os.mkfifo(self.path, 0o600)
        for path in (self.path, self.path.parent, self.path / 'x'):
            for read in (key_files.read_private, key_files.read_public):
                self.refusal(read, path)

    def test_file_has_the_keys_before_and_after_a_rotation(self):
        names = []
        content = b''
        for number in range(2):
            path = self.path.with_name(f'k{number}')
            names.append(key_files.make(path))
            content += path.with_name(f'k{number}.pub').read_bytes()
        self.public.write_bytes(content)
        self.public.chmod(0o644)
        self.assertEqual(names, key_files.read_public(str(self.public)))

    def test_file_that_was_changed_is_read_again(self):
        key_files.make(self.path)
        watched = key_files.Watched(str(self.public), key_files.read_public)
        first = watched.get()
        self.assertIs(first, watched.get())
        other = self.path.with_name('other')
        name = key_files.make(other)
        other.with_name('other.pub').replace(self.public)
        self.assertEqual([name], watched.get())
        self.public.unlink()
        self.refusal(lambda _: watched.get(), self.public)
