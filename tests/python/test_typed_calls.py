"""Typed calls with Python's own values."""

import array
import asyncio
import collections
import contextlib
import dataclasses
import enum
import gc
import inspect as python_inspect
import io
import math
import os
import pydoc
import sys
import unittest
import warnings

from support import EngineTest, guest

import airssys_wasm
from airssys_wasm import (
    ComponentStopped,
    EngineClosed,
    Err,
    ExportNotFound,
    InvalidArgument,
    InvalidComponent,
    Ok,
    Request,
    Resource,
    ResultError,
    Some,
    Timeout,
    Trap,
    Variant,
)

ECHO = "docs:calc/echo@0.1.0#"
OPS = "docs:calc/ops@0.1.0#"

TEN = {
    "a": 255,
    "b": -32768,
    "c": 2**32 - 1,
    "d": -(2**63),
    "e": 1.5,
    "f": 1e-310,
    "g": "ß",
    "h": True,
    "i": 'line\n"quoted" \x00',
    "j": b"\x00\x01\x02\xff",
}


@dataclasses.dataclass
class Point:
    x: int
    y: int
    label: object = None


class TypedTest(EngineTest):
    def setUp(self):
        self.calc = self.load("calculator")

    def echo(self, name, value):
        return self.calc.invoke(ECHO + name, value)


