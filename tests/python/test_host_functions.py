"""Functions of the host, called by components."""

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import threading
import unittest
import weakref

import airssys_wasm
from airssys_wasm import (
    Err,
    InvalidArgument,
    Ok,
    ResultError,
    Some,
    Timeout,
    Trap,
    Variant,
)
from support import EngineTest, guest, run_python

BUFFER = "editor:api/buffer@1.2.0"
ALL = {"host": ["editor:api/*"]}


class Buffer:
    """The text of an editor."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.callers = []

    def line_count(self):
        self.callers.append(airssys_wasm.caller())
        return len(self.lines)

    def get_line(self, number):
        try:
            return self.lines[number]
        except IndexError:
            raise ResultError(f"there is no line {number}") from None

    def set_line(self, number, text):
        self.lines[number] = text

    def insert(self, at, text):
        if at["line"] >= len(self.lines):
            raise ResultError("out-of-range")
        return {"line": at["line"], "column": at["column"] + len(text)}

    def try_lock(self):
        raise ResultError

    def mirror(self, values):
        self.mirrored = values
        return values

    def bytes(self, count):
        return bytes(count)


class HostFunctions(EngineTest):
    def plugin(self, buffer, capabilities=ALL, limits=None, **options):
        engine = self.engine(interfaces={BUFFER: buffer}, limits=limits, **options)
        return engine.load("app/plugin/0", guest("plugin"), capabilities=capabilities)

    def test_a_plugin_works_on_the_text_of_its_host(self):
        buffer = Buffer("one", "two")
        plugin = self.plugin(buffer)
        self.assertEqual(plugin.exports.commands.shout(), 2)
        self.assertEqual(buffer.lines, ["ONE", "TWO"])
        self.assertEqual(buffer.callers, [("app/plugin/0", plugin.handle)])
        self.assertEqual(buffer.callers[0].id, plugin.id)
        with self.assertRaises(LookupError):
            airssys_wasm.caller()

    def test_errors_of_results(self):
        commands = self.plugin(Buffer("one")).exports.commands
        with self.assertRaises(ResultError) as caught:
            commands.get_line(7)
        self.assertEqual(caught.exception.value, "there is no line 7")
        with self.assertRaises(ResultError) as caught:
            commands.insert({"line": 7, "column": 0}, "x")
        self.assertEqual(caught.exception.value, "out-of-range")
        self.assertEqual(commands.insert({"line": 0, "column": 2}, "xyz"), {"line": 0, "column": 5})
        with self.assertRaises(ResultError) as caught:
            commands.try_lock()
        self.assertIsNone(caught.exception.value)

    def test_values_of_every_kind_pass_both_ways(self):
        buffer = Buffer()
        values = [
            Variant("none"),
            Variant("whole", -(2**63)),
            Variant("real", float("inf")),
            Variant("text", "grün"),
            Variant("bytes", b"\0\xff"),
            Variant("numbers", list(range(100))),
            Variant("position", {"line": 1, "column": 2}),
            Variant("nested", Some(None)),
            Variant("outcome", Err("no")),
            Variant("outcome", Ok(3)),
            Variant("letter", "ß"),
            Variant("truth", True),
            Variant("pair", (0.1015625, 2**64 - 1)),
            Variant("styles", {"bold"}),
        ]
        commands = self.plugin(buffer).exports.commands
        self.assertEqual(commands.mirror(values), values)
        self.assertEqual(buffer.mirrored, values)
        self.assertEqual(commands.bytes(1 << 20), 1 << 20)

    def test_a_mapping_serves_too(self):
        plugin = self.plugin({"line-count": lambda: 3, "get_line": lambda number: Ok(f"l{number}")})
        self.assertEqual(plugin.exports.commands.line_count(), 3)
        self.assertEqual(plugin.exports.commands.get_line(4), "l4")

    def test_what_is_missing_or_fails(self):
        class Broken:
            def line_count(self):
                raise ValueError("secret")

            def get_line(self, number):
                raise ValueError("secret")

            def set_line(self, number, text, more):
                pass

            def try_lock(self):
                return 7

        for shown in (False, True):
            plugin = self.plugin(Broken(), host_error_texts=shown)
            commands = plugin.exports.commands
            with self.assertLogs("airssys_wasm", "ERROR") as logged:
                with self.assertRaises(Trap) as caught:
                    commands.line_count()
                text = str(caught.exception)
                self.assertEqual("ValueError: secret" in text, shown, text)
                self.assertIn("editor:api/buffer#line-count", text)
                with self.assertRaises(ResultError) as caught:
                    commands.get_line(0)
                expected = "ValueError: secret" if shown else "get-line of the host failed"
                self.assertEqual(caught.exception.value, expected)
                with self.assertRaises(ResultError):
                    commands.set_line(0, "x")
            raised = [record for record in logged.records if record.exc_info]
            self.assertEqual(len(raised), 3)
            self.assertIn("secret", logged.output[0])
            # A value that does not fit is a trap that says what was expected.
            with self.assertRaises(Trap) as caught:
                commands.try_lock()
            self.assertIn("the host's answer to editor:api/buffer#try-lock", str(caught.exception))
            with self.assertRaises(Trap) as caught:
                commands.beep()
            missing = "the host does not implement beep of editor:api/buffer@1.2.0"
            self.assertIn(missing, str(caught.exception))

    def test_rights(self):
        plugin = self.plugin(Buffer("one"), {"host": ["editor:api/buffer#get-line"]})
        self.assertEqual(plugin.exports.commands.get_line(0), "one")
        with self.assertRaises(ResultError) as caught:
            plugin.exports.commands.set_line(0, "x")
        self.assertIn("capability denied", caught.exception.value)

    def test_names_and_objects_are_checked(self):
        for name in ("buffer", "editor:api", "wasi:cli/run", "e:a/b@x"):
            with self.subTest(name), self.assertRaises(InvalidArgument):
                self.engine(interfaces={name: Buffer()})
        for wrong in (None, "x", 7):
            with self.subTest(wrong), self.assertRaises(TypeError):
                self.engine(interfaces={BUFFER: wrong})

    def test_a_function_may_call_the_engine(self):
        class Asking(Buffer):
            def line_count(self):
                return int(self.counter.call("inc"))

        buffer = Asking()
        engine = self.engine(interfaces={BUFFER: buffer})
        buffer.counter = engine.load("app/counter/0", guest("counter"))
        plugin = engine.load("app/plugin/0", guest("plugin"), capabilities=ALL)
        self.assertEqual([plugin.exports.commands.line_count() for _ in range(3)], [1, 2, 3])

    def test_functions_run_at_once_for_different_components(self):
        both = threading.Barrier(2)

        class Slow(Buffer):
            def line_count(self):
                return both.wait(60) + 1

        engine = self.engine(interfaces={BUFFER: Slow()})
        plugins = [
            engine.load(f"app/plugin/{n}", guest("plugin"), capabilities=ALL) for n in range(2)
        ]
        requests = [it.invoke_request("editor:plugin/commands#line-count") for it in plugins]
        self.assertEqual(sorted(request.result(60) for request in requests), [1, 2])

    def test_a_future_answers_later(self):
        later = concurrent.futures.Future()
        called = threading.Event()

        class Later(Buffer):
            def get_line(self, number):
                called.set()
                return later

        plugin = self.plugin(Later())
        request = plugin.invoke_request("editor:plugin/commands#get-line", 0)
        self.assertTrue(called.wait(60))
        self.assertFalse(request.done())
        later.set_result("late")
        self.assertEqual(request.result(60), "late")
        for error, expected in (
            (ResultError("no"), "no"),
            (ValueError("secret"), "get-line of the host failed"),
        ):
            later = concurrent.futures.Future()
            later.set_exception(error)
            expects_log = isinstance(error, ValueError)
            logs = self.assertLogs("airssys_wasm") if expects_log else contextlib.nullcontext()
            with logs, self.assertRaises(ResultError) as caught:
                plugin.exports.commands.get_line(0)
            self.assertEqual(caught.exception.value, expected)

    def test_an_answer_after_the_time_limit_is_dropped(self):
        later = concurrent.futures.Future()
        plugin = self.plugin({"get-line": lambda number: later}, limits={"max_execution_time_ms": 50})
        with self.assertRaises(Timeout):
            plugin.exports.commands.get_line(0)
        later.set_result("too late")

    def test_coroutines_run_in_the_loop_of_the_engine(self):
        class Coroutines(Buffer):
            async def get_line(self, number):
                await asyncio.sleep(0)
                self.loops.append(asyncio.get_running_loop())
                self.callers.append(airssys_wasm.caller().id)
                if number:
                    raise ResultError("none")
                return "from the loop"

        buffer = Coroutines()
        buffer.loops = []

        async def main():
            plugin = self.plugin(buffer)
            get = "editor:plugin/commands#get-line"
            self.assertEqual(await plugin.invoke_request(get, 0), "from the loop")
            with self.assertRaises(ResultError):
                await plugin.invoke_request(get, 1)
            self.assertEqual(buffer.loops, [asyncio.get_running_loop()] * 2)
            self.assertEqual(buffer.callers, [plugin.id] * 2)

        asyncio.run(main())
        # Without a loop the error says what to do.
        plugin = self.plugin(buffer)
        with self.assertLogs("airssys_wasm", "ERROR") as logged, self.assertRaises(ResultError):
            plugin.exports.commands.get_line(0)
        self.assertIn("running event loop", logged.output[0])

    def test_an_engine_that_its_functions_refer_to_is_collected(self):
        buffer = Buffer()
        engine = airssys_wasm.Engine(interfaces={BUFFER: buffer})
        buffer.engine = engine
        dead = weakref.ref(buffer)
        with self.assertWarns(ResourceWarning):
            del engine, buffer
            gc.collect()
        for _ in range(600):
            if dead() is None:
                break
            threading.Event().wait(0.1)
            gc.collect()
        self.assertIsNone(dead())

    def test_a_replaced_component_goes_on(self):
        plugin = self.plugin(Buffer("one"))
        self.assertEqual(plugin.exports.commands.line_count(), 1)
        plugin.replace(guest("plugin"))
        self.assertEqual(plugin.exports.commands.line_count(), 1)

    def test_two_interfaces_with_rights_of_their_own(self):
        shown = []
        engine = self.engine(
            interfaces={
                "editor:api/buffer@1.0.0": {
                    "line-count": lambda: 1,
                    "get-line": lambda number: "two words",
                },
                "editor:api/screen@1.0.0": {"show": shown.append},
            }
        )
        read = ["editor:api/buffer#line-count", "editor:api/buffer#get-line"]
        for functions, expected in ((read + ["editor:api/screen#show"], ["2 words"]), (read, [])):
            with self.subTest(functions):
                shown.clear()
                id = f"app/count/{len(functions)}"
                host = {"host": functions}
                plugin = engine.load(id, guest("editor-count"), capabilities=host)
                if expected:
                    plugin.exports.command.run()
                else:
                    # The function has no error of its own.
                    with self.assertRaises(Trap) as caught:
                        plugin.exports.command.run()
                    self.assertIn("editor:api/screen#show", str(caught.exception))
                self.assertEqual(shown, expected)

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_of_a_fork_in_a_function_ends_with_it(self):
        # On a thread of the engine, which the child lacks.
        for end, code in (("return 7", 0), ("sys.exit(5)", 5), ("1 / 0", 1)):
            with self.subTest(end):
                result = run_python(
                    "import signal",
                    "class Forks:",
                    "    def line_count(self):",
                    "        global child",
                    "        child = os.fork()",
                    "        if child == 0:",
                    # A child that returned would wait for ever.
                    "            signal.alarm(10)",
                    "            sys.stderr = open(os.devnull, 'w')",
                    f"            {end}",
                    "        return 3",
                    f"engine = Engine(interfaces={{{BUFFER!r}: Forks()}})",
                    f"wasm, rights = {str(guest('plugin'))!r}, {ALL!r}",
                    "plugin = engine.load('app/plugin/0', wasm, capabilities=rights)",
                    "count = plugin.invoke_request('editor:plugin/commands#line-count')",
                    "print(count.result(60))",
                    "status = os.waitpid(child, 0)[1]",
                    "print(os.WIFEXITED(status), os.WEXITSTATUS(status))",
                )
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertEqual(result.stdout, f"3\nTrue {code}\n")

    def test_an_interrupt_before_the_first_line_of_a_function_is_not_lost(self):
        # As Ctrl-C during a call: Python raises it where no `try` of the callback is.
        result = run_python(
            "from airssys_wasm import _host_functions",
            "class Buffer:",
            "    def line_count(self):",
            "        return 3",
            f"engine = Engine(interfaces={{{BUFFER!r}: Buffer()}})",
            f"wasm, rights = {str(guest('plugin'))!r}, {ALL!r}",
            "plugin = engine.load('app/plugin/0', wasm, capabilities=rights)",
            "def interrupt(frame, event, arg):",
            "    if event == 'call' and frame.f_globals is vars(_host_functions):",
            "        if frame.f_code.co_name == '_call':",
            "            sys.settrace(None)",
            "            raise KeyboardInterrupt",
            "plugin.exports.commands.bytes",
            "sys.settrace(interrupt)",
            "try:",
            "    plugin.exports.commands.line_count()",
            "except KeyboardInterrupt:",
            "    print('interrupted')",
        )
        self.assertEqual((result.stdout, result.stderr), ("interrupted\n", ""))
