"""Modules of types, written by ``python -m airssys_wasm stubs``."""

import contextlib
import importlib.util
import inspect
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import airssys_wasm
from airssys_wasm import __main__ as tool
from airssys_wasm import _typed
from airssys_wasm._stubs import stubs
from support import PACKAGE_PARENT, EngineTest, guest

#: A user's program: what is marked must be refused, and nothing else.
PROGRAM = """\
import dataclasses
from typing import List, NamedTuple, Optional

import calculator_stub as calculator
import plugin_stub as plugin
from airssys_wasm import Component, Err, Ok, Some, Variant


@dataclasses.dataclass
class Place:
    x: int
    y: int
    label: Optional[str] = None


class Pair(NamedTuple):
    x: int
    y: int


def calculate(component: Component) -> None:
    exports = calculator.exports(component)
    total: int = exports.add(1, b=2, timeout=1.0)
    ops = exports.ops
    ops.add("1", 2)  # type: ignore[arg-type]
    ops.add(1)  # type: ignore[call-arg]
    ops.subtract(1, 2)  # type: ignore[attr-defined]
    quotient: int = ops.divide(7, 2)
    wrong: str = ops.divide(7, 2)  # type: ignore[assignment]
    ops.apply("plus", 1, 2)
    ops.apply("power", 1, 2)  # type: ignore[arg-type]
    ops.area("dot")
    ops.area(Variant("circle", 2.5))
    ops.area("circle")  # type: ignore[arg-type]
    ops.describe("p", {"x": 1, "y": 2}, {"bold"})
    ops.describe("p", Place(1, 2), ["bold", "italic"])
    ops.describe("p", Pair(1, 2), set())  # type: ignore[arg-type]
    ops.describe("p", {"x": 1, "y": 2}, {"blue"})  # type: ignore[arg-type]
    ops.sum(range(100))
    with ops.counter(10) as counter:
        number: int = counter.next()
        ops.counter.join(counter, ops.counter(start=1)).close()
        ops.peek(counter)
    ops.peek(3)  # type: ignore[arg-type]

    echo = exports["docs:calc/echo"]
    exports["docs:calc/echo@0.1.0"].nothing()
    exports["docs:calc/none"]  # type: ignore[call-overload]
    data: bytes = echo.bytes(bytearray(3))
    echo.bytes("text")  # type: ignore[arg-type]
    points = echo.points([{"x": 1, "y": 2, "label": "here"}])
    label: Optional[str] = points[0]["label"]
    echo.points(points)
    nested: Optional[Some[Optional[str]]] = echo.nested_options(Some(None))
    result = echo.results(Ok(1))
    echo.results(Err(1))  # type: ignore[arg-type]
    if isinstance(result, Err):
        text: str = result.value
    manys: List[str] = sorted(echo.manys(["f1"]))


class Buffer:
    def line_count(self) -> int:
        return 1

    def get_line(self, index: int) -> Err[str]:
        return Err("none")

    async def set_line(self, number: int, text: str) -> None:
        pass

    def insert(self, at: plugin.Position, text: str) -> plugin.Position:
        return {"line": at["line"], "column": at["column"]}

    def try_lock(self) -> None:
        pass

    def beep(self) -> None:
        pass

    def mirror(self, values: List[Variant]) -> List[Variant]:
        return values

    def bytes(self, count: int) -> "memoryview":
        return memoryview(bytearray(count))


class Lacking(Buffer):
    def line_count(self) -> str:  # type: ignore[override]
        return "1"


buffer: plugin.BufferHost = Buffer()
lacking: plugin.BufferHost = Lacking()  # type: ignore[assignment]
"""


def function(name, params=(), result=None, docs=None, within=""):
    call = f"{within}#{name}" if within else name
    params = [{"name": name, "type": type} for name, type in params]
    return {"name": name, "call": call, "params": params, "result": result, "docs": docs}


def interface(name, functions, types=(), docs=None):
    return {"name": name, "functions": functions, "types": list(types), "docs": docs}


