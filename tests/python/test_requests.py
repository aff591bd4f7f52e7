"""Requests: exactly one outcome each, and no thread waits for it."""

import asyncio
import concurrent.futures
import gc
import json
import os
import threading
import unittest
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

from support import PATIENCE, RIGHTS, USER, EngineTest, Gate, Hooked, guest
from test_threads import run_python

from airssys_wasm import (
    Cancelled,
    ComponentError,
    ComponentNotFound,
    Engine,
    EngineClosed,
    EngineStopped,
    ExportNotFound,
    InvalidArgument,
    InvalidId,
    QueueFull,
    ResourceLimitExceeded,
    Timeout,
    Trap,
    WouldDeadlock,
    _registry,
)

THREADS = 8


class RequestTest(EngineTest):
    def setUp(self):
        # No test may leave anything behind.
        self.addCleanup(lambda: self.eventually(lambda: not _registry._expected))

    def check_outcome(self, made, error=None, reply=None):
        """Checks that every accessor reports the same single outcome."""
        calls = []
        self.assertEqual(concurrent.futures.wait([made], PATIENCE).done, {made})
        made.add_done_callback(calls.append)
        self.assertEqual(calls, [made])
        self.assertTrue(made.done())
        self.assertFalse(made.running())
        if error is None:
            self.assertEqual(made.result(0), reply)
            self.assertIsNone(made.exception(0))
            self.assertFalse(made.cancelled())
            self.assertFalse(made.cancel())
            return None
        with self.assertRaises(error) as caught:
            made.result(0)
        if error is not Cancelled:
            self.assertIs(made.exception(0), caught.exception)
            self.assertFalse(made.cancel())
        self.assertEqual(made.cancelled(), error is Cancelled)
        return caught.exception


