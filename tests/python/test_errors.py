"""Errors: their classes, builtin bases and messages."""

import concurrent.futures
import pickle
import unittest

from support import PACKAGE_PARENT, EngineTest, guest

import airssys_wasm
from airssys_wasm import (
    AirssysError,
    Cancelled,
    ComponentError,
    ComponentNotFound,
    EngineClosed,
    EngineStopped,
    ExportNotFound,
    InitializationFailed,
    InvalidArgument,
    InvalidComponent,
    InvalidId,
    InvalidMessage,
    InvalidOptions,
    IoError,
    QueueFull,
    RequestNotFound,
    ResourceLimitExceeded,
    ShutdownFailed,
    Status,
    Timeout,
    Trap,
    errors,
)


class Classes(unittest.TestCase):
    def test_every_status_has_a_class(self):
        for status in Status:
            if status is Status.OK:
                continue
            with self.subTest(status.name):
                error = errors.from_status(int(status), "text", {"key": 1})
                self.assertIsNot(type(error), AirssysError)
                self.assertIs(error.status, status)
                self.assertEqual(error.message, "text")
                self.assertEqual(error.detail, {"key": 1})
                self.assertEqual(str(error), "text")
                self.assertIn(type(error).__name__, airssys_wasm.__all__)

    def test_an_unknown_status_is_the_base_class(self):
        error = errors.from_status(999, "text", {})
        self.assertIs(type(error), AirssysError)
        self.assertEqual(error.status, 999)

    def test_builtin_relatives(self):
        for kind, relative in (
            (InvalidArgument, ValueError),
            (InvalidId, ValueError),
            (InvalidOptions, ValueError),
            (InvalidComponent, ValueError),
            (ComponentNotFound, LookupError),
            (Timeout, TimeoutError),
            (InvalidMessage, ValueError),
            (RequestNotFound, LookupError),
            (Cancelled, concurrent.futures.CancelledError),
            (IoError, OSError),
            (EngineClosed, EngineStopped),
        ):
            with self.subTest(kind.__name__):
                self.assertTrue(issubclass(kind, relative))

    def test_they_can_be_pickled(self):
        for error in (errors.from_status(9, "late", {"limit": 5}), EngineClosed()):
            with self.subTest(type(error).__name__):
                copy = pickle.loads(pickle.dumps(error))
                self.assertIs(type(copy), type(error))
                self.assertEqual(
                    (copy.status, copy.message, copy.detail, str(copy)),
                    (error.status, error.message, error.detail, str(error)),
                )

    def test_the_package_is_typed(self):
        self.assertTrue((PACKAGE_PARENT / "airssys_wasm" / "py.typed").exists())


class Words(EngineTest):
    def test_error_texts_of_a_component_are_escaped_when_printed(self):
        probe = self.load("probe")
        with self.assertRaises(ComponentError) as caught:
            probe.call("fail runtime-error \x1b[31mtwo\nlines")
        self.assertIn("\x1b[31mtwo\nlines", caught.exception.message)
        self.assertIn("\\x1b[31mtwo\\nlines", str(caught.exception))
        self.assertTrue(str(caught.exception).isprintable())


