"""Many threads, and closing engines in use."""

import gc
import os
import tempfile
import threading
import time
import unittest
import weakref
from concurrent.futures import ThreadPoolExecutor

from support import PATIENCE, RIGHTS, EngineTest, Gate, Hooked, guest, run_python

from airssys_wasm import (
    DictStorage,
    Engine,
    EngineClosed,
    EngineStopped,
    InvalidArgument,
    Timeout,
    WouldDeadlock,
)

THREADS = 8


class ManyThreads(EngineTest):
    def test_one_component(self):
        echo = self.load("echo")

        def work(thread):
            for n in range(300):
                payload = f"{thread}:{n}".encode() * (1 + n % 50)
                self.assertEqual(echo.call(payload), payload)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))

    def test_nothing_is_lost(self):
        counter = self.load("counter")
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: counter.call("inc"), range(1000)))
        self.assertEqual(counter.call("get"), b"1000")

    def test_many_components_with_storage_and_logging(self):
        storage = DictStorage()
        entries = []
        engine = self.engine(storage=storage, logger=entries.append)

        def work(thread):
            user = engine.load(f"test/user/{thread}", guest("storage-user"))
            with engine.load(f"test/chatty/{thread}", guest("chatty")) as chatty:
                for n in range(100):
                    self.assertEqual(user.call("incr n"), str(n + 1).encode())
                    self.assertEqual(chatty.call(f"log info {thread}:{n}"), b"ok")

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        for thread in range(THREADS):
            self.assertEqual(storage.get(f"test/user/{thread}", "n"), b"100")
            found = [e.message for e in entries if e.component == f"test/chatty/{thread}"]
            self.assertEqual(found, [f"{thread}:{n}" for n in range(100)])

    def test_other_threads_run_during_a_call(self):
        inside, answer = threading.Event(), threading.Event()

        def hook(operation, namespace, key):
            inside.set()
            self.assertTrue(answer.wait(PATIENCE))

        user = self.engine(storage=Hooked(hook)).load("test/user/0", guest("storage-user"))
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(user.call, "set k v")
            self.assertTrue(inside.wait(PATIENCE))
            answer.set()
            self.assertEqual(reply.result(PATIENCE), b"ok")


