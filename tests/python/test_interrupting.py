"""Interrupts: by a thread, by a signal, by the sender's timeout."""

from __future__ import annotations

import threading
import unittest

from airssys_wasm import (
    Cancelled,
    ComponentNotFound,
    Engine,
    Interrupted,
    ShutdownFailed,
    Status,
    Timeout,
)
from support import guest, run_python

#: No limit ends these messages.
ENDLESS = {"max-execution-time-ms": 3_600_000, "max-fuel": None}


class Interrupting(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = Engine()
        self.addCleanup(self.engine.close)
        self.busy = self.engine.load("test/busy/0", guest("trapper"), limits=ENDLESS)

    def until_busy(self) -> None:
        while self.busy.describe()["messages"]["accepted"] == 0:
            pass

    def test_another_thread_ends_a_call(self) -> None:
        for command in ("loop", "sleep 3600000"):
            with self.subTest(command):
                made = self.busy.request(command)
                self.until_busy()
                while not made.done():
                    self.busy.interrupt()
                with self.assertRaises(Interrupted) as caught:
                    made.result()
                self.assertEqual(caught.exception.status, Status.INTERRUPTED)
                self.assertEqual(self.busy.call("ok"), b"ok")

    def test_a_call_of_another_thread(self) -> None:
        raised = []

        def call() -> None:
            try:
                self.busy.call("loop")
            except Interrupted as error:
                raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        while thread.is_alive():
            self.busy.interrupt()
        thread.join()
        self.assertEqual(len(raised), 1)

    def test_the_sender_s_timeout(self) -> None:
        with self.assertRaises(Timeout):
            self.busy.call("loop", timeout=0.02, interrupts=True)
        self.assertEqual(self.busy.call("ok"), b"ok")
        made = self.busy.request("loop", interrupts=True)
        self.until_busy()
        self.assertTrue(made.cancel())
        with self.assertRaises(Cancelled):
            made.result()
        self.assertEqual(self.busy.call("ok"), b"ok")

    def test_an_unload_with_a_timeout(self) -> None:
        made = self.busy.request("loop")
        while self.busy.describe()["mailbox"]["depth"] != 0:
            pass
        with self.assertRaises(ShutdownFailed):
            self.busy.unload(timeout=0)
        with self.assertRaises(Interrupted):
            made.result()
        self.busy.unload(timeout=1)
        with self.assertRaises(ComponentNotFound):
            self.busy.interrupt()
        echo = self.engine.load("test/echo/0", guest("echo"))
        echo.unload(timeout=600)


class Signals(unittest.TestCase):
    def check(self, *lines: str) -> None:
        result = run_python(
            "import signal, threading",
            f"limits = {ENDLESS!r}",
            "engine = Engine()",
            "busy = engine.load('test/busy/0', TRAPPER, limits=limits)",
            *lines,
            "print('end')",
        )
        self.assertEqual((result.returncode, result.stdout), (0, "end\n"), result.stderr)

    def test_ctrl_c_ends_a_call(self) -> None:
        for command in ("loop", "sleep 3600000"):
            for call in (f"busy.call({command!r})", f"busy.call({command!r}, timeout=3000)"):
                with self.subTest(call):
                    self.check(
                        "signal.signal(signal.SIGINT, signal.default_int_handler)",
                        "timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))",
                        "timer.start()",
                        "try:",
                        f"    {call}",
                        "    print('it returned')",
                        "except KeyboardInterrupt:",
                        "    pass",
                        "assert busy.call('ok') == b'ok'",
                        "assert busy.describe()['messages']['failed'] == 1",
                    )

    def test_ctrl_c_ends_the_wait_for_a_new_version(self) -> None:
        by_call = {"share_percent": 100, "promote": "by-call"}
        for wait, before, after in (
            ("busy.replace(TRAPPER)", [], 2),
            ("busy.rollback()", ["busy.replace(TRAPPER)"], 1),
            ("busy.promote()", [f"busy.replace(TRAPPER, canary={by_call!r})"], 2),
            ("busy.abort()", [f"busy.replace(TRAPPER, canary={by_call!r})"], 1),
        ):
            with self.subTest(wait):
                self.check(
                    "signal.signal(signal.SIGINT, signal.default_int_handler)",
                    *before,
                    "made = busy.request('loop')",
                    "while busy.describe()['mailbox']['depth'] != 0:",
                    "    pass",
                    "timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))",
                    "timer.start()",
                    "try:",
                    f"    {wait}",
                    "    print('it returned')",
                    "except KeyboardInterrupt:",
                    "    pass",
                    "assert not made.done()",
                    # What was begun follows the message.
                    "busy.interrupt()",
                    "made.exception()",
                    "while True:",
                    "    status = busy.status()",
                    f"    if status['instances'][0]['version'] == {after} and not status['canary']:",
                    "        break",
                    "assert busy.call('ok') == b'ok'",
                )

    def test_ctrl_c_withdraws_a_waiting_message(self) -> None:
        self.check(
            "signal.signal(signal.SIGINT, signal.default_int_handler)",
            "made = busy.request('loop')",
            "timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))",
            "timer.start()",
            "try:",
            "    busy.call('ok')",
            "except KeyboardInterrupt:",
            "    pass",
            "assert not made.done()",
            "busy.interrupt()",
            "made.exception()",
        )

    def test_other_handlers_run_meanwhile(self) -> None:
        self.check(
            "came = threading.Event()",
            "signal.signal(signal.SIGALRM, lambda number, frame: came.set())",
            "def wait():",
            "    came.wait()",
            "    busy.interrupt()",
            "threading.Thread(target=wait).start()",
            "signal.setitimer(signal.ITIMER_REAL, 0.05)",
            "try:",
            "    busy.call('loop')",
            "except airssys_wasm.Interrupted:",
            "    pass",
        )

    def test_the_child_of_a_fork_has_a_main_thread_too(self) -> None:
        self.check(
            "def in_thread():",
            "    child = os.fork()",
            "    if child == 0:",
            "        signal.signal(signal.SIGALRM, signal.default_int_handler)",
            "        mine = Engine()",
            "        busy = mine.load('test/busy/0', TRAPPER, limits=limits)",
            "        signal.setitimer(signal.ITIMER_REAL, 0.1)",
            "        try:",
            "            busy.call('loop')",
            "        except KeyboardInterrupt:",
            "            os._exit(7)",
            "        os._exit(1)",
            "    codes.append(os.waitpid(child, 0)[1] >> 8)",
            "codes = []",
            "in_thread()",
            "assert codes == [7], codes",
        )


if __name__ == "__main__":
    unittest.main()
