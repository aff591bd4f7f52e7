"""One call from Python, in turns: airssys_wasm, extism and wasmtime (as component and as core module).

    python call.py ECHO_COMPONENT.wasm ECHO_PLUGIN.wasm ECHO_MODULE.wat
"""

from __future__ import annotations

import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Callable, Dict, List

import airssys_wasm
import extism
import wasmtime
import wasmtime.component

ROUNDS = 20
ROUND_SECONDS = 0.02
PAYLOADS = {"16 B": 16, "64 KiB": 64 << 10}

Echo = Callable[[bytes], Any]


def record(**fields: Any) -> wasmtime.component.Record:
    """A record of the component model; the names of its fields have dashes."""
    made = wasmtime.component.Record()
    for name, value in fields.items():
        setattr(made, name.replace("_", "-"), value)
    return made


def wasmtime_component(path: str) -> Echo:
    """The component that airssys_wasm runs, called with the types that its interface has."""
    engine = wasmtime.Engine()
    component = wasmtime.component.Component.from_file(engine, path)
    linker = wasmtime.component.Linker(engine)
    linker.define_unknown_imports_as_traps(component)
    store = wasmtime.Store(engine)
    instance = linker.instantiate(store, component)
    lifecycle = instance.get_export_index(store, "airssys:core/component-lifecycle@1.0.0")
    export = instance.get_export_index(store, "handle-message", lifecycle)
    assert export is not None
    handle_message = instance.get_func(store, export)
    assert handle_message is not None

    message: Any = record(
        sender=record(namespace="host", name="bench", instance="0"),
        payload=b"",
        metadata=record(
            correlation_id=None,
            reply_to=None,
            timestamp=record(seconds=0, nanoseconds=0),
            content_type=None,
        ),
    )

    def call(payload: bytes) -> Any:
        message.payload = payload
        return handle_message(store, message)

    return call


def wasmtime_module(path: str) -> Echo:
    """A core module: the host copies into and out of its memory itself."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    instance = wasmtime.Instance(store, wasmtime.Module.from_file(engine, path), [])
    exports = instance.exports(store)
    memory, echo = exports["memory"], exports["echo"]
    assert isinstance(memory, wasmtime.Memory) and isinstance(echo, wasmtime.Func)

    def call(payload: bytes) -> Any:
        size = len(payload)
        memory.write(store, payload, 0)
        reply = echo(store, size)
        return bytes(memory.read(store, reply, reply + size))

    return call


def seconds_per_call(echo: Echo, payload: bytes, count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        echo(payload)
    return (perf_counter() - start) / count


def calibrate(echo: Echo, payload: bytes) -> int:
    """How many calls fill a round."""
    count = 1
    while seconds_per_call(echo, payload, count) * count < ROUND_SECONDS:
        count *= 2
    return count


def compare(sides: Dict[str, Echo], payload: bytes) -> Dict[str, List[float]]:
    """Seconds per call of each side, a value for each round."""
    for name, echo in sides.items():
        if echo(payload) != payload:
            raise SystemExit(f"{name}: the reply is not the message")
    counts = {name: calibrate(echo, payload) for name, echo in sides.items()}
    samples: Dict[str, List[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, echo in sides.items():
            samples[name].append(seconds_per_call(echo, payload, counts[name]))
    return samples


def shown(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.2f} µs"


def main() -> None:
    component, plugin_path, module = sys.argv[1:]
    with airssys_wasm.Engine() as engine:
        ours = engine.load("bench/echo/0", component)
        plugin = extism.Plugin(Path(plugin_path).read_bytes())
        sides: Dict[str, Echo] = {
            "airssys_wasm": ours.call,
            "extism": lambda payload: plugin.call("echo", payload),
            "wasmtime, component": wasmtime_component(component),
            "wasmtime, core module": wasmtime_module(module),
        }
        print(
            f"Python {sys.version.split()[0]}, libextism {extism.extism_version()}, "
            f"wasmtime {version('wasmtime')}; medians of {ROUNDS} rounds in turns, "
            "ratio: peer / airssys_wasm\n"
        )
        print("| payload | side | one call | ratio |\n| --- | --- | --- | --- |", flush=True)
        for label, size in PAYLOADS.items():
            samples = compare(sides, b"\7" * size)
            for name, times in samples.items():
                ratio = statistics.median(
                    theirs / ours for theirs, ours in zip(times, samples["airssys_wasm"])
                )
                digits = 2 if ratio < 100 else 0
                median = shown(statistics.median(times))
                print(f"| {label} | {name} | {median} | {ratio:.{digits}f} |", flush=True)


if __name__ == "__main__":
    main()