class Closing(EngineTest):
    def test_everything_raises_after_close(self):
        engine = Engine()
        echo = engine.load("test/echo/0", guest("echo"))
        self.assertFalse(engine.closed)
        engine.close()
        engine.close()
        self.assertTrue(engine.closed)
        self.assertIn("closed", repr(engine))
        for use in (
            lambda: echo.call(b"x"),
            lambda: echo.send(b"x"),
            echo.describe,
            echo.health,
            lambda: engine.load("test/echo/1", guest("echo")),
            lambda: engine.find("test/echo/0"),
            echo.status,
            echo.stop,
            echo.start,
            echo.restart,
            echo.replace,
            lambda: echo.replace(guest("echo")),
            echo.rollback,
            engine.components,
            engine.health,
            engine.status,
            engine.stop_all,
            engine.start_all,
            engine.restart_all,
            engine.stats,
            engine.shutdown,
            engine.__enter__,
        ):
            with self.assertRaises(EngineClosed) as caught:
                use()
            self.assertIn("closed", caught.exception.message)
        # There is nothing left to unload, so this raises nothing.
        echo.unload()

    def test_shutdown_then_close(self):
        engine = self.engine()
        echo = engine.load("test/echo/0", guest("echo"))
        engine.shutdown(timeout=PATIENCE)
        engine.shutdown(timeout=None)
        with self.assertRaises(EngineStopped):
            echo.call(b"x")
        with self.assertRaises(EngineStopped):
            engine.load("test/echo/1", guest("echo"))

    def test_a_block_ends_when_all_mail_is_handled(self):
        storage = DictStorage()
        with Engine(storage=storage, capabilities=RIGHTS) as engine:
            user = engine.load("test/user/0", guest("storage-user"))
            for _ in range(100):
                user.send("incr n")
        self.assertTrue(engine.closed)
        self.assertEqual(storage.get("test/user/0", "n"), b"100")

    def test_a_block_that_fails_ends_at_once(self):
        with self.assertRaises(ZeroDivisionError):
            with Engine() as engine:
                trapper = engine.load(
                    "test/trapper/0",
                    guest("trapper"),
                    limits={"max_execution_time_ms": 3_600_000},
                )
                trapper.send("sleep 3600000")
                1 / 0
        self.assertTrue(engine.closed)

    def test_a_block_may_close_itself(self):
        with Engine() as engine:
            engine.close()
        with Engine() as engine:
            engine.shutdown()

    def test_close_waits_for_a_callback_under_way(self):
        inside, answer = threading.Event(), threading.Event()
        late = []

        def hook(operation, namespace, key):
            inside.set()
            self.assertTrue(answer.wait(PATIENCE))
            try:
                engine.stats()
            except EngineClosed as error:
                late.append(error)

        storage = Hooked(hook)
        engine = self.engine(storage=storage)
        user = engine.load("test/user/0", guest("storage-user"))
        with ThreadPoolExecutor(3) as pool:
            reply = pool.submit(user.call, "set k v")
            self.assertTrue(inside.wait(PATIENCE))
            closings = [pool.submit(engine.close) for _ in range(2)]
            self.eventually(lambda: engine.closed)
            self.assertFalse(any(closing.done() for closing in closings))
            answer.set()
            with self.assertRaises(EngineStopped):
                reply.result(PATIENCE)
            for closing in closings:
                closing.result(PATIENCE)
        self.assertEqual(storage.peek("test/user/0", "k"), b"v")
        self.assertEqual(len(late), 1)

    def test_close_ends_a_call_under_way(self):
        for command in ("loop", "loop-log", "sleep 3600000"):
            engine = self.engine(logger=lambda entry: None)
            limits = {"max_execution_time_ms": 3_600_000}
            trapper = engine.load("test/trapper/0", guest("trapper"), limits=limits)
            with self.subTest(command), ThreadPoolExecutor(1) as pool:
                reply = pool.submit(trapper.call, command)
                self.eventually(lambda: trapper.describe()["messages"]["accepted"])
                engine.close()
                with self.assertRaises(EngineStopped):
                    reply.result(PATIENCE)

    def test_close_with_a_timeout_leaves_a_callback_behind(self):
        for begin in (lambda user: user.send("set gate v"), lambda user: user.request("set gate v")):
            gate, gone = Gate(), threading.Event()
            weakref.finalize(gate, gone.set)
            engine = self.engine(storage=gate)
            user = engine.load("test/user/0", guest("storage-user"), limits=Gate.LIMITS)
            begin(user)
            gate.wait_for_arrival()
            with self.assertRaises(Timeout):
                engine.close(timeout=0.01)
            self.assertTrue(engine.closed)
            with self.assertRaises(EngineClosed):
                user.call("get k")
            gate.open()
            engine.close()
            del gate, engine, user
            gc.collect()
            self.assertTrue(gone.wait(PATIENCE))

    def test_close_with_a_timeout_and_a_call_in_a_callback(self):
        gate = Gate()
        engine = self.engine(storage=gate)
        user = engine.load("test/user/0", guest("storage-user"), limits=Gate.LIMITS)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(user.call, "set gate v")
            gate.wait_for_arrival()
            with self.assertRaises(Timeout):
                engine.close(timeout=0.01)
            gate.open()
            with self.assertRaises(EngineStopped):
                reply.result(PATIENCE)
        engine.close(timeout=PATIENCE)

    def test_close_with_a_timeout_and_nothing_under_way(self):
        engine = self.engine(storage=DictStorage())
        engine.load("test/user/0", guest("storage-user")).call("set k v")
        engine.close(timeout=PATIENCE)
        engine.close(timeout=PATIENCE)
        for timeout in (0, -1, float("nan")):
            with self.assertRaises(InvalidArgument):
                engine.close(timeout=timeout)

    def test_close_in_what_a_call_waits_for(self):
        # A call of one engine waits for a callback of the other, which waits for that call.
        caught = []

        def outer(operation, namespace, key):
            inner.call("set k v")

        def hook(operation, namespace, key):
            def close():
                with self.assertRaises(WouldDeadlock) as caught_here:
                    one.close()
                caught.append(caught_here.exception)

            close()

        one, other = self.engine(storage=Hooked(outer)), self.engine(storage=Hooked(hook))
        user = one.load("test/user/0", guest("storage-user"))
        inner = other.load("test/user/0", guest("storage-user"))
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(len(caught), 1)
        self.assertFalse(one.closed)
        self.assertEqual(user.call("get k"), b"v")

    def test_close_while_many_threads_call(self):
        for _ in range(10):
            engine = Engine(storage=DictStorage(), capabilities=RIGHTS)
            user = engine.load("test/user/0", guest("storage-user"))
            running = threading.Barrier(THREADS + 1)

            def work(number):
                user.call("incr n")
                running.wait(PATIENCE)
                with self.assertRaises(EngineStopped):
                    while True:
                        user.call("incr n")
                        user.send("incr n")

            with ThreadPoolExecutor(THREADS) as pool:
                workers = [pool.submit(work, n) for n in range(THREADS)]
                running.wait(PATIENCE)
                engine.close()
                for worker in workers:
                    worker.result(PATIENCE)

    def test_mail_that_is_under_way_in_workers(self):
        # The workers call into Python while the engine is being freed.
        for _ in range(10):
            storage = DictStorage()
            engine = Engine(storage=storage, capabilities=RIGHTS)
            users = [engine.load(f"test/user/{n}", guest("storage-user")) for n in range(4)]
            for _ in range(50):
                for user in users:
                    user.send("incr n")
            engine.close()
            reference = weakref.ref(storage)
            del storage
            gc.collect()
            self.assertIsNone(reference())

    def test_close_during_a_workers_callback_says_nothing(self):
        # The guest continues after its callback in an engine that is being freed: no panic on
        # stderr, and close returns.
        with tempfile.TemporaryDirectory() as cache:
            result = run_python(
                "import threading, time",
                "class Storage(airssys_wasm.DictStorage):",
                "    def set(self, *arguments):",
                "        inside.set()",
                "        while not engine.closed:",
                "            time.sleep(0.001)",
                "        # Long enough for the library to be in the middle of it.",
                "        time.sleep(0.02)",
                "        super().set(*arguments)",
                "for n in range(10):",
                "    inside = threading.Event()",
                f"    engine = Engine(storage=Storage(), cache_dir={cache!r})",
                "    user = engine.load(f'test/user/{n}', USER)",
                "    user.send('set k v')",
                "    user.send('set k v')",
                "    inside.wait()",
                "    engine.close()",
            )
        self.assertEqual((result.returncode, result.stderr), (0, ""))


