"""Programs that end without closing their engines."""

import os
import unittest

from support import PATIENCE, run_python

#: An engine with a component whose storage the test defines, and one that computes.
BUSY = (
    "import threading, time",
    "LIMITS = {'max_execution_time_ms': 3_600_000}",
    "inside = threading.Event()",
    "class Held(airssys_wasm.DictStorage):",
    "    'Never comes back, and takes the GIL all the time.'",
    "    def set(self, *arguments):",
    "        inside.set()",
    "        while True:",
    "            time.sleep(0.001)",
    "def start(storage, **options):",
    "    engine = Engine(storage=storage, **options)",
    "    return engine.load('test/user/0', USER, limits=LIMITS)",
    "def thread(call, *arguments):",
    "    threading.Thread(target=call, args=arguments, daemon=True).start()",
)


class ProgramEnd(unittest.TestCase):
    """Each program ends with its own exit code and prints nothing else."""

    def ends(self, *lines, code=0, out="", err=""):
        result = run_python(*BUSY, *lines)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (code, out, err))

    def test_an_idle_engine(self):
        self.ends("user = start(airssys_wasm.DictStorage())", "user.call('set k v')")

    def test_mail_that_waits(self):
        self.ends(
            "users = [start(airssys_wasm.DictStorage()) for _ in range(3)]",
            "for user in users:",
            "    user.call('set k v')",
            "    for _ in range(100):",
            "        user.send('incr n')",
            "    user.send('nonsense')",
            "print('end')",
            out="end\n",
        )

    def test_a_callback_of_a_worker_that_does_not_end(self):
        self.ends(
            "user = start(Held())",
            "user.send('set k v')",
            "inside.wait()",
            "sys.exit(7)",
            code=7,
        )

    def test_a_callback_of_a_daemon_thread_that_does_not_end(self):
        self.ends(
            "thread(start(Held()).call, 'set k v')",
            "inside.wait()",
            "sys.exit(7)",
            code=7,
        )

    def test_callbacks_of_every_kind_that_do_not_end(self):
        self.ends(
            "def held(*arguments):",
            "    arrived.release()",
            "    while True:",
            "        time.sleep(0.001)",
            "arrived = threading.Semaphore(0)",
            "class Router:",
            "    route = held",
            "engine = Engine(logger=held, events=held, audit=held, audit_sample=1, router=Router())",
            "chatty = engine.load('test/chatty/0', CHATTY)",
            "chatty.send('log info x')",
            "requester = engine.load('test/requester/0', REQUESTER)",
            "requester.send('send no/where/0 x')",
            "trapper = engine.load('test/trapper/0', TRAPPER, limits=LIMITS)",
            "trapper.request('sleep 3600000').add_done_callback(held)",
            "for _ in range(3):",
            "    arrived.acquire()",
            "sys.exit(7)",
            code=7,
        )

    def test_guests_that_compute(self):
        self.ends(
            "engine = Engine(workers=1)",
            "trappers = [engine.load(f'test/trapper/{n}', TRAPPER, limits=LIMITS) for n in range(3)]",
            "thread(trappers[0].call, 'loop')",
            "thread(trappers[1].call, 'sleep 3600000')",
            "trappers[2].send('loop')",
            "def accepted(trapper):",
            "    return trapper.describe()['messages']['accepted']",
            "while not all(accepted(trapper) for trapper in trappers):",
            "    time.sleep(0.001)",
            "sys.exit(7)",
            code=7,
        )

    def test_several_engines_end_in_the_time_of_one(self):
        self.ends(
            "class Counted(Held):",
            "    def set(self, *arguments):",
            "        arrived.release()",
            "        super().set(*arguments)",
            "arrived = threading.Semaphore(0)",
            "users = [start(Counted()) for _ in range(20)]",
            "for user in users:",
            "    user.send('set k v')",
            "for _ in users:",
            "    arrived.acquire()",
            "print('end')",
            out="end\n",
        )

    def test_daemon_threads_that_go_on_calling(self):
        self.ends(
            "class Seen(airssys_wasm.DictStorage):",
            "    def set(self, *arguments):",
            "        inside.set()",
            "        super().set(*arguments)",
            "user = start(Seen())",
            "def work():",
            "    while True:",
            "        user.call('incr n')",
            "        user.request('incr n')",
            "for _ in range(4):",
            "    thread(work)",
            "inside.wait()",
            "print('end')",
            out="end\n",
        )

    def test_requests_whose_callbacks_are_slow(self):
        self.ends(
            "def slow(request):",
            "    inside.set()",
            "    time.sleep(0.05)",
            "user = start(airssys_wasm.DictStorage())",
            "for _ in range(500):",
            "    user.request('get k').add_done_callback(slow)",
            "inside.wait()",
            "sys.exit(7)",
            code=7,
        )

    def test_an_outcome_for_each_request_before_the_end(self):
        self.ends(
            "import atexit",
            "trapper = Engine(workers=1).load('test/trapper/0', TRAPPER, limits=LIMITS)",
            "requests = [trapper.request('loop') for _ in range(100)]",
            "stopped = []",
            "def note(request):",
            "    stopped.append(type(request.exception()).__name__)",
            "for request in requests:",
            "    request.add_done_callback(note)",
            "import builtins",
            "class Last:",
            "    def __del__(self, print=print):",
            "        print(len(stopped), *set(stopped))",
            "builtins.last = Last()",
            out="100 EngineStopped\n",
        )

    def test_an_exception_that_nobody_handles(self):
        result = run_python(
            *BUSY,
            "user = start(Held())",
            "user.send('set k v')",
            "inside.wait()",
            "raise LookupError('of the program')",
        )
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stderr.endswith("LookupError: of the program\n"), result.stderr)

    def test_exits_at_once(self):
        self.ends(
            "user = start(Held())",
            "user.send('set k v')",
            "inside.wait()",
            "os._exit(7)",
            code=7,
        )

    def test_an_exit_in_a_callback_of_a_call(self):
        self.ends(
            "class Exits(airssys_wasm.DictStorage):",
            "    def set(self, *arguments):",
            "        sys.exit(7)",
            "start(Exits()).call('set k v')",
            code=7,
        )

    def test_handlers_that_run_before_and_after(self):
        # The first handler runs last, after the engines are closed.
        result = run_python(
            "import atexit, sys",
            "@atexit.register",
            "def last():",
            "    import airssys_wasm",
            "    try:",
            "        echo.call(b'x')",
            "    except airssys_wasm.EngineClosed:",
            "        print('closed')",
            "    with airssys_wasm.Engine() as new:",
            "        print(new.load('test/echo/0', ECHO).call(b'y'))",
            "    airssys_wasm.Engine().load('test/echo/0', ECHO).send(b'z')",
            "import airssys_wasm",
            "echo = airssys_wasm.Engine().load('test/echo/0', ECHO)",
            "@atexit.register",
            "def first():",
            "    print(echo.call(b'x'))",
            "sys.exit(7)",
            imports=False,
        )
        expected = (7, "b'x'\nclosed\nb'y'\n", "")
        self.assertEqual((result.returncode, result.stdout, result.stderr), expected)

    def test_a_thread_that_starts_at_the_end(self):
        self.ends(
            "import atexit",
            "user = start(Held())",
            "@atexit.register",
            "def start_late():",
            "    try:",
            "        thread(user.call, 'set k v')",
            "        inside.wait()",
            "    except RuntimeError:",
            "        pass  # from Python 3.12 on there are no threads any more",
            "sys.exit(7)",
            code=7,
        )

    def test_a_generator_that_holds_an_engine(self):
        self.ends(
            "def replies():",
            "    with Engine() as engine:",
            "        echo = engine.load('test/echo/0', ECHO)",
            "        while True:",
            "            yield echo.call(b'x')",
            "import builtins",
            "builtins.kept = replies()",
            "print(next(builtins.kept))",
            out="b'x'\n",
        )

    def test_a_circle_that_is_left(self):
        self.ends(
            "storage = Held()",
            "storage.user = start(storage)",
            "storage.user.send('set k v')",
            "inside.wait()",
            "del storage",
            "sys.exit(7)",
            code=7,
        )

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_of_a_fork(self):
        self.ends(
            "user = start(Held())",
            "user.send('set k v')",
            "inside.wait()",
            "child = os.fork()",
            "if child == 0:",
            "    sys.exit(5)",
            "print(os.WEXITSTATUS(os.waitpid(child, 0)[1]))",
            "sys.exit(7)",
            code=7,
            out="5\n",
        )

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_of_a_fork_in_a_callback(self):
        # Its thread cannot return: the engine's other threads do not exist in the child.
        for end, code in (
            ("return", 0),
            ("sys.exit(5)", 5),
            ("sys.exit('text')", 1),
            ("1 / 0", 1),
            ("os._exit(6)", 6),
        ):
            with self.subTest(end):
                self.ends(
                    "class Forks(airssys_wasm.DictStorage):",
                    "    def set(self, *arguments):",
                    "        global child",
                    "        child = os.fork()",
                    "        if child == 0:",
                    "            sys.stderr = open(os.devnull, 'w')",
                    f"            {end}",
                    "        print('the parent')",
                    "        inside.set()",
                    "user = start(Forks())",
                    "user.send('set k v')",
                    "inside.wait()",
                    "status = os.waitpid(child, 0)[1]",
                    "print(os.WIFEXITED(status), os.WEXITSTATUS(status))",
                    out=f"the parent\nTrue {code}\n",
                )


if __name__ == "__main__":
    unittest.main()