class Arguments(EngineTest):
    def test_ids(self):
        engine = self.engine()
        for id in ("", "echo", "a/b", "a/b/c/d", "a//c", "a/*/c"):
            with self.subTest(id):
                with self.assertRaises(InvalidId) as caught:
                    engine.load(id, guest("echo"))
                self.assertIs(caught.exception.status, Status.INVALID_ID)
                with self.assertRaises(InvalidId):
                    engine.find(id)
        with self.assertRaises(InvalidArgument):
            engine.find("a/b\0/c")
        with self.assertRaises(InvalidArgument):
            engine.find("a/\ud800/c")
        with self.assertRaises(TypeError):
            engine.find(5)
        with self.assertRaises(InvalidId):
            engine.load("test/echo/0", guest("echo")).call(b"x", sender="nobody")

    def test_timeouts(self):
        engine = self.engine()
        echo = engine.load("test/echo/0", guest("echo"))
        for timeout in (0, -1, float("nan"), float("inf"), 1e300):
            with self.subTest(timeout):
                with self.assertRaises(InvalidArgument):
                    echo.call(b"x", timeout=timeout)
                with self.assertRaises(InvalidArgument):
                    engine.shutdown(timeout)
        self.assertEqual(echo.call(b"x", timeout=1e9), b"x")

    def test_engine_configuration(self):
        for options, expected in (
            ({"config": {"worker": 1}}, "workers"),
            ({"workers": 0}, "workers"),
            ({"workers": "many"}, "workers"),
            ({"limits": {"max_fule": 1}}, "max-fuel"),
            ({"supervision": {"backof": {}}}, "backoff"),
            ({"name": "a/b"}, "name"),
        ):
            with self.subTest(options):
                with self.assertRaises(InvalidOptions) as caught:
                    self.engine(**options)
                self.assertIn(expected, caught.exception.message)
        with self.assertRaises(InvalidOptions):
            self.engine(workers=1, config={"workers": 2})
        with self.assertRaises(TypeError):
            self.engine(logger=5)

    def test_load_options(self):
        engine = self.engine()
        for options, expected in (
            ({"limits": {"max_memory": 1}}, "max-memory-bytes"),
            ({"mailbox": {"capacity": -1}}, "capacity"),
            ({"supervision": {"max_restart": 1}}, "max-restarts"),
            ({"supervision": {"restart": "never"}}, "temporary"),
            ({"supervision": {"backoff": {"first_m": 1}}}, "first-ms"),
            ({"kept_versions": 65}, "kept-versions"),
            ({"env": {"A": 1}}, "env"),
            ({"options": {"limit": {}}}, "limits"),
        ):
            with self.subTest(options):
                with self.assertRaises(InvalidOptions) as caught:
                    engine.load("test/echo/0", guest("echo"), **options)
                self.assertIn(expected, caught.exception.message)
                self.assertIsInstance(caught.exception.detail, dict)
        with self.assertRaises(InvalidOptions):
            engine.load("test/echo/0", guest("echo"), env={}, options={"env": {}})
        with self.assertRaises(ValueError):
            engine.load("test/echo/0", guest("echo"), config=float("nan"))
        self.assertEqual(engine.components(), [])