class Values(TypedTest):
    def test_every_type_returns_as_it_was_passed(self):
        point = {"x": 1, "y": -1, "label": "p"}
        for name, values in {
            "bools": [True, False],
            "s8s": [-128, 127],
            "u16s": [65535],
            "s64s": [-(2**63), 2**63 - 1],
            "u64s": [2**64 - 1, 2**53 + 1],
            "f32s": [0.5, math.inf, -math.inf],
            "f64s": [0.1, 5e-324, sys.float_info.max, math.inf, -math.inf],
            "chars": ["a", "\U0010ffff", '"'],
            "strings": ["", "grüße \x00 💡", "x" * 100_000],
            "bytes": [b"", b"\x00\xff", bytes(range(256)) * 100],
            "numbers": [[], [1, -2, 2**31 - 1], list(range(-500, 500))],
            "doubles": [[], [0.5, -1.25, math.inf], [float(n) for n in range(100)]],
            "truths": [[], [True, False, True]],
            "texts": [[], ["", "a", "\\"]],
            "points": [[point, {"x": 0, "y": 0, "label": None}]],
            "tens": [TEN],
            "lists-of-tens": [[TEN, TEN]],
            "tuples": [(1, "two", 3.0)],
            "options": [None, 0, 7],
            "nested-options": [None, Some(None), Some("x")],
            "shapes": [Variant("dot"), Variant("circle", 2.5), Variant("polygon", [point])],
            "mixeds": [
                Variant("nothing"),
                Variant("whole", 2**64 - 1),
                Variant("real", -0.5),
                Variant("text", "t"),
                Variant("pair", (7, -1e300)),
            ],
            "ops": ["plus", "times"],
            "styles": [set(), {"bold", "underlined"}],
            "manys": [{"f0", "f7", "f8", "f16"}],
        }.items():
            for value in values:
                with self.subTest(name, value=repr(value)[:80]):
                    came = self.echo(name, value)
                    self.assertEqual(came, value)
                    self.assertIs(type(came), type(value))

    def test_not_a_number(self):
        self.assertTrue(math.isnan(self.echo("f64s", math.nan)))
        self.assertTrue(math.isnan(self.echo("f32s", math.nan)))
        self.assertTrue(math.isnan(self.echo("doubles", [math.nan])[0]))
        self.assertTrue(math.isnan(self.echo("doubles", [math.nan] * 100)[99]))

    def test_a_float_of_32_bits_is_exact(self):
        # 0.1 is not one; the nearest that is.
        self.assertEqual(self.echo("f32s", 0.1), 0.10000000149011612)
        self.assertEqual(self.echo("tens", {**TEN, "e": 0.1})["e"], 0.10000000149011612)
        self.assertEqual(math.copysign(1, self.echo("f32s", -0.0)), -1.0)

    def test_whole_numbers_are_floats_too(self):
        self.assertEqual(self.echo("f64s", 3), 3.0)
        self.assertIs(type(self.echo("f64s", 3)), float)
        self.assertEqual(self.echo("doubles", [1, 2]), [1.0, 2.0])

    def test_records_from_other_objects(self):
        plain = {"x": 1, "y": 2, "label": None}
        tuple_point = collections.namedtuple("tuple_point", "x y")
        for point in (
            Point(1, 2),
            tuple_point(1, 2),
            {"x": 1, "y": 2},
            collections.OrderedDict(y=2, x=1),
        ):
            with self.subTest(point):
                self.assertEqual(self.echo("points", [point]), [plain])
        described = self.calc.invoke(OPS + "describe", "n", Point(1, 2, "here"), ["bold"])
        self.assertEqual(described, "n at 1,2 here Style { bits: 1 }")

    def test_names_with_dashes_are_given_with_underscores(self):
        counter = self.engine().load("test/counter/0", guest("counter"))
        message = {
            "sender": {"namespace": "a", "name": "b", "instance": "c"},
            "payload": b"inc",
            "metadata": {
                "timestamp": {"seconds": 0, "nanoseconds": 0},
                "correlation_id": "1",
                "content-type": None,
            },
        }
        lifecycle = counter.exports.component_lifecycle
        self.assertEqual(lifecycle.handle_message(message), b"1")
        self.assertEqual(lifecycle.health(), "healthy")
        self.assertIn("supported-operations", lifecycle.metadata())

    def test_other_spellings_of_a_value(self):
        class Op(str, enum.Enum):
            PLUS = "plus"

        self.assertEqual(self.calc.invoke(OPS + "apply", Op.PLUS, 1, 2), 3)
        self.assertEqual(self.echo("shapes", "dot"), Variant("dot"))
        self.assertEqual(self.echo("options", Some(3)), 3)
        self.assertEqual(self.echo("nested-options", "x"), Some("x"))
        self.assertEqual(self.echo("styles", frozenset(["bold"])), {"bold"})
        self.assertEqual(self.echo("styles", ["bold", "bold"]), {"bold"})
        self.assertEqual(self.echo("bytes", bytearray(b"ab")), b"ab")
        self.assertEqual(self.echo("bytes", memoryview(b"abcd")[::2]), b"ac")
        self.assertEqual(self.echo("bytes", [0, 255]), b"\x00\xff")
        self.assertEqual(self.echo("tuples", [1, "two", 3]), (1, "two", 3.0))
        self.assertEqual(self.echo("texts", ("a", "b")), ["a", "b"])
        self.assertEqual(self.echo("numbers", range(3)), [0, 1, 2])
        self.assertEqual(self.echo("points", (Point(n, n) for n in range(2)))[1]["x"], 1)

    def test_buffers_of_numbers(self):
        self.assertEqual(self.echo("numbers", array.array("i", [1, -1])), [1, -1])
        self.assertEqual(self.echo("numbers", memoryview(array.array("i", range(10)))[::2]), [0, 2, 4, 6, 8])
        self.assertEqual(self.echo("doubles", array.array("d", [0.5, math.inf])), [0.5, math.inf])
        # Of another element type, by their values.
        self.assertEqual(self.echo("numbers", array.array("b", [1, -1])), [1, -1])
        self.assertEqual(self.echo("doubles", array.array("f", [0.5])), [0.5])
        self.assertEqual(self.echo("numbers", b"\x01\x02"), [1, 2])
        self.assertEqual(self.calc.invoke(OPS + "sum", array.array("q", range(1000))), 499500)
        self.assertEqual(self.calc.invoke(OPS + "sum", list(range(1000))), 499500)

    def test_what_does_not_fit_is_refused_with_its_place(self):
        for name, value, text in [
            ("numbers", [1, "x"], 'args[0][1]: expected s32, got "x"'),
            ("numbers", [*range(100), "x"], 'args[0][100]: expected s32, got "x"'),
            ("numbers", [2**31] * 100, "args[0][0]: expected s32, got 2147483648"),
            ("points", [{"x": 1}], "args[0][0]: the field \"y\" is missing"),
            ("points", [{"x": 1, "y": 2, "z": 3}], "no field \"z\""),
            ("shapes", "square", "args[0]: expected one of the cases dot, circle, polygon"),
            ("shapes", Variant("dot", 1), "args[0].dot: this case has no payload"),
            ("shapes", Variant("circle"), "args[0].circle: expected f64, got null"),
            ("shapes", Variant("square", 1), "args[0]: expected one of the cases"),
            ("tuples", (1, "two"), "args[0]: expected tuple (an array) of 3, got 2"),
            ("tuples", (1, "two", 3, 4), "args[0]: expected tuple (an array) of 3, got 4"),
            ("ops", "minux", "expected one of plus, minus, times"),
            ("styles", ["bald"], "got \"bald\""),
            ("u64s", 2**64, "args[0]: expected u64"),
            ("bytes", [256], "args[0][0]: expected u8"),
            ("f32s", 1e300, "args[0]: expected f32"),
            ("strings", 3, "args[0]: expected string, got 3"),
            ("bools", 1, "args[0]: expected bool, got 1"),
        ]:
            with self.subTest(name, value=repr(value)[:40]):
                with self.assertRaises(InvalidArgument) as caught:
                    self.echo(name, value)
                self.assertIn(text, caught.exception.message)
        for name, value in [
            ("strings", b"bytes"),
            ("bytes", "text"),
            ("texts", "text"),
            ("f64s", "1.5"),
            ("points", [3]),
            ("styles", "bold"),
            ("shapes", {"circle": 1}),
            ("results", 3),
            ("numbers", object()),
            ("s32s", object()),
        ]:
            with self.subTest(name, value=value), self.assertRaises(TypeError):
                self.echo(name, value)
        self.assertEqual(self.calc.status()["instances"][0]["restarts"], 0)