class Outcomes(RequestTest):
    def test_a_reply(self):
        self.check_outcome(self.load("echo").request("hello"), reply=b"hello")

    def test_empty_and_no_reply_differ(self):
        probe = self.load("probe")
        self.check_outcome(probe.request("empty"), reply=b"")
        self.check_outcome(probe.request("silent"), reply=None)
        self.check_outcome(self.load("echo").request(b""), reply=b"")

    def test_all_kinds_of_payloads(self):
        echo = self.load("echo")
        for payload in (b"\0\xff", bytearray(b"ab"), memoryview(b"abcd")[::2], "größe"):
            with self.subTest(payload):
                expected = payload.encode() if isinstance(payload, str) else bytes(payload)
                self.check_outcome(echo.request(payload), reply=expected)
        with self.assertRaises(TypeError):
            echo.request(None)

    def test_a_payload_may_change_at_once(self):
        gate, user, _ = self.held_up()
        payload = bytearray(b"set k before")
        made = user.request(payload)
        payload[:] = b"set k after!"
        gate.open()
        self.check_outcome(made, reply=b"ok")
        self.assertEqual(gate.peek(USER, "k"), b"before")

    def test_errors_of_the_component(self):
        probe = self.load("probe")
        error = self.check_outcome(probe.request("fail runtime-error no such user"), ComponentError)
        self.assertIn("no such user", error.message)
        self.assertEqual(error.detail["origin"], "guest")
        error = self.check_outcome(probe.request("fail timeout x"), Timeout)
        self.assertEqual(error.detail["origin"], "guest")
        error = self.check_outcome(self.load("minimal").request("x"), ExportNotFound)
        self.assertIn("test/minimal/0", error.message)

    def test_traps_and_limits(self):
        trapper = self.load("trapper", limits={"max_fuel": 10_000_000})
        for command, kind in (("unreachable", Trap), ("loop", ResourceLimitExceeded)):
            with self.subTest(command):
                error = self.check_outcome(trapper.request(command), kind)
                self.assertEqual(error.detail["component"], "test/trapper/0")
                self.check_outcome(trapper.request("ok"), reply=b"ok")

    def test_time_limits(self):
        trapper = self.load("trapper", limits={"max_execution_time_ms": 50})
        error = self.check_outcome(trapper.request("sleep 3600000"), Timeout)
        self.assertEqual(error.detail["limit"], "max-execution-time-ms")

    def test_its_own_timeout(self):
        gate, user, busy = self.held_up()
        waiting = user.request("set k v", timeout=0.05)
        # It ends although nobody waits for it.
        error = self.check_outcome(waiting, Timeout)
        self.assertIs(error.detail["started"], False)
        self.assertFalse(busy.done())
        gate.open()
        self.check_outcome(busy, reply=b"ok")
        # Its message was never handled.
        self.assertIsNone(user.call("get k"))
        self.assertEqual(user.engine.stats()["requests"], {"outstanding": 0, "late-replies": 0})

    def test_waiting_is_not_the_request(self):
        gate, user, busy = self.held_up()
        with self.assertRaises(concurrent.futures.TimeoutError) as caught:
            busy.result(0.01)
        self.assertNotIsInstance(caught.exception, Timeout)
        self.assertFalse(busy.done())
        gate.open()
        self.check_outcome(busy, reply=b"ok")

    def test_cancelled(self):
        gate, user, busy = self.held_up()
        waiting = user.request("set k v")
        for made in (busy, waiting):
            told = []
            made.add_done_callback(told.append)
            self.assertTrue(made.cancel())
            self.assertTrue(made.cancel())
            error = self.check_outcome(made, Cancelled)
            self.assertEqual(error.detail, {"request": made.request_id})
            self.assertEqual(told, [made])
            with self.assertRaises(Cancelled):
                made.exception()
        gate.open()
        self.assertEqual(user.call("get k"), b"v")

    def test_cancelled_by_many(self):
        gate, user, _ = self.held_up()
        for _ in range(50):
            made = user.request("get k")
            told = []
            made.add_done_callback(told.append)
            start = threading.Barrier(THREADS)
            with ThreadPoolExecutor(THREADS) as pool:
                answers = list(pool.map(lambda _: start.wait() >= 0 and made.cancel(), range(8)))
            self.assertEqual(answers, [True] * THREADS)
            self.check_outcome(made, Cancelled)
            self.assertEqual(told, [made])

    def test_cancelled_while_it_ends(self):
        echo = self.load("echo")
        outcomes = set()
        for n in range(1000):
            told = []
            made = echo.request(b"x")
            made.add_done_callback(told.append)
            if n % 2:
                made.result(PATIENCE)
            cancelled = made.cancel()
            outcomes.add(cancelled)
            self.check_outcome(made, *((Cancelled,) if cancelled else (None, b"x")))
            self.assertEqual(self.eventually(lambda told=told: told), [made])
        self.assertIn(False, outcomes)

    def test_unloaded(self):
        gate, user, busy = self.held_up()
        waiting = [user.request("get k") for _ in range(3)]
        with ThreadPoolExecutor(1) as pool:
            unloading = pool.submit(user.unload)
            for made in waiting:
                error = self.check_outcome(made, ComponentNotFound)
                self.assertIn(USER, error.message)
            gate.open()
            unloading.result(PATIENCE)
        # The running message ends normally.
        self.check_outcome(busy, reply=b"ok")

    def test_the_engine_is_closed(self):
        gate, user, busy = self.held_up()
        waiting = [user.request("get k", timeout=n or None) for n in range(3)]
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(user.engine.close)
            for made in waiting:
                self.check_outcome(made, EngineStopped)
            self.eventually(lambda: user.engine.closed)
            gate.open()
            closing.result(PATIENCE)
        self.check_outcome(busy, EngineStopped)
        self.assertFalse(_registry._expected)
        with self.assertRaises(EngineClosed):
            user.request("get k")
        self.assertFalse(busy.cancel())

    def test_the_engine_shuts_down(self):
        gate, user, busy = self.held_up()
        waiting = [user.request(f"incr {n % 2}") for n in range(10)]
        with ThreadPoolExecutor(1) as pool:
            ending = pool.submit(user.engine.shutdown, None)
            gate.open()
            ending.result(PATIENCE)
        # All accepted requests are handled and answered.
        for n, made in enumerate(waiting):
            self.check_outcome(made, reply=str(n // 2 + 1).encode())
        self.check_outcome(busy, reply=b"ok")
        with self.assertRaises(EngineStopped):
            user.request("get k")

    def test_refused_at_once(self):
        gate, user, _ = self.held_up(mailbox={"capacity": 1})
        user.send("get k")
        with self.assertRaises(QueueFull):
            user.request("get k")
        for timeout in (0, -1, float("nan")):
            with self.assertRaises(InvalidArgument):
                user.request("get k", timeout=timeout)
        with self.assertRaises(InvalidId):
            user.request("get k", sender="nobody")
        with user.engine.load("test/gone/0", guest("echo")) as gone:
            pass
        with self.assertRaises(ComponentNotFound):
            gone.request("x")
        # Only the request that blocks the component.
        self.assertEqual(len(_registry._expected), 1)
        self.assertEqual(user.engine.stats()["requests"]["outstanding"], 1)


class What(RequestTest):
    def test_what_the_component_sees(self):
        probe = self.engine(name="tests").load("test/probe/0", guest("probe"))
        made = probe.request("message")
        seen = json.loads(made.result(PATIENCE))
        self.assertEqual(seen["sender"], "host/tests/0")
        self.assertEqual(int(seen["correlation-id"], 16), made.request_id)
        made = probe.request("message", sender="a/b/c", content_type="text/plain", timeout=PATIENCE)
        seen = json.loads(made.result(PATIENCE))
        self.assertEqual((seen["sender"], seen["content-type"]), ("a/b/c", "text/plain"))

    def test_ids(self):
        echo = self.load("echo")
        all_made = [echo.request("x") for _ in range(100)]
        concurrent.futures.wait(all_made, PATIENCE)
        ids = {made.request_id for made in all_made}
        self.assertEqual(len(ids), 100)
        self.assertNotIn(0, ids)

    def test_the_id_is_known_in_callbacks(self):
        echo = self.load("echo")
        for _ in range(200):
            seen = []
            made = echo.request("x")
            made.add_done_callback(lambda made, seen=seen: seen.append(made.request_id))
            self.assertEqual(self.eventually(lambda seen=seen: seen), [made.request_id])

    def test_order(self):
        requester = self.load("requester")
        for n in range(200):
            requester.request(f"note {n}")
        notes = json.loads(requester.call("received"))
        self.assertEqual(notes, [str(n) for n in range(200)])

    def test_the_tools_of_concurrent_futures(self):
        echo = self.load("echo")
        all_made = {echo.request(str(n)): n for n in range(100)}
        for made in concurrent.futures.as_completed(all_made, PATIENCE):
            self.assertEqual(made.result(), str(all_made[made]).encode())
        gate, user, busy = self.held_up()
        waiting = user.request("get k")
        waiting.cancel()
        done, pending = concurrent.futures.wait(
            [busy, waiting], PATIENCE, concurrent.futures.FIRST_COMPLETED
        )
        self.assertEqual((done, pending), ({waiting}, {busy}))
        gate.open()


class Threads(RequestTest):
    def test_many(self):
        echo = self.load("echo")

        def work(thread):
            made = [(echo.request(f"{thread}:{n}"), f"{thread}:{n}".encode()) for n in range(100)]
            for one, expected in made:
                self.assertEqual(one.result(PATIENCE), expected)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))

    def test_one_outcome_for_each_when_all_happens_at_once(self):
        # Replies, cancellations, timeouts, unloads and the end of the engine, concurrently.
        for _ in range(5):
            engine = Engine()
            told = []
            made = []
            start = threading.Barrier(THREADS + 1)

            def work(thread, engine=engine, told=told, made=made, start=start):
                start.wait(PATIENCE)
                try:
                    while True:
                        with engine.load(f"test/echo/{thread}", guest("echo")) as echo:
                            for n in range(50):
                                one = echo.request("x", timeout=0.001 if n % 3 else None)
                                made.append(one)
                                one.add_done_callback(told.append)
                                if n % 5 == 0:
                                    one.cancel()
                except EngineStopped:
                    pass

            with ThreadPoolExecutor(THREADS) as pool:
                workers = [pool.submit(work, n) for n in range(THREADS)]
                start.wait(PATIENCE)
                self.eventually(lambda made=made: len(made) > 500)
                engine.close()
                for worker in workers:
                    worker.result(PATIENCE)
            concurrent.futures.wait(made, PATIENCE)
            self.assertEqual(len(told), len(made))
            self.assertEqual(set(told), set(made))