class Binaries(EngineTest):
    def test_binaries_that_are_not_components(self):
        binary = guest("echo").read_bytes()
        core_module = b"\0asm\1\0\0\0"
        for name, wasm in (
            ("empty", b""),
            ("text", b"(component)"),
            ("core module", core_module),
            ("cut off", binary[: len(binary) // 2]),
            ("corrupt", binary[:200] + b"\xff" * 64 + binary[264:]),
        ):
            with self.subTest(name):
                engine = self.engine()
                with self.assertRaises(InvalidComponent) as caught:
                    engine.load("test/broken/0", wasm)
                self.assertTrue(caught.exception.message)
                self.assertEqual(engine.components(), [])
        with self.assertRaises(TypeError):
            self.engine().load("test/broken/0", 5)

    def test_missing_file(self):
        with self.assertRaises(IoError) as caught:
            self.engine().load("test/echo/0", "no-such-file.wasm")
        self.assertIn("no-such-file.wasm", caught.exception.message)

    def test_a_component_that_answers_nothing(self):
        with self.assertRaises(ExportNotFound):
            self.load("minimal").call(b"x")


class LifeCycle(EngineTest):
    def test_initialize_refuses(self):
        engine = self.engine()
        with self.assertRaises(InitializationFailed) as caught:
            engine.load("test/probe/0", guest("probe"), env={"REFUSE": "no license"})
        self.assertIn("no license", caught.exception.message)
        self.assertEqual(engine.components(), [])

    def test_shutdown_fails(self):
        engine = self.engine()
        options = {"env": {"SHUTDOWN_FAIL": "disk is gone"}}
        probe = engine.load("test/probe/0", guest("probe"), **options)
        with self.assertRaises(ShutdownFailed) as caught:
            probe.unload()
        self.assertIn("disk is gone", caught.exception.message)
        self.assertEqual(engine.components(), [])
        with self.assertRaises(ShutdownFailed):
            with engine.load("test/probe/1", guest("probe"), **options):
                pass
        engine.load("test/probe/2", guest("probe"), **options)
        with self.assertRaises(ShutdownFailed):
            engine.shutdown()

    def test_unknown_ids(self):
        with self.assertRaises(ComponentNotFound) as caught:
            self.engine().find("no/such/component")
        self.assertIn("no/such/component", caught.exception.message)


class Failures(EngineTest):
    def test_the_components_own_errors(self):
        probe = self.load("probe")
        with self.assertRaises(ComponentError) as caught:
            probe.call("fail runtime-error no such user: Zoë")
        self.assertIn("no such user: Zoë", caught.exception.message)
        for kind in (
            "component-not-found",
            "instantiation-failed",
            "export-not-found",
            "resource-limit-exceeded",
            "invalid-component",
        ):
            with self.subTest(kind):
                with self.assertRaises(AirssysError) as caught:
                    probe.call(f"fail {kind} because of reasons")
                self.assertIn("because of reasons", caught.exception.message)
        with self.assertRaises(AirssysError):
            probe.call("fail timeout x")
        self.assertEqual(probe.call("empty"), b"")

    def test_a_trap_ends_one_message_only(self):
        engine = self.engine()
        trapper = engine.load("test/trapper/0", guest("trapper"))
        counter = engine.load("test/counter/0", guest("counter"))
        counter.call("inc")
        for command in ("unreachable", "panic went wrong", "oob", "div0"):
            with self.subTest(command):
                with self.assertRaises(Trap) as caught:
                    trapper.call(command)
                self.assertTrue(caught.exception.message)
                self.assertEqual(trapper.call("ok"), b"ok")
        self.assertEqual(counter.call("inc"), b"2")

    def test_memory_limit(self):
        limit = 8 << 20
        trapper = self.load("trapper", limits={"max_memory_bytes": limit})
        with self.assertRaises(ResourceLimitExceeded) as caught:
            trapper.call("alloc")
        self.assertIn("max-memory-bytes", caught.exception.message)
        self.assertIn(str(limit), caught.exception.message)
        self.assertEqual(trapper.call("ok"), b"ok")

    def test_fuel_limit(self):
        trapper = self.load("trapper", limits={"max_fuel": 1_000_000})
        for command in ("loop", "spin 100000000"):
            with self.subTest(command):
                with self.assertRaises(ResourceLimitExceeded) as caught:
                    trapper.call(command)
                self.assertIn("max-fuel", caught.exception.message)
                self.assertIn("1000000", caught.exception.message)
                self.assertEqual(trapper.call("ok"), b"ok")

    def test_stack_limit(self):
        trapper = self.load("trapper")
        with self.assertRaises(ResourceLimitExceeded) as caught:
            trapper.call("recurse")
        self.assertIn("stack", caught.exception.message)
        self.assertEqual(trapper.call("ok"), b"ok")

    def test_time_limit(self):
        trapper = self.load("trapper", limits={"max_execution_time_ms": 50})
        for command in ("loop", "sleep 3600000"):
            with self.subTest(command):
                with self.assertRaises(Timeout) as caught:
                    trapper.call(command)
                self.assertIn("max-execution-time-ms", caught.exception.message)
                self.assertIn("50", caught.exception.message)
                self.assertEqual(trapper.call("ok"), b"ok")

    def test_the_callers_timeout(self):
        limits = {"max_execution_time_ms": 2_000}
        trapper = self.load("trapper", limits=limits)
        for command in ("sleep 3600000", "loop"):
            with self.subTest(command):
                with self.assertRaises(Timeout) as caught:
                    trapper.call(command, timeout=0.0251)
                self.assertNotIn("max-execution-time-ms", caught.exception.message)
                self.assertIn("26", caught.exception.message)
        # It waits for the message that the component still handles.
        self.assertEqual(trapper.call("ok"), b"ok")

    def test_queue_full(self):
        trapper = self.load("trapper", mailbox={"capacity": 2})
        with self.assertRaises(QueueFull) as caught:
            for _ in range(10):
                trapper.send("sleep 3600000")
        self.assertIn("2", caught.exception.message)


if __name__ == "__main__":
    unittest.main()
