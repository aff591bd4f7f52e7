"""The stored data of components, and the check of storages."""

import io
import tempfile
import unittest
from pathlib import Path

from support import EngineTest, guest

from airssys_wasm import (
    DictStorage,
    EngineClosed,
    InvalidArgument,
    InvalidId,
    InvalidKey,
    IoError,
    NotConforming,
    StoredKeys,
    Timeout,
    Unsupported,
    Usage,
    WouldDeadlock,
)
from airssys_wasm.storage import selftest

ID = "test/user/0"


class Stored(EngineTest):
    def both(self):
        return self.engine(), self.engine(storage=DictStorage())

    def test_the_host_sees_what_the_component_sees(self):
        for engine in self.both():
            keys = engine.storage[ID]
            keys["seed"] = b"planted"
            keys.set("text", "größe")
            user = engine.load(ID, guest("storage-user"))
            self.assertEqual(user.call("get seed"), b"planted")
            user.call("set guest v")
            self.assertEqual(keys["guest"], b"v")
            self.assertEqual(keys["text"], "größe".encode())
            keys["empty"] = b""
            self.assertEqual(keys.get("empty"), b"")
            self.assertIsNone(keys.get("missing"))
            with self.assertRaises(KeyError):
                keys["missing"]
            with self.assertRaises(KeyError):
                del keys["missing"]
            keys.delete("missing")
            del keys["seed"]
            self.assertNotIn("seed", keys)
            self.assertEqual(sorted(keys), ["empty", "guest", "text"])
            self.assertEqual(keys.usage(), Usage(bytes=5 + 5 + 1 + 4 + 7, keys=3))
            self.assertEqual(len(keys), 3)
            self.assertEqual(dict(engine.storage["test/other/0"]), {})
            self.assertEqual(keys.pop("guest"), b"v")
            self.assertEqual(repr(keys), f"<StoredKeys of {ID}>")
            self.assertIsInstance(keys, StoredKeys)

    def test_keys_come_in_pages(self):
        for engine in self.both():
            keys = engine.storage[ID]
            names = [f"k{n:04}" for n in range(2345)]
            keys.batch({name: name for name in names})
            self.assertEqual(list(keys), names)
            self.assertEqual(keys.list("k234"), names[2340:])
            self.assertEqual(keys.list(after="k2342", limit=1), ["k2343"])
            self.assertEqual(keys.list(limit=0), [])

    def test_a_batch(self):
        for engine in self.both():
            keys = engine.storage[ID]
            keys["old"] = "v"
            keys.batch({"old": None, "a": b"\0\xff", "b": "", "c": bytearray(b"c"), "never": None})
            self.assertEqual(dict(keys), {"a": b"\0\xff", "b": b"", "c": b"c"})
            keys.batch({})

    def test_a_time_to_live(self):
        keys = self.engine().storage[ID]
        keys.set("short", "v", ttl=0.001)
        keys.batch({"short too": "v"}, ttl=0.001)
        keys.set("long", "v", ttl=3600)
        self.eventually(lambda: list(keys) == ["long"])
        with self.assertRaises(Unsupported):
            self.engine(storage=DictStorage()).storage[ID].set("k", "v", ttl=1)

    def test_errors(self):
        class Failing(DictStorage):
            def get(self, namespace, key):
                raise ValueError("not today") if key == "broken" else InvalidKey("no such keys")

        engine = self.engine(storage=Failing())
        keys = engine.storage[ID]
        with self.assertLogs("airssys_wasm", "ERROR"), self.assertRaises(IoError) as caught:
            keys["broken"]
        self.assertIn("ValueError: not today", str(caught.exception))
        with self.assertRaises(InvalidArgument):
            keys["other"]
        with self.assertRaises(InvalidId):
            engine.storage["test"]["k"]
        for key in ("", "k" * 1025, "a\0b"):
            with self.assertRaises(InvalidArgument):
                keys[key] = b""
        engine.close()
        with self.assertRaises(EngineClosed):
            keys.usage()

    def test_shared_by_name(self):
        engine = self.engine()
        rights = {"storage": {"read": "app/db", "write": "app/db"}}
        one, two = (
            engine.load(
                f"app/db/{n}",
                guest("storage-user"),
                storage={"scope": "name"},
                capabilities=rights,
            )
            for n in range(2)
        )
        one.call("set k shared")
        self.assertEqual(two.call("get k"), b"shared")
        self.assertEqual(engine.storage["app/db"]["k"], b"shared")