class Callbacks(RequestTest):
    def test_a_request_from_a_log_callback(self):
        made = []

        def calling(entry):
            if entry.component == "test/chatty/0":
                made.append(echo.request(entry.message))
                # Also to its own component, because nobody waits here.
                made.append(chatty.request("millis"))

        engine = self.engine(logger=calling)
        echo = engine.load("test/echo/0", guest("echo"))
        chatty = engine.load("test/chatty/0", guest("chatty"))
        self.assertEqual(chatty.request("log info hello").result(PATIENCE), b"ok")
        self.check_outcome(made[0], reply=b"hello")
        self.assertTrue(made[1].result(PATIENCE).isdigit())

    def test_a_request_from_a_storage_callback_that_waits_for_it(self):
        replies = []

        def hook(operation, namespace, key):
            replies.append(echo.request(key).result(PATIENCE))

        # The only worker is busy.
        engine = self.engine(storage=Hooked(hook), workers=1)
        echo = engine.load("test/echo/0", guest("echo"))
        user = engine.load(USER, guest("storage-user"), limits=Gate.LIMITS)
        self.assertEqual(user.request("set k v").result(PATIENCE), b"ok")
        self.assertEqual(replies, [b"k"])

    def test_a_chain_of_requests(self):
        counter = self.load("counter")
        replies = []
        done = threading.Event()

        def next_one(made):
            replies.append(made.result())
            if len(replies) < 100:
                counter.request("inc").add_done_callback(next_one)
            else:
                done.set()

        counter.request("inc").add_done_callback(next_one)
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(replies, [str(n + 1).encode() for n in range(100)])

    def test_callbacks_that_wait_for_each_other(self):
        echo = self.load("echo")
        meeting = threading.Barrier(10)
        met = []
        for n in range(10):
            made = echo.request(str(n))
            made.add_done_callback(lambda made: met.append(meeting.wait(PATIENCE)))
        self.eventually(lambda: len(met) == 10)

    def test_a_callback_uses_the_engine(self):
        gate, user, busy = self.held_up()
        seen = []

        def use(made):
            seen.append(user.call("get gate"))
            for end in (user.engine.close, user.engine.shutdown):
                with self.assertRaises(WouldDeadlock):
                    end()
            user.unload()
            seen.append(user.engine.components())

        busy.add_done_callback(use)
        gate.open()
        self.assertEqual(self.eventually(lambda: len(seen) == 2 and seen), [b"v", []])

    def test_a_callback_that_raises(self):
        gate, user, busy = self.held_up()
        told = []
        busy.add_done_callback(lambda made: 1 / 0)
        busy.add_done_callback(told.append)
        with self.assertLogs("concurrent.futures", "ERROR"):
            gate.open()
            self.eventually(lambda: told)
        self.assertEqual(told, [busy])