@unittest.skipUnless(hasattr(os, "kill") and os.name == "posix", "no signals here")
class Interrupts(unittest.TestCase):
    def test_an_interrupted_callback_is_not_a_success(self):
        # Python raises at the start of a function, outside of any `try` in it, what a signal
        # handler raises. A callback that never ran must not count as one that answered.
        result = run_python(
            "import signal, threading, time",
            "class Interrupt(BaseException): pass",
            "def handler(number, frame):",
            "    if frame.f_code.co_filename.endswith('_callbacks.py'):",
            "        raise Interrupt",
            "signal.signal(signal.SIGINT, handler)",
            "def interrupt():",
            "    for _ in range(2000):",
            "        os.kill(os.getpid(), signal.SIGINT)",
            "        time.sleep(0.0003)",
            "storage = airssys_wasm.DictStorage()",
            "engine = Engine(storage=storage)",
            "user = engine.load('test/user/0', USER)",
            "thread = threading.Thread(target=interrupt, daemon=True)",
            "thread.start()",
            "last = 0",
            "while thread.is_alive():",
            "    try:",
            "        reply = user.call('incr n')",
            "    except Interrupt:",
            "        continue",
            "    if reply.isdigit():",
            "        assert int(reply) > last, (reply, last)",
            "        last = int(reply)",
            "        stored = storage.get('test/user/0', 'n')",
            "        assert stored == reply, (stored, reply)",
            "    else:",
            "        assert b'io-error' in reply, reply",
            "print('end')",
        )
        self.assertEqual((result.returncode, result.stdout), (0, "end\n"), result.stderr)

    def test_an_interrupt_at_the_end_of_a_callback_does_not_keep_the_thread_in_it(self):
        # A thread marked as being in a callback could not close its engine any more.
        result = run_python(
            "from airssys_wasm import _callbacks",
            "engine = Engine(storage=airssys_wasm.DictStorage())",
            "user = engine.load('test/user/0', USER)",
            "leave, hits = _callbacks.leave, []",
            "def interrupted(outer):",
            "    # As a signal between the call and the first line.",
            "    if not hits:",
            "        hits.append(outer)",
            "        raise KeyboardInterrupt",
            "    leave(outer)",
            "_callbacks.leave = interrupted",
            "try:",
            "    user.call('incr n')",
            "except KeyboardInterrupt:",
            "    print('interrupted')",
            "engine.close()",
            "print('end')",
        )
        expected = (0, "interrupted\nend\n")
        self.assertEqual((result.returncode, result.stdout), expected, result.stderr)

    def test_no_interrupt_is_lost(self):
        # Most interrupts arrive while the guest runs and surface at the start of its next callback.
        result = run_python(
            "import signal, threading, time",
            "signal.signal(signal.SIGINT, signal.default_int_handler)",
            "storage = airssys_wasm.DictStorage()",
            "logger = lambda entry: None",
            "engine = Engine(storage=storage, logger=logger)",
            "user = engine.load('test/user/0', USER)",
            "chatty = engine.load('test/chatty/0', CHATTY)",
            "for n in range(100):",
            "    timer = threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGINT))",
            "    try:",
            "        timer.start()",
            f"        end = time.monotonic() + {PATIENCE / 2}",
            "        while time.monotonic() < end:",
            "            user.call('incr n')",
            "            chatty.call('flood 5')",
            "        sys.exit(f'interrupt {n} was lost')",
            "    except KeyboardInterrupt:",
            "        timer.join()",
            "    assert storage.get('test/user/0', 'n') == user.call('get n')",
            "print('end')",
        )
        self.assertEqual((result.returncode, result.stdout), (0, "end\n"), result.stderr)
        self.assertEqual(result.stderr, "")

    def test_many_interrupts_of_one_call_end_that_call_only(self):
        result = run_python(
            "records = []",
            "def interrupted(entry):",
            "    records.append(entry)",
            "    raise KeyboardInterrupt(len(records))",
            "engine = Engine(logger=interrupted)",
            "chatty = engine.load('test/chatty/0', CHATTY)",
            "try:",
            "    chatty.call('flood 5')",
            "except KeyboardInterrupt as error:",
            "    print(len(records), error)",
            "engine.load('test/echo/0', ECHO).call(b'x')",
            "engine.close()",
            "print('end')",
        )
        expected = (0, "5 5\nend\n")
        self.assertEqual((result.returncode, result.stdout), expected, result.stderr)

    def test_other_unraisable_exceptions_keep_their_hook(self):
        result = run_python(
            "class Broken:",
            "    def __del__(self):",
            "        raise KeyboardInterrupt('not of a callback')",
            "Broken()",
            "engine = Engine()",
            "engine.load('test/echo/0', ECHO).call(b'x')",
            "engine.close()",
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("not of a callback", result.stderr)


@unittest.skipUnless(hasattr(os, "fork"), "no fork here")
class Forking(unittest.TestCase):
    def test_the_child_is_refused_and_the_parent_is_not_harmed(self):
        result = run_python(
            "engine = Engine()",
            "echo = engine.load('test/echo/0', ECHO)",
            "echo.call(b'x')",
            "child = os.fork()",
            "if child == 0:",
            "    try:",
            "        echo.call(b'x')",
            "    except airssys_wasm.Forked:",
            "        engine.close()",
            "        with Engine() as new:",
            "            reply = new.load('test/echo/0', ECHO).call(b'x')",
            "        # As a whole interpreter ends, not with os._exit.",
            "        sys.exit(0 if reply == b'x' else 4)",
            "    sys.exit(5)",
            "_, status = os.waitpid(child, 0)",
            "print(os.WEXITSTATUS(status), os.WIFEXITED(status))",
            "assert echo.call(b'y') == b'y'",
            "engine.close()",
        )
        self.assertEqual((result.returncode, result.stdout), (0, "0 True\n"), result.stderr)


if __name__ == "__main__":
    unittest.main()
