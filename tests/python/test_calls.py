"""Loading components and exchanging messages with them."""

import array
import json
import os
import tempfile
import unittest
from pathlib import Path

from support import EngineTest, guest

import airssys_wasm
from airssys_wasm import ComponentNotFound, DictStorage, Engine, ResourceLimitExceeded


class RoundTrips(EngineTest):
    def test_sizes(self):
        echo = self.load("echo")
        for size in (1, 16, 4096, 65_537, 1 << 20, 5 << 20):
            with self.subTest(size):
                payload = os.urandom(size)
                self.assertEqual(echo.call(payload), payload)

    def test_empty_and_no_reply_differ(self):
        self.assertEqual(self.load("echo").call(b""), b"")
        probe = self.load("probe")
        self.assertEqual(probe.call("empty"), b"")
        self.assertIsNone(probe.call("silent"))
        self.assertEqual(probe.call("empty"), b"")

    def test_replies_of_changing_size(self):
        probe = self.load("probe")
        for size in (0, 1, 1 << 20, 3, 0, 70_000, 16):
            with self.subTest(size):
                pattern = bytes(range(251)) * (size // 251 + 1)
                self.assertEqual(probe.call(f"blob {size}"), pattern[:size])

    def test_a_large_message_does_not_harm_later_ones(self):
        echo = self.load("echo")
        large = b"x" * (4 << 20)
        self.assertEqual(echo.call(large), large)
        for _ in range(100):
            self.assertEqual(echo.call(b"small"), b"small")

    def test_every_byte_value(self):
        payload = bytes(range(256)) * 2
        self.assertEqual(self.load("echo").call(payload), payload)

    def test_text_is_sent_as_utf8(self):
        reply = self.load("echo").call("größer € 𝄞\0.")
        self.assertEqual(reply, "größer € 𝄞\0.".encode())

    def test_buffers(self):
        echo = self.load("echo")
        data = b"0123456789abcdef"
        for payload in (
            bytearray(data),
            memoryview(data),
            memoryview(bytearray(data)),
            memoryview(bytearray(data))[4:12],
            memoryview(data)[::2],
            memoryview(bytearray(data))[::-1],
            bytearray(),
            memoryview(b""),
        ):
            with self.subTest(payload):
                self.assertEqual(echo.call(payload), bytes(payload))
        numbers = array.array("I", [1, 2, 0xFFFFFFFF])
        self.assertEqual(echo.call(numbers), numbers.tobytes())

    def test_a_buffer_is_free_again_after_the_call(self):
        payload = bytearray(b"grow")
        self.assertEqual(self.load("echo").call(payload), b"grow")
        payload.extend(b"ing")

    def test_types_that_are_not_payloads(self):
        echo = self.load("echo")
        for payload in (None, 5, ["a"], object()):
            with self.subTest(payload):
                with self.assertRaises(TypeError):
                    echo.call(payload)
                with self.assertRaises(TypeError):
                    echo.send(payload)


class Messages(EngineTest):
    def test_sender_and_content_type(self):
        probe = self.engine(name="tests").load("test/probe/0", guest("probe"))
        seen = json.loads(probe.call("message"))
        self.assertEqual(seen["sender"], "host/tests/0")
        self.assertIsNone(seen["content-type"])
        seen = json.loads(
            probe.call("message", sender="a/b/c", content_type="text/plain", timeout=60)
        )
        self.assertEqual(seen["sender"], "a/b/c")
        self.assertEqual(seen["content-type"], "text/plain")
        # Options apply to one message only.
        seen = json.loads(probe.call("message"))
        self.assertEqual(seen["sender"], "host/tests/0")
        self.assertIsNone(seen["content-type"])

    def test_sends_are_handled_in_order_and_before_a_later_call(self):
        counter = self.load("counter")
        for _ in range(200):
            counter.send(b"inc")
        self.assertEqual(counter.call("get"), b"200")

    def test_a_sent_payload_may_change_at_once(self):
        requester = self.load("requester")
        payload = bytearray(b"note first")
        requester.send(payload)
        payload[:] = b"bad! bytes"
        self.assertEqual(json.loads(requester.call("received")), ["first"])

    def test_components_talk_to_each_other(self):
        storage = DictStorage()
        engine = self.engine(storage=storage)
        engine.load("test/keeper/0", guest("storage-user"))
        requester = engine.load("test/requester/0", guest("requester"))
        self.assertEqual(requester.call("self"), b"test/requester/0")
        self.assertEqual(requester.call("send test/keeper/0 set k v"), b"ok")
        engine.shutdown()
        self.assertEqual(storage.get("test/keeper/0", "k"), b"v")


class Loading(EngineTest):
    def test_from_paths_and_binaries(self):
        path = guest("echo")
        binary = path.read_bytes()
        engine = self.engine()
        sources = (path, str(path), binary, bytearray(binary), memoryview(binary))
        for number, source in enumerate(sources):
            with self.subTest(type(source).__name__):
                component = engine.load(f"test/echo/{number}", source)
                self.assertEqual(component.call(b"hello"), b"hello")

    def test_a_relative_path(self):
        path = os.path.relpath(guest("echo"))
        self.assertEqual(self.engine().load("test/echo/0", path).call(b"x"), b"x")

    def test_environment_and_configuration(self):
        env = {"A": "1", "GRÜSSE": "grüß dich"}
        for config, expected in (
            ("plain text", "plain text"),
            ({"depth": [1, 2]}, '{"depth":[1,2]}'),
            (17, "17"),
            (None, None),
        ):
            with self.subTest(config):
                probe = self.load("probe", env=env, config=config)
                seen = json.loads(probe.call("config"))
                self.assertEqual(seen["env"], env)
                self.assertEqual(seen["config"], expected)

    def test_limits_of_component_and_engine(self):
        engine = self.engine(limits={"max_memory_bytes": 9 << 20, "max-fuel": 10**12})
        probe = engine.load("test/probe/0", guest("probe"), limits={"max_execution_time_ms": 777})
        limits = json.loads(probe.call("config"))["limits"]
        self.assertEqual(limits["max-memory-bytes"], 9 << 20)
        self.assertEqual(limits["max-fuel"], 10**12)
        self.assertEqual(limits["max-execution-time-ms"], 777)

    def test_a_default_limit_is_lifted(self):
        engine = self.engine(limits={"max_fuel": 1_000_000})
        limited = engine.load("test/trapper/0", guest("trapper"))
        with self.assertRaises(ResourceLimitExceeded):
            limited.call("spin 10000000")
        free = engine.load("test/trapper/1", guest("trapper"), limits={"max_fuel": None})
        free.call("spin 10000000")
        self.assertIsNone(free.describe()["limits"]["max-fuel"])

    def test_options_as_the_library_spells_them(self):
        probe = self.load("probe", options={"env": {"A": "1"}, "mailbox": {"capacity": 3}})
        self.assertEqual(json.loads(probe.call("config"))["env"], {"A": "1"})
        self.assertEqual(probe.describe()["mailbox"]["capacity"], 3)

    def test_a_cache_directory(self):
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(2):
                with Engine(cache_dir=Path(directory, "cache")) as engine:
                    echo = engine.load("test/echo/0", guest("echo"))
                    self.assertEqual(echo.call(b"x"), b"x")


class Looking(EngineTest):
    def test_component(self):
        engine = self.engine()
        probe = engine.load("test/probe/0", guest("probe"))
        self.assertEqual(probe.id, "test/probe/0")
        self.assertGreater(probe.handle, 0)
        self.assertIs(probe.engine, engine)
        self.assertIn("test/probe/0", repr(probe))
        found = engine.find("test/probe/0")
        self.assertEqual(found, probe)
        self.assertEqual(hash(found), hash(probe))
        self.assertEqual(engine.components(), [probe])
        self.assertNotEqual(probe, engine.load("test/probe/0", guest("probe")))

    def test_describe(self):
        probe = self.load("probe")
        probe.call("silent")
        description = probe.describe()
        self.assertEqual(description["id"], "test/probe/0")
        self.assertEqual(description["handle"], probe.handle)
        self.assertEqual(description["state"], "running")
        self.assertEqual(description["messages"]["handled"], 1)
        self.assertIn("silent", description["metadata"]["supported-operations"])

    def test_stats(self):
        engine = self.engine()
        self.assertEqual(engine.stats()["components"], 0)
        engine.load("test/echo/0", guest("echo")).call(b"x")
        stats = engine.stats()
        self.assertEqual(stats["components"], 1)
        self.assertEqual(stats["messages"]["handled"], 1)

    def test_health(self):
        probe = self.load("probe")
        for status in ("healthy", "degraded", "unhealthy", "unknown"):
            with self.subTest(status):
                probe.call(f"health {status}")
                self.assertEqual(probe.health(), status)

    def test_versions(self):
        self.assertRegex(airssys_wasm.library_version(), r"^\d+\.\d+\.\d+")
        self.assertRegex(airssys_wasm.__version__, r"^\d+\.\d+\.\d+")
        self.assertTrue(airssys_wasm.library_path())


class Unloading(EngineTest):
    def test_unload(self):
        engine = self.engine()
        echo = engine.load("test/echo/0", guest("echo"))
        echo.unload()
        echo.unload()
        for use in (lambda: echo.call(b"x"), lambda: echo.send(b"x"), echo.describe, echo.health):
            with self.assertRaises(ComponentNotFound):
                use()
        with self.assertRaises(ComponentNotFound):
            engine.find("test/echo/0")
        self.assertEqual(engine.components(), [])

    def test_context_manager(self):
        engine = self.engine()
        with engine.load("test/echo/0", guest("echo")) as echo:
            self.assertEqual(echo.call(b"x"), b"x")
        self.assertEqual(engine.components(), [])
        with self.assertRaises(ZeroDivisionError):
            with engine.load("test/echo/0", guest("echo")):
                1 / 0
        self.assertEqual(engine.components(), [])

    def test_an_id_twice_gives_two_components(self):
        engine = self.engine()
        one, two = (engine.load("test/counter/0", guest("counter")) for _ in range(2))
        self.assertNotEqual(one.handle, two.handle)
        self.assertEqual(one.call("inc"), b"1")
        self.assertEqual(two.call("get"), b"0")
        one.unload()
        self.assertEqual(engine.find("test/counter/0"), two)

    def test_dropping_the_object_does_not_unload(self):
        engine = self.engine()
        engine.load("test/counter/0", guest("counter")).call("inc")
        self.assertEqual(engine.find("test/counter/0").call("get"), b"1")


if __name__ == "__main__":
    unittest.main()