class Asyncio(RequestTest):
    def run_async(self, main):
        return asyncio.run(asyncio.wait_for(main(), PATIENCE))

    def test_await(self):
        echo = self.load("echo")

        async def main():
            self.assertEqual(await echo.request("one"), b"one")
            self.assertEqual(await asyncio.wrap_future(echo.request("two")), b"two")
            replies = await asyncio.gather(*(echo.request(str(n)) for n in range(100)))
            self.assertEqual(replies, [str(n).encode() for n in range(100)])

        self.run_async(main)

    def test_errors(self):
        trapper = self.load("trapper")

        async def main():
            with self.assertRaises(Trap):
                await trapper.request("unreachable")
            self.assertEqual(await trapper.request("ok"), b"ok")

        self.run_async(main)

    def test_a_cancelled_task_cancels_its_request(self):
        gate, user, busy = self.held_up()

        async def main():
            task = asyncio.ensure_future(asyncio.wrap_future(busy))
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(waiting), 0.01)

        waiting = user.request("get k")
        self.run_async(main)
        self.check_outcome(busy, Cancelled)
        self.check_outcome(waiting, Cancelled)

    def test_a_cancelled_request_cancels_its_task(self):
        gate, user, busy = self.held_up()

        async def main():
            asyncio.get_running_loop().call_soon(busy.cancel)
            with self.assertRaises(asyncio.CancelledError):
                await busy

        self.run_async(main)

    def test_the_loop_ends_first(self):
        gate, user, busy = self.held_up()

        async def main():
            asyncio.wrap_future(busy)

        self.run_async(main)
        gate.open()
        self.check_outcome(busy, reply=b"ok")