class Results(TypedTest):
    def test_the_error_of_a_result_is_an_exception(self):
        self.assertEqual(self.calc.exports.ops.divide(7, 2), 3)
        with self.assertRaises(ResultError) as caught:
            self.calc.exports.ops.divide(7, 0)
        self.assertEqual(caught.exception.value, "7 by 0")
        self.assertIn("7 by 0", str(caught.exception))
        self.assertNotIsInstance(caught.exception, airssys_wasm.AirssysError)
        self.assertEqual(self.echo("results", Ok(1)), 1)
        with self.assertRaises(ResultError) as caught:
            self.echo("results", Err("no"))
        self.assertEqual(caught.exception.value, "no")
        self.assertIsNone(self.echo("empty-results", Ok()))
        with self.assertRaises(ResultError) as caught:
            self.echo("empty-results", Err())
        self.assertIsNone(caught.exception.value)

    def test_a_function_without_a_result(self):
        self.assertIsNone(self.calc.invoke(ECHO + "nothing"))

    def test_a_trap_is_one(self):
        with self.assertRaises(Trap):
            self.calc.exports.ops.trap()
        self.assertEqual(self.calc.invoke("add", 1, 2), 3)

    def test_boxes_compare_by_class(self):
        self.assertEqual(Some(1), Some(1))
        self.assertNotEqual(Some(1), Ok(1))
        self.assertNotEqual(Ok(1), Err(1))
        self.assertEqual(Variant("dot"), Variant("dot", None))
        self.assertEqual(len({Some(1), Ok(1), Err(1), Some(1)}), 3)

    @unittest.skipUnless(sys.version_info >= (3, 10), "needs match")
    def test_values_match(self):
        names = {"Variant": Variant, "Ok": Ok, "found": []}
        code = (
            "for value in (Variant('circle', 2.5), Variant('dot'), Ok(1)):\n"
            "    match value:\n"
            "        case Variant('circle', radius): found.append(radius)\n"
            "        case Variant(name): found.append(name)\n"
            "        case Ok(one): found.append(one)\n"
        )
        exec(code, names)
        self.assertEqual(names["found"], [2.5, "dot", 1])


