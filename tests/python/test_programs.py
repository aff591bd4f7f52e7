"""Components as command-line programs."""

import threading

from airssys_wasm import (
    CompletedRun,
    ExportNotFound,
    InvalidArgument,
    ResourceLimitExceeded,
    Timeout,
    Trap,
)
from support import EngineTest, guest


class Programs(EngineTest):
    def test_a_run_gets_arguments_and_input_and_returns_output_and_status(self):
        tool = self.engine().load("app/tool/0", guest("program"), env={"WHO": "me"})
        self.assertEqual(tool.run("args", "a b", "ü"), (0, b'tool: ["a b", "\xc3\xbc"]\n', b""))
        self.assertEqual(tool.run("env", "WHO").stdout, b'Ok("me")\n')
        self.assertEqual(tool.run("cat", stdin=b"\0\xff\n").stdout, b"\0\xff\n")
        self.assertEqual(tool.run("cat", stdin="grün").stdout.decode(), "grün")
        self.assertEqual(tool.run("cat", stdin=bytearray(b"x")), CompletedRun(0, b"x", b""))
        self.assertEqual(tool.run("both"), CompletedRun(0, b"to out", b"to err"))
        self.assertEqual(tool.run("fail").status, 1)
        tool.run("leave-behind")
        self.assertEqual(tool.run("env", "LEFT").stdout, b"Err(NotPresent)\n")

    def test_errors(self):
        engine = self.engine(limits={"max_message_bytes": 1000})
        tool = engine.load("app/tool/0", guest("program"))
        with self.assertRaises(Trap) as caught:
            tool.run("panic", "boom")
        self.assertIn("boom", caught.exception.detail["stderr"])
        self.assertIn("boom | note: ", str(caught.exception))
        with self.assertRaises(ResourceLimitExceeded):
            tool.run("flood", "10")
        with self.assertRaises(InvalidArgument):
            tool.run("args", "a\0b")
        for wrong in (3, b"args", None):
            with self.assertRaises(TypeError):
                tool.run(wrong)
        with self.assertRaises(ExportNotFound):
            engine.load("app/calc/0", guest("calculator")).run()

    def test_runs_from_many_threads_and_timeouts(self):
        tool = self.engine().load("app/tool/0", guest("program"))
        results = []
        threads = [
            threading.Thread(target=lambda n=n: results.append(tool.run("args", str(n)).stdout))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = [f'tool: ["{n}"]\n'.encode() for n in range(8)]
        self.assertEqual(sorted(results), expected)
        with self.assertRaises(Timeout):
            tool.run("loop", timeout=0.05)
