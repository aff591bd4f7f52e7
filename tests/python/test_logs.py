"""Log records of components in Python's logging."""

import logging
import os
import subprocess
import sys
import threading
import time
import unittest

from support import PATIENCE, EngineTest, guest

from airssys_wasm import TRACE

LOGGER = "airssys_wasm.component"


class Records(EngineTest):
    def test_fields(self):
        with self.assertLogs(LOGGER, TRACE) as logged:
            chatty = self.load("chatty")
            before = time.time()
            chatty.call("log-ctx warn low disk=sda1 free=5%")
            after = time.time()
        [record] = logged.records
        self.assertEqual(record.name, LOGGER)
        self.assertEqual(record.levelno, logging.WARNING)
        self.assertEqual(record.getMessage(), "low")
        self.assertEqual(record.component, "test/chatty/0")
        self.assertEqual(record.context, {"disk": "sda1", "free": "5%"})
        # The guest's clock and Python's may differ in how they round.
        self.assertLess(before - 0.1, record.created)
        self.assertLess(record.created, after + 0.1)

    def test_levels(self):
        expected = {
            "trace": TRACE,
            "debug": logging.DEBUG,
            "info": logging.INFO,
            "warn": logging.WARNING,
            "error": logging.ERROR,
        }
        with self.assertLogs(LOGGER, TRACE) as logged:
            chatty = self.load("chatty")
            for level in expected:
                chatty.call(f"log {level} of {level}")
        found = {record.getMessage(): record.levelno for record in logged.records}
        self.assertEqual(found, {f"of {name}": level for name, level in expected.items()})
        self.assertEqual(logging.getLevelName(TRACE), "TRACE")

    def test_texts(self):
        for text, shown in (
            ("100 %s {}", "100 %s {}"),
            ("größer € \\n", "größer € \\n"),
            ("two\nlines\r", "two\\nlines\\r"),
            ("a\0b", "a\\x00b"),
            ("\x1b[31mred\x9b0m", "\\x1b[31mred\\x9b0m"),
            ("\u202eleft \u2028 \u200b", "\\u202eleft \\u2028 \\u200b"),
            ("", ""),
        ):
            with self.subTest(text):
                with self.assertLogs(LOGGER, "INFO") as logged:
                    self.load("chatty").call(f"log info {text}")
                self.assertEqual([r.getMessage() for r in logged.records], [shown])
                self.assertEqual([r.text for r in logged.records], [text])

    def test_where_logging_is_not_configured_the_id_is_in_the_line(self):
        script = (
            "import sys\n"
            "from airssys_wasm import Engine\n"
            "with Engine() as engine:\n"
            "    chatty = engine.load('test/chatty/0', sys.argv[1])\n"
            "    chatty.call('log info not shown')\n"
            "    chatty.call('log-ctx error \\x1b[31mforged\\nline k=v\\x1b')\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, str(guest("chatty"))],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        lines = ran.stderr.splitlines()
        self.assertEqual(len(lines), 1, ran.stderr)
        self.assertTrue(lines[0].startswith("test/chatty/0: \\x1b[31mforged"), lines)
        self.assertNotIn("\x1b", ran.stderr)

    def test_order(self):
        with self.assertLogs(LOGGER, "INFO") as logged:
            self.load("chatty").call("flood 500")
        self.assertEqual(
            [record.getMessage() for record in logged.records], [f"flood {n}" for n in range(500)]
        )

    def test_from_a_worker_thread(self):
        arrived = threading.Event()
        entries = []

        def take(entry):
            entries.append(entry)
            arrived.set()

        chatty = self.engine(logger=take).load("test/chatty/0", guest("chatty"))
        chatty.send("log info hello")
        self.assertTrue(arrived.wait(PATIENCE))
        self.assertEqual(entries[0].message, "hello")

    def test_records_during_an_unload(self):
        with self.assertLogs(LOGGER, "INFO") as logged:
            self.load("probe").unload()
        self.assertEqual([r.getMessage() for r in logged.records], ["probe shut down"])

    def test_output_of_wasi_components(self):
        with self.assertLogs(LOGGER, TRACE) as logged:
            wasi = self.load("wasi")
            wasi.call("print to stdout")
            wasi.call("eprint to stderr")
        found = {(record.component, record.getMessage()) for record in logged.records}
        self.assertLessEqual(
            {("test/wasi/0", "to stdout"), ("test/wasi/0", "to stderr")}, found
        )

    def test_wasi_components_get_nothing_of_the_host(self):
        wasi = self.load("wasi")
        self.assertEqual(wasi.call("env"), b"0")
        self.assertIn(b"error:", wasi.call("read /etc/hostname"))


class Targets(EngineTest):
    def test_a_logger(self):
        logger = logging.getLogger("tests.of.mine")
        with self.assertLogs(logger, "DEBUG") as logged:
            chatty = self.engine(logger=logger).load("test/chatty/0", guest("chatty"))
            chatty.call("log debug x")
        self.assertEqual([record.name for record in logged.records], ["tests.of.mine"])

    def test_a_callable(self):
        entries = []
        engine = self.engine(logger=entries.append)
        chatty = engine.load("test/chatty/0", guest("chatty"))
        chatty.call("log-ctx trace text k=v")
        [entry] = [entry for entry in entries if entry.message == "text"]
        self.assertEqual(entry.level, TRACE)
        self.assertEqual(entry.component, "test/chatty/0")
        self.assertEqual(entry.context, {"k": "v"})
        self.assertGreater(entry.time, 1.7e9)

    def test_the_level_counts_when_the_engine_is_made(self):
        logger = logging.getLogger("tests.level")
        with self.assertLogs(logger, "WARNING"):
            engine = self.engine(logger=logger)
            chatty = engine.load("test/chatty/0", guest("chatty"))
            logger.setLevel(logging.DEBUG)
            entries = []
            logger.addFilter(lambda record: entries.append(record.getMessage()) or True)
            chatty.call("log info too low")
            chatty.call("log warn high enough")
        self.assertEqual(entries, ["high enough"])

    def test_a_level_of_its_own(self):
        for level, expected in (
            (TRACE, ["trace", "debug", "info", "warn", "error"]),
            (logging.DEBUG, ["debug", "info", "warn", "error"]),
            (logging.INFO + 1, ["warn", "error"]),
            (logging.CRITICAL, []),
        ):
            with self.subTest(level):
                entries = []
                engine = self.engine(logger=entries.append, log_level=level)
                chatty = engine.load("test/chatty/0", guest("chatty"))
                for name in ("trace", "debug", "info", "warn", "error"):
                    chatty.call(f"log {name} {name}")
                self.assertEqual([e.message for e in entries if e.component], expected)

    def test_a_callable_that_raises(self):
        def broken(entry):
            raise ZeroDivisionError("in the logger")

        chatty = self.engine(logger=broken).load("test/chatty/0", guest("chatty"))
        with self.assertLogs("airssys_wasm", "ERROR") as logged:
            self.assertEqual(chatty.call("log info x"), b"ok")
        self.assertIn("in the logger", logged.output[0])

    def test_a_callable_that_uses_the_engine(self):
        replies = []

        def calling(entry):
            if entry.component == "test/chatty/0":
                replies.append(echo.call(entry.message))

        engine = self.engine(logger=calling)
        echo = engine.load("test/echo/0", guest("echo"))
        chatty = engine.load("test/chatty/0", guest("chatty"))
        self.assertEqual(chatty.call("log info hello"), b"ok")
        self.assertEqual(replies, [b"hello"])


if __name__ == "__main__":
    unittest.main()
