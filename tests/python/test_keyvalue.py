"""A component that was written for wasi:keyvalue."""

import tempfile
import unittest
from pathlib import Path

from support import RIGHTS, EngineTest, guest

USER = "test/kv/0"


class KeyValue(EngineTest):
    def test_its_data_is_the_component_s_storage(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "store"
        for n in (1, 2):
            engine = self.engine(storage=path)
            kv = engine.load(USER, guest("keyvalue"), capabilities=RIGHTS, require_lifecycle=True)
            self.assertEqual(kv.call("incr users visits 1"), str(n).encode())
            self.assertEqual(engine.storage[USER]["bucket:users/visits"], str(n).encode())
            engine.storage[USER].set("k", b"seeded")
            self.assertEqual(kv.call("get - k"), b"seeded")
            self.assertEqual(kv.call("list -"), b"k")
            engine.close()

    def test_a_right_that_is_missing(self):
        engine = self.engine()
        kv = engine.load(USER, guest("keyvalue"), capabilities={"storage": ["read"]})
        self.assertEqual(kv.call("set - k v"), b"error: access-denied")

    def test_configuration_and_log(self):
        engine = self.engine()
        settings = engine.load(
            "test/settings/0", guest("settings"), config={"url": "http://h/"}, env={"A": "1"}
        )
        self.assertEqual(settings.call("all"), b"A=1\nurl=http://h/")
        with self.assertLogs("airssys_wasm.component", "ERROR") as logs:
            settings.call("log critical db it is lost")
        self.assertIn("it is lost", logs.output[0])


if __name__ == "__main__":
    unittest.main()