class Lifetime(RequestTest):
    def test_the_collector_does_not_take_an_open_request(self):
        gate, user, busy = self.held_up()
        told = []
        waiting = user.request("get gate")
        waiting.add_done_callback(lambda made: told.append(made.result()))
        references = [weakref.ref(busy), weakref.ref(waiting)]
        del busy, waiting
        for _ in range(3):
            gc.collect()
        self.assertTrue(all(reference() for reference in references))
        gate.open()
        self.assertEqual(self.eventually(lambda: told), [b"v"])
        self.eventually(lambda: gc.collect() >= 0 and not any(ref() for ref in references))

    def test_an_open_request_keeps_its_engine(self):
        gate = Gate()
        engine = Engine(storage=gate, capabilities=RIGHTS)
        user = engine.load(USER, guest("storage-user"), limits=Gate.LIMITS)
        made = user.request("get gate")
        gate.wait_for_arrival()
        reference = weakref.ref(engine)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del engine, user
            gc.collect()
            self.assertIsNotNone(reference())
            gate.open()
            self.check_outcome(made, reply=None)
            self.eventually(lambda: caught)
        self.assertEqual([warning.category for warning in caught], [ResourceWarning])
        # A warning references its source.
        caught.clear()
        self.eventually(lambda: gc.collect() >= 0 and reference() is None)

    def test_a_request_with_its_outcome_keeps_nothing(self):
        engine = Engine()
        made = engine.load("test/echo/0", guest("echo")).request("x")
        self.assertEqual(made.result(PATIENCE), b"x")
        engine.close()
        reference = weakref.ref(engine)
        del engine
        gc.collect()
        self.assertIsNone(reference())
        self.assertEqual(made.result(0), b"x")

    def test_the_end_of_the_interpreter(self):
        result = run_python(
            "engine = Engine()",
            "chatty = engine.load('test/chatty/0', CHATTY)",
            "for _ in range(100):",
            "    chatty.request('sleep 1')",
            "last = chatty.request('sleep 4000')",
            "last.add_done_callback(lambda made: print(type(made.exception()).__name__))",
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout, "EngineStopped\n")

    @unittest.skipUnless(hasattr(os, "kill") and os.name == "posix", "no signals here")
    def test_an_interrupt_while_the_engine_is_closed(self):
        # Outcomes arrive on the closing thread, and Ctrl-C can interrupt that thread before it takes them.
        result = run_python(
            "import signal, threading, time",
            "class Interrupt(BaseException): pass",
            "def handler(number, frame):",
            "    if frame.f_code.co_name == 'completed':",
            "        raise Interrupt",
            "signal.signal(signal.SIGINT, handler)",
            "def interrupt():",
            "    while not over.is_set():",
            "        os.kill(os.getpid(), signal.SIGINT)",
            "        time.sleep(0.0001)",
            "over = threading.Event()",
            "thread = threading.Thread(target=interrupt, daemon=True)",
            "thread.start()",
            "for _ in range(20):",
            "    engine = Engine()",
            "    chatty = engine.load('test/chatty/0', CHATTY)",
            "    made = [chatty.request('sleep 4000') for _ in range(300)]",
            "    try:",
            "        engine.close()",
            "    except Interrupt:",
            "        pass",
            "    for one in made:",
            "        assert isinstance(one.exception(0), airssys_wasm.EngineStopped)",
            "over.set()",
            "thread.join()",
            "print('end')",
        )
        self.assertEqual((result.returncode, result.stdout), (0, "end\n"), result.stderr)

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_process(self):
        result = run_python(
            "engine = Engine()",
            "chatty = engine.load('test/chatty/0', CHATTY)",
            "made = chatty.request('sleep 100')",
            "called = []",
            "made.add_done_callback(called.append)",
            "child = os.fork()",
            "if child == 0:",
            "    for use in (made.result, lambda: chatty.request('millis')):",
            "        try:",
            "            use()",
            "        except airssys_wasm.Forked:",
            "            print('forked', flush=True)",
            "    assert made.done() and not made.cancel() and not called",
            "    os._exit(0)",
            "os.waitpid(child, 0)",
            "print(made.result(60))",
            "engine.close()",
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout, "forked\nforked\nb'ok'\n")

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_children_of_a_process_that_is_busy(self):
        result = run_python(
            "import concurrent.futures, threading, time",
            "engine = Engine()",
            "echo = engine.load('test/echo/0', ECHO, mailbox={'capacity': 100000})",
            "def end_of(child):",
            "    deadline = time.monotonic() + 12",
            "    while time.monotonic() < deadline:",
            "        ended, status = os.waitpid(child, os.WNOHANG)",
            "        if ended:",
            "            os.read(born[0], 1)",
            "            return os.waitstatus_to_exitcode(status)",
            "        time.sleep(0.001)",
            "    os.kill(child, 9)",
            "    os.waitpid(child, 0)",
            "    os.set_blocking(born[0], False)",
            "    try:",
            "        return 'hung' if os.read(born[0], 1) else None",
            "    except BlockingIOError:",
            # CPython before 3.12 may hang inside fork() while another thread begins or ends a
            # callback: it waits for a lock that no thread of the child holds. Nothing of the package
            # has run in that child.
            "        return 0 if sys.version_info < (3, 12) else 'hung in fork'",
            "    finally:",
            "        os.set_blocking(born[0], True)",
            "over = threading.Event()",
            "made = [echo.request('x')]",
            "def go_on():",
            "    while not over.is_set():",
            "        made[0] = echo.request('x')",
            "        made[0].done()",
            "threads = [threading.Thread(target=go_on) for _ in range(2)]",
            "for thread in threads:",
            "    thread.start()",
            "for _ in range(40):",
            "    open_ = [echo.request('x') for _ in range(20)]",
            "    child = os.fork()",
            "    if child == 0:",
            "        ended = concurrent.futures.wait(open_, 10)",
            "        os._exit(0 if not ended.not_done else 1)",
            "    assert end_of(child) == 0",
            "    assert [one.result(60) for one in open_] == [b'x'] * 20",
            "over.set()",
            "for thread in threads:",
            "    thread.join()",
            "engine.close()",
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