class Calls(TypedTest):
    def test_arguments_by_name(self):
        self.assertEqual(self.calc.invoke("add", a=1, b=2), 3)
        self.assertEqual(self.calc.invoke("add", 1, b=2), 3)
        self.assertEqual(self.calc.exports.ops.divide(b=2, a=7), 3)
        for args, named, text in [
            ((1,), {"c": 2}, "no parameter 'c'; there are: a, b"),
            ((1,), {"a": 2}, "two values for the parameter 'a'"),
            ((1, 2, 3), {"a": 1}, "two values"),
        ]:
            with self.subTest(args=args, named=named), self.assertRaises(TypeError) as caught:
                self.calc.invoke("add", *args, **named)
            self.assertIn(text, str(caught.exception))
        with self.assertRaises(InvalidArgument) as caught:
            self.calc.invoke("add", b=1)
        self.assertIn('the parameter "a" is missing', caught.exception.message)
        for args in ((), (1,), (1, 2, 3)):
            with self.subTest(args), self.assertRaises(InvalidArgument) as caught:
                self.calc.invoke("add", *args)
            self.assertIn(f"of 2 arguments, got {len(args)}", caught.exception.message)
        with self.assertRaises(InvalidArgument) as caught:
            self.calc.invoke(ECHO + "points")
        self.assertIn("of 1 argument", caught.exception.message)

    def test_names_of_functions(self):
        for name in ("add", "docs:calc/ops#add", "docs:calc/ops@0.1.0#add", "docs:calc/ops@0.1.7#add"):
            with self.subTest(name):
                self.assertEqual(self.calc.invoke(name, 1, 2), 3)
        for name in ("addd", "docs:calc/ops#ad", "docs:calc/ops@0.2.0#add", "", "#"):
            with self.subTest(name), self.assertRaises(ExportNotFound) as caught:
                self.calc.invoke(name, 1, 2)
            self.assertIn("it exports", caught.exception.message)
        with self.assertRaises(InvalidArgument):
            self.calc.invoke("a\0dd")
        minimal = self.load("minimal")
        with self.assertRaises(ExportNotFound):
            minimal.invoke("f", {"any": [1]})

    def test_options(self):
        self.assertEqual(self.calc.invoke("add", 1, 2, timeout=60, sender="a/b/c"), 3)
        with self.assertRaises(Timeout):
            self.calc.exports.ops.spin(timeout=0.05, interrupts=True)
        with self.assertRaises(InvalidArgument):
            self.calc.invoke("add", 1, 2, timeout=0)
        self.calc.stop()
        with self.assertRaises(ComponentStopped):
            self.calc.invoke("add", 1, 2)

    def test_from_another_thread(self):
        found = []
        end = self.in_thread(lambda: found.append(self.calc.invoke("add", 20, 22)))
        self.assertIsNone(end())
        self.assertEqual(found, [42])

    def test_another_version_has_other_functions(self):
        greeter = self.load("minimal")
        with self.assertRaises(AttributeError):
            greeter.exports.add
        greeter.replace(guest("calculator"))
        self.assertEqual(greeter.exports.add(1, 2), 3)
        greeter.rollback()
        with self.assertRaises(AttributeError):
            greeter.exports.add

    def test_a_version_of_which_nothing_is_known_yet(self):
        """Another object, here one without types, has replaced the component."""
        calc = self.calc
        self.assertEqual(calc.invoke("add", 1, 2), 3)
        core = calc._core
        types = core.types[calc.handle]
        calc.replace(guest("minimal"))
        core.types[calc.handle] = types
        with self.assertRaises(ExportNotFound):
            calc.invoke("add", 1, 2)
        self.assertEqual(core.types[calc.handle].document["exports"], [])
        stale = core.types[calc.handle]
        calc.replace(guest("calculator"))
        core.types[calc.handle] = stale
        self.assertEqual(calc.invoke("add", 1, 2), 3)


