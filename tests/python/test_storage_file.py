"""Storage of components in a file."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import PACKAGE_PARENT, EngineTest, guest

from airssys_wasm import DictStorage, InvalidOptions, IoError

USER = "test/user/0"

COUNT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from airssys_wasm import Engine
engine = Engine(storage=sys.argv[2])
user = engine.load("test/user/0", sys.argv[3], capabilities={"storage": ["read", "write"]})
print(user.call("incr n").decode(), flush=True)
os.kill(os.getpid(), 9)
"""


class StorageFile(EngineTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "store"

    def user(self, storage):
        engine = self.engine(storage=storage)
        return engine, engine.load(USER, guest("storage-user"))

    def test_values_outlive_the_engine(self):
        options = {"path": self.path, "durability": "interval", "interval_ms": 60_000}
        for n, storage in enumerate((str(self.path), self.path, options)):
            engine, user = self.user(storage)
            self.assertEqual(user.call("incr n"), str(n + 1).encode())
            engine.close()

    def test_values_outlive_a_killed_process(self):
        arguments = [sys.executable, "-c", COUNT, PACKAGE_PARENT, self.path, guest("storage-user")]
        for n in range(1, 3):
            killed = subprocess.run([os.fspath(a) for a in arguments], stdout=subprocess.PIPE)
            self.assertEqual(killed.stdout.split(), [str(n).encode()])
        _, user = self.user(self.path)
        self.assertEqual(user.call("get n"), b"2")

    def test_one_engine_at_a_time(self):
        engine, _ = self.user(self.path)
        with self.assertRaises(IoError) as caught:
            self.user(self.path)
        self.assertEqual(caught.exception.detail["problem"], "in-use")
        engine.close()
        self.user(self.path)

    def test_compaction(self):
        engine, user = self.user(self.path)
        for n in range(20):
            user.call(f"fill k{n} 200000")
        for n in range(1, 20):
            user.call(f"delete k{n}")
        before = engine.stats()["storage"]
        engine.compact_storage()
        after = engine.stats()["storage"]
        self.assertEqual(after["live-bytes"], 200_002)
        self.assertLess(after["total-bytes"], before["total-bytes"] / 2)
        self.assertEqual(user.call("get k0"), b"x" * 200_000)

    def test_bad_options(self):
        with self.assertRaisesRegex(InvalidOptions, "durability"):
            self.engine(storage={"path": "x", "durabilty": "sync"})
        with self.assertRaises(InvalidOptions):
            self.engine(storage={"path": 5})
        with self.assertRaisesRegex(IoError, "create it"):
            self.engine(storage=self.path / "missing" / "store")
        with self.assertRaisesRegex(InvalidOptions, "set one of them"):
            self.engine(storage=DictStorage(), config={"storage": {"path": str(self.path)}})
        with self.assertRaisesRegex(TypeError, "has no method"):
            self.engine(storage=5)

    def test_without_a_file_there_is_nothing_to_compact(self):
        engine = self.engine()
        self.assertIsNone(engine.stats()["storage"])
        engine.compact_storage()


if __name__ == "__main__":
    unittest.main()