class Transfer(EngineTest):
    def filled(self):
        engine = self.engine()
        engine.storage["a/b/c"].batch({"k": b"\0\xff", "größe": "v"})
        engine.storage["a/b"]["shared"] = "v"
        return engine

    def test_an_export_and_its_import(self):
        engine = self.filled()
        file = io.BytesIO()
        engine.storage.export(file)
        for other in (self.engine(), self.engine(storage=DictStorage())):
            file.seek(0)
            checked = {"keys": 3, "stored": 0, "kept": 0, "expired": 0}
            self.assertEqual(other.storage.check(file), checked)
            file.seek(0)
            self.assertEqual(other.storage.import_(file), {**checked, "stored": 3})
            self.assertEqual(dict(other.storage["a/b/c"]), dict(engine.storage["a/b/c"]))
            again = io.BytesIO()
            other.storage.export(again)
            self.assertEqual(again.getvalue(), file.getvalue())
            file.seek(0)
            with self.assertRaises(InvalidArgument) as caught:
                other.storage.import_(file)
            self.assertEqual(caught.exception.detail["code"], "exists")
            file.seek(0)
            self.assertEqual(other.storage.import_(file, existing="keep")["kept"], 3)

    def test_some_namespaces(self):
        engine = self.filled()
        file = io.BytesIO()
        engine.storage.export(file, ["a/b", "none/none/none"])
        self.assertIn(b"\nend 1 ", file.getvalue())
        for wrong in ("a/b", []):
            with self.assertRaises((TypeError, InvalidArgument)):
                engine.storage.export(file, wrong)

    def test_exceptions_of_the_file_come_back(self):
        engine = self.filled()

        class Full(io.BytesIO):
            def write(self, data):
                raise OSError(28, "No space left")

            def read(self, size=-1):
                raise KeyboardInterrupt

        with self.assertRaises(OSError) as caught:
            engine.storage.export(Full())
        self.assertEqual(caught.exception.errno, 28)
        with self.assertRaises(KeyboardInterrupt):
            engine.storage.import_(Full())
        with self.assertRaises(InvalidArgument):
            engine.storage.import_(io.BytesIO(b"PK"))
        with self.assertRaises(InvalidArgument):
            engine.storage.import_(io.BytesIO(b""), existing="merge")

    def test_the_file_cannot_close_the_engine(self):
        engine = self.filled()

        class Closing(io.BytesIO):
            def write(self, data):
                engine.close()

        with self.assertRaises(WouldDeadlock):
            engine.storage.export(Closing())
        self.assertFalse(engine.closed)


class Selftest(unittest.TestCase):
    def test_storages_that_break_no_rule(self):
        class Serialized(DictStorage):
            serialize = True
            flushed = 0

            def flush(self):
                self.flushed += 1

        storage = Serialized()
        for tested in (DictStorage(), storage):
            results = {rule["rule"]: rule["result"] for rule in selftest(tested)}
            self.assertEqual(results["batch-at-once"], "held")
            self.assertEqual(results["expiry"], "skipped")
            self.assertEqual(list(tested.namespaces()), [])
        self.assertGreater(storage.flushed, 0)

    def test_a_broken_rule_is_named(self):
        class Folding(DictStorage):
            def get(self, namespace, key):
                return super().get(namespace, key.lower())

            def set(self, namespace, key, value):
                super().set(namespace, key.lower(), value)

        with self.assertRaises(NotConforming) as caught:
            selftest(Folding())
        text = str(caught.exception)
        self.assertIn("key-case: Keys that differ in case differ.\n", text)
        self.assertIn("\n    expected: ", text)
        rules = {rule["rule"]: rule["result"] for rule in caught.exception.detail["rules"]}
        self.assertEqual(rules["key-case"], "broken")
        self.assertEqual(rules["value-bytes"], "held")

    def test_a_storage_without_a_method(self):
        with self.assertRaises(TypeError):
            selftest(object())

    def test_a_storage_that_hangs(self):
        import threading

        gate = threading.Event()

        class Hanging(DictStorage):
            def flush(self):
                gate.wait(60)

        with self.assertRaises(Timeout):
            selftest(Hanging(), timeout=0.5)
        gate.set()


class SerializedStorage(EngineTest):
    def test_a_callback_that_needs_its_own_storage(self):
        refused = []

        class Nested(DictStorage):
            serialize = True

            def set(self, namespace, key, value):
                if key == "again":
                    try:
                        engine.storage[namespace]["k"]
                    except WouldDeadlock as error:
                        refused.append(error)
                super().set(namespace, key, value)

        engine = self.engine(storage=Nested())
        user = engine.load(ID, guest("storage-user"))
        self.assertEqual(user.call("set again v"), b"ok")
        engine.storage[ID]["again"] = b"v"
        self.assertEqual(len(refused), 2)


class SqliteExample(unittest.TestCase):
    def test_it_breaks_no_rule_and_keeps_the_data(self):
        from test_examples import run_example

        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "data.db")
            user = guest("storage-user")
            result = run_example("sqlite_storage.py", path, user, "set k v")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertNotIn("broken", result.stdout)
            self.assertIn("{'k': b'v'}", result.stdout)
            result = run_example("sqlite_storage.py", path, user, "get k")
            self.assertIn("\nv\n", result.stdout)


if __name__ == "__main__":
    unittest.main()