class Requests(TypedTest):
    def test_the_result_is_the_value(self):
        request = self.calc.invoke_request(OPS + "area", Variant("circle", 1.0))
        self.assertIsInstance(request, Request)
        self.assertAlmostEqual(request.result(60), math.pi)
        many = [self.calc.invoke_request("add", n, 1) for n in range(50)]
        self.assertEqual([request.result(60) for request in many], list(range(1, 51)))

    def test_its_errors_are_outcomes(self):
        request = self.calc.invoke_request(OPS + "divide", 7, 0)
        self.assertIsInstance(request.exception(60), ResultError)
        with self.assertRaises(ResultError) as caught:
            request.result()
        self.assertEqual(caught.exception.value, "7 by 0")
        wrong = self.calc.invoke_request("add", 1, "x")
        self.assertIsInstance(wrong.exception(60), InvalidArgument)
        unknown = self.calc.invoke_request("addd", 1)
        self.assertIsInstance(unknown.exception(60), ExportNotFound)
        late = self.calc.invoke_request(OPS + "spin", timeout=0.05, interrupts=True)
        self.assertIsInstance(late.exception(60), Timeout)

    def test_it_can_be_awaited(self):
        async def both():
            one = self.calc.invoke_request("add", 1, 2)
            other = self.calc.invoke_request(ECHO + "points", [Point(1, 2)])
            return await one, await other

        one, other = asyncio.run(both())
        self.assertEqual((one, other[0]["y"]), (3, 2))


class Exports(TypedTest):
    def test_functions_and_interfaces_are_attributes(self):
        exports = self.calc.exports
        self.assertEqual(exports.add(1, 2), 3)
        self.assertEqual(exports.ops.add(1, 2), 3)
        self.assertEqual(exports["docs:calc/ops@0.1.0"].add(1, 2), 3)
        self.assertEqual(exports["docs:calc/ops"].add(1, 2), 3)
        self.assertEqual(exports.echo.lists_of_tens([TEN]), [TEN])
        with self.assertRaises(AttributeError) as caught:
            exports.opps
        self.assertIn("there are: add, echo, ops", str(caught.exception))
        with self.assertRaises(AttributeError):
            exports.ops.nothing_like_it
        with self.assertRaises(KeyError):
            exports["docs:calc/opps"]

    def test_they_list_themselves(self):
        exports = self.calc.exports
        self.assertLessEqual({"add", "ops", "echo"}, set(dir(exports)))
        self.assertLessEqual({"add", "divide", "open_counters", "counter"}, set(dir(exports.ops)))
        self.assertIn("join", dir(exports.ops.counter))
        self.assertIn("next", dir(exports.ops.counter(1)))
        self.assertIn("add, echo, ops", repr(exports))

    def test_help_has_the_signatures(self):
        ops = self.calc.exports.ops
        self.assertEqual(ops.divide.__name__, "divide")
        self.assertEqual(ops.divide.__doc__, "divide(a: s32, b: s32) -> result<s32, string>")
        signature = python_inspect.signature(ops.describe)
        self.assertEqual(list(signature.parameters), ["name", "at", "style"])
        self.assertEqual(signature.parameters["at"].annotation, "point")
        for thing, text in [
            (ops.divide, "divide(a: s32, b: s32) -> result<s32, string>"),
            (ops, "area(shape: shape) -> f64"),
            (ops.counter, "next() -> u32"),
            (ops.counter, "counter(start: u32) -> counter"),
        ]:
            with self.subTest(text):
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    pydoc.Helper(output=out).help(thing)
                self.assertIn(text, out.getvalue())


