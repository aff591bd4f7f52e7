"""Signed binaries, signed with the package ``cryptography``."""

import hashlib
import unittest

from support import EngineTest, guest

from airssys_wasm import InvalidComponent, InvalidOptions

try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
except ImportError:
    Ed25519PrivateKey = None

ID = "test/it/0"


@unittest.skipIf(Ed25519PrivateKey is None, "the package cryptography is not installed")
class Signatures(EngineTest):
    def setUp(self):
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw().hex()

    def sign(self, name):
        return self.key.sign(hashlib.sha256(guest(name).read_bytes()).digest()).hex()

    def test_loads_and_replacements_need_a_signature(self):
        engine = self.engine(trusted_keys=[self.public], require_signature=True)
        it = engine.load(ID, guest("echo"), signature=self.sign("echo"))
        self.assertEqual(it.describe()["binary"]["signer"], self.public)
        it.replace(guest("counter"), signature=self.sign("counter"))
        self.assertEqual(it.call(b"inc"), b"1")
        for refused in ({}, {"signature": self.sign("counter")}):
            with self.subTest(refused):
                with self.assertRaisesRegex(InvalidComponent, "sign"):
                    engine.load(ID, guest("echo"), **refused)
                with self.assertRaisesRegex(InvalidComponent, "keeps version 2: .*sign"):
                    it.replace(guest("echo"), **refused)
        with self.assertRaisesRegex(InvalidOptions, "128 hexadecimal digits"):
            engine.load(ID, guest("echo"), signature="00")

    def test_keys_are_checked(self):
        with self.assertRaisesRegex(InvalidOptions, r"trusted-keys\[1\]"):
            self.engine(trusted_keys=[self.public, "00"])
        with self.assertRaisesRegex(InvalidOptions, "trusted-keys has a key"):
            self.engine(require_signature=True)


if __name__ == "__main__":
    unittest.main()