#: What Python has other uses for, and docs that try to end their literal.
EVIL = 'ends """ here\nimport os\\\n"""\0\r\\" \u202e "'
STRANGE = {
    "types": [
        {
            "kind": "record",
            "name": "none",
            "interface": "a:b/one@1.0.0",
            "fields": [
                {"name": "property", "type": "u8"},
                {"name": "bytes", "type": 1},
                {"name": "int", "type": "string"},
                {"name": "two-words", "type": "u8"},
                {"name": "more", "type": 1},
            ],
        },
        {"kind": "list", "type": "u8"},
        {"kind": "enum", "name": "none", "interface": "a:b/two@1.0.0", "cases": [{"name": "x"}]},
        {"kind": "enum", "name": "list", "interface": "a:b/two@1.0.0", "cases": [{"name": "y"}]},
        {"kind": "resource", "name": "none", "interface": "a:b/three@1.0.0"},
        {"kind": "own", "resource": "none", "type": 4},
        {
            "kind": "record",
            "name": "keywords",
            "interface": "a:b/one@1.0.0",
            "fields": [{"name": "from", "type": "u8"}, {"name": "to", "type": "u8"}],
        },
    ],
    "exports": [
        interface(
            "",
            [
                function("import", [("from", "u8"), ("timeout", 6)], docs=EVIL),
                function("property", result=6),
                function("overload", [("int", 3)], "u64"),
                function("float", [("self", "f64")], "f64"),
            ],
        ),
        interface(
            "a:b/one@1.0.0",
            [function("bytes", [("v", 1)], 1), function("str", [("v", 0)], 0)],
            docs=EVIL,
        ),
        interface("a:b/two@1.0.0", [function("x", [("v", 2)], 2)]),
        interface("c:d/two@2.0.0", []),
        interface("c:d/two@3.0.0", []),
        interface(
            "a:b/three@1.0.0",
            [
                function("[method]none.bool", [("self", 5)], "bool"),
                function("[method]none.close", [("self", 5)]),
            ],
            [{"name": "none", "type": 4}],
        ),
        interface("airssys:core/component-lifecycle@1.0.0", [function("health")]),
    ],
    "imports": [
        interface("a:b/one@1.0.0", [function("class", [("is", 6), ("self", "u8")], "u8"), function("int", [], 0)]),
        interface("wasi:clocks/wall-clock@0.2.0", [function("now")]),
    ],
}


#: What the plugins of the editor import.
EDITOR = {"editor:api/buffer@1.0.0": {}, "editor:api/screen@1.0.0": {}}


def public(names):
    return {name for name in names if not name.startswith("_")}


def run(text):
    """The module of this text."""
    module = {"__name__": "stub"}
    exec(compile(text, "stub", "exec"), module)
    return module