class Resources(TypedTest):
    def setUp(self):
        super().setUp()
        self.ops = self.calc.exports.ops

    def test_methods_are_attributes(self):
        counter = self.ops.counter(10)
        self.assertIsInstance(counter, Resource)
        self.assertEqual(counter.next(), 11)
        self.assertEqual(counter["next"](), 12)
        self.assertEqual(counter.value(), 12)
        self.assertEqual(self.ops.peek(counter), 12)
        self.assertEqual(self.ops.counter(start=3).value(), 3)
        with self.assertRaises(AttributeError) as caught:
            counter.nexxt
        self.assertIn("there are: next, value", str(caught.exception))

    def test_passing_one_on_ends_it(self):
        one, other = self.ops.counter(1), self.ops.counter(2)
        with self.assertRaises(InvalidArgument):
            self.ops.counter.join(one, one)
        self.assertFalse(one.closed)
        both = self.ops.counter.join(one, other)
        self.assertEqual(both.value(), 3)
        self.assertTrue(one.closed and other.closed)
        with self.assertRaises(InvalidArgument):
            self.ops.peek(one)
        self.assertEqual(self.ops.open_counters(), 1)
        again = self.calc.invoke_request(OPS + "[static]counter.join", both, self.ops.counter(4))
        self.assertEqual(again.result(60).value(), 7)
        self.assertTrue(both.closed)

    def test_it_is_dropped_by_close_and_by_with(self):
        counter = self.ops.counter(1)
        self.assertEqual(self.ops.open_counters(), 1)
        counter.close()
        counter.close()
        self.assertEqual(self.ops.open_counters(), 0)
        with self.assertRaises(InvalidArgument) as caught:
            counter.next()
        self.assertIn("closed", str(caught.exception))
        with self.ops.counter(1) as counter:
            self.assertEqual(self.ops.open_counters(), 1)
        self.assertTrue(counter.closed)
        self.assertEqual(self.ops.open_counters(), 0)

    def test_it_is_dropped_some_time_after_its_last_use(self):
        for _ in range(5):
            self.ops.counter(1)
        gc.collect()
        self.eventually(lambda: self.ops.open_counters() == 0)

    def test_a_finalizer_does_not_wait_for_room(self):
        blocking = self.engine().load(
            "test/calc/0",
            guest("calculator"),
            mailbox={"capacity": 1},
            when_full="block",
            limits={"max_execution_time_ms": 3_600_000},
        )
        counter = blocking.exports.ops.counter(1)
        spinning = blocking.invoke_request(OPS + "spin")
        self.eventually(lambda: blocking.describe()["mailbox"]["depth"] == 0)
        waiting = blocking.invoke_request("add", 1, 2)
        del counter
        gc.collect()
        blocking.interrupt()
        self.assertIsNotNone(spinning.exception(60))
        self.assertEqual(waiting.result(60), 3)

    def test_it_does_not_outlive_its_instance(self):
        counter = self.ops.counter(1)
        with self.assertRaises(Trap):
            self.ops.trap()
        with self.assertRaises(InvalidArgument):
            counter.next()
        counter.close()
        self.assertTrue(counter.closed)

    def test_it_may_outlive_its_component_and_its_engine(self):
        counter, other = self.ops.counter(1), self.ops.counter(2)
        self.calc.unload()
        counter.close()
        self.calc.engine.close()
        other.close()
        with self.assertRaises(EngineClosed):
            self.calc.invoke("add", 1, 2)

    def test_an_engine_without_references_closes_nevertheless(self):
        engine = airssys_wasm.Engine()
        calc = engine.load("test/calc/0", guest("calculator"))
        counter = calc.exports.ops.counter(1)
        core = engine._core
        del engine, calc
        self.assertEqual(counter.next(), 2)
        with warnings.catch_warnings():
            # It says that it was not closed, as it should.
            warnings.simplefilter("ignore", ResourceWarning)
            del counter
            gc.collect()
            self.eventually(lambda: core.closed)


class Inspecting(TypedTest):
    def test_a_file_and_a_binary_have_the_same_document(self):
        path = guest("calculator")
        document = airssys_wasm.inspect(path)
        with open(path, "rb") as file:
            self.assertEqual(airssys_wasm.inspect(file.read()), document)
        self.assertEqual(airssys_wasm.inspect(os.fspath(path)), document)
        self.assertEqual(self.calc.inspect(), document)
        names = [interface["name"] for interface in document["exports"]]
        self.assertEqual(names, ["", "docs:calc/ops@0.1.0", "docs:calc/echo@0.1.0"])

    def test_what_is_no_component_is_refused(self):
        for wasm in (b"", b"nonsense", b"\0asm\1\0\0\0"):
            with self.subTest(wasm), self.assertRaises(InvalidComponent):
                airssys_wasm.inspect(wasm)
        with self.assertRaises(OSError):
            airssys_wasm.inspect("/no/such/file.wasm")


if __name__ == "__main__":
    unittest.main()