class Stubs(EngineTest):
    def test_each_guest_has_a_module(self):
        for path in sorted(guest("echo").parent.glob("*.wasm")):
            with self.subTest(path.name):
                module = run(stubs(airssys_wasm.inspect(path)))
                self.assertIn("Exports", module)
                self.assertNotIn("ComponentLifecycle", module)

    def test_the_names_are_those_of_exports(self):
        engine = self.engine(interfaces={"editor:api/buffer@1.2.0": {}, **EDITOR})
        for name in ("calculator", "plugin", "editor-trim"):
            with self.subTest(name):
                component = engine.load(f"app/{name}/0", guest(name))
                module = run(stubs(airssys_wasm.inspect(guest(name))))
                exports = module["exports"](component)
                self.assertEqual(public(vars(module["Exports"])), public(dir(exports)))
        ops = engine.components()[0].exports.ops
        module = run(stubs(airssys_wasm.inspect(guest("calculator"))))
        self.assertEqual(public(vars(module["Ops"])), public(dir(ops)))

    def test_types_of_every_kind(self):
        text = stubs(airssys_wasm.inspect(guest("calculator")))
        for line in (
            'Op = Literal["plus", "minus", "times"]',
            "#: dot | circle(float) | polygon(List[Point])",
            "PointLike = Union[Point, PointInput, PointFields]",
            "    def __call__(",
            "        style: Iterable[Style],",
            "    ) -> Set[Style]: ...",
            "        v: Tuple[int, str, float],",
            "    ) -> Optional[Some[Optional[str]]]: ...",
            "        v: Union[Ok[int], Err[str]],",
            "    ) -> List[Ten]: ...",
            '    ) -> "Counter": ...',
        ):
            self.assertIn(f"{line}\n", text)

    def test_strange_names_and_docs_are_harmless(self):
        module = run(stubs(STRANGE))
        exports = module["Exports"]
        for name in ("import_", "property", "overload", "one", "three"):
            self.assertIn(name, vars(exports))
        # Two interfaces of one name are told apart by [] alone.
        self.assertNotIn("two", vars(exports))
        self.assertIn('ends """ here\nimport os\\\n"""', inspect.getdoc(exports.import_))
        self.assertNotIn("os", module)
        self.assertIn("class_", vars(module["OneHost"]))
        self.assertNotIn("WallClockHost", module)

    def test_keywords_are_attributes_with_an_underscore(self):
        own = _typed.Types(STRANGE, 0, False).interfaces[""]
        self.assertIn("import_", own.functions)
        self.assertEqual(_typed.parameter("from"), "from_")
        self.assertEqual(_typed.parameter("self"), "self_")

    def test_a_parameter_may_have_the_name_of_one_of_invoke(self):
        calculator = self.engine().load("app/it/0", guest("calculator"))
        for call in (calculator.invoke, calculator.invoke_request):
            for name in ("function", "self"):
                with self.assertRaisesRegex(TypeError, f"no parameter '{name}'; there are: a, b"):
                    call("add", 1, **{name: 2})
        with self.assertRaisesRegex(TypeError, "no parameter 'self'; there are: a, b"):
            calculator.exports.add(1, **{"self": 2})

    def test_the_command(self):
        with tempfile.TemporaryDirectory() as directory:
            output = Path(directory, "types.py")
            program = [sys.executable, "-m", "airssys_wasm", "stubs", str(guest("plugin"))]
            env = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
            shown = subprocess.run(program, env=env, capture_output=True, encoding="utf-8")
            self.assertEqual((shown.returncode, shown.stderr), (0, ""))
            self.assertEqual(tool.main(["stubs", str(guest("plugin")), "-o", str(output)]), 0)
            self.assertEqual(output.read_text(encoding="utf-8"), shown.stdout)
            self.assertIn("class BufferHost(Protocol):", shown.stdout)
            broken = Path(directory, "broken.wasm")
            broken.write_bytes(b"no component")
            for path in (broken, Path(directory, "missing.wasm")):
                with contextlib.redirect_stderr(io.StringIO()) as told:
                    self.assertEqual(tool.main(["stubs", str(path)]), 1)
                self.assertIn(path.name, told.getvalue())

    @unittest.skipUnless(importlib.util.find_spec("mypy"), "mypy is not installed")
    def test_mypy_takes_them_and_finds_mistakes(self):
        with tempfile.TemporaryDirectory() as directory:
            for path in guest("echo").parent.glob("*.wasm"):
                stub = Path(directory, f"{path.stem.replace('-', '_')}_stub.py")
                stub.write_text(stubs(airssys_wasm.inspect(path)), encoding="utf-8")
            Path(directory, "strange_stub.py").write_text(stubs(STRANGE), encoding="utf-8")
            Path(directory, "program.py").write_text(PROGRAM, encoding="utf-8")
            files = [str(path) for path in sorted(Path(directory).glob("*.py"))]
            mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", f"{directory}/cache"]
            done = subprocess.run(
                [*mypy, *files],
                env={**os.environ, "MYPYPATH": f"{PACKAGE_PARENT}:{directory}"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
            )
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
