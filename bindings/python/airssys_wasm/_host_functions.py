"""Functions of the host, which components call with typed values."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import ctypes
import inspect as python
import json
from typing import (
    TYPE_CHECKING,
    Any,
    Awaitable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    cast,
)

from airssys_wasm import _callbacks, _convert, _ffi, _registry
from airssys_wasm._library import lib
from airssys_wasm._types import Converter, Table, attribute
from airssys_wasm.errors import (
    AirssysError,
    ComponentNotFound,
    EngineClosed,
    RequestNotFound,
    Status,
)
from airssys_wasm.values import Err, Ok, ResultError

if TYPE_CHECKING:
    from airssys_wasm._convert import Binary
    from airssys_wasm._core import Core

_dumps = json.JSONEncoder(separators=(",", ":")).encode

_ANSWERS_LATER = -1


class Caller(NamedTuple):
    """The component that calls a function of the host."""

    #: Its id, ``namespace/name/instance``.
    id: str
    #: Its handle, as of :attr:`Component.handle`.
    handle: int


_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("airssys_wasm.caller")


def caller() -> Caller:
    """The component that called this function of the host, also in a coroutine.

    :raises LookupError: no component called.
    """
    return _caller.get()


class Interface:
    """The functions of one interface."""

    __slots__ = ("loop", "name", "object", "shows_errors")

    def __init__(self, name: str, object: Any, shows_errors: bool) -> None:
        if object is None or isinstance(object, (str, bytes, int)):
            raise TypeError(f"{name}: expected an object with methods or a mapping, got {object!r}")
        self.name = name
        self.object = object
        self.shows_errors = shows_errors
        #: Runs coroutines. An engine made outside of one has none.
        self.loop: Optional[asyncio.AbstractEventLoop] = None
        with contextlib.suppress(RuntimeError):
            self.loop = asyncio.get_running_loop()

    def method(self, function: str) -> Any:
        """What implements a function of WIT."""
        name = attribute(function)
        if isinstance(self.object, Mapping):
            found = self.object.get(function, self.object.get(name))
        else:
            found = getattr(self.object, name, None)
        if not callable(found):
            raise _Missing(f"the host does not implement {function} of {self.name}")
        return found


class _Missing(Exception):
    """The host lacks a function. Components may know."""


class _Function:
    """A function as a component imports it: its arguments to values, and its result to JSON."""

    __slots__ = ("_err", "_params", "_result", "_splits")

    def __init__(self, document: Dict[str, Any], table: Table) -> None:
        self._params: List[Converter] = [table.converter(it["type"]) for it in document["params"]]
        result = document["result"]
        entry = table.entry(result)
        self._err: Optional[Converter] = None
        self._splits = False
        if entry.get("kind") == "result":
            self._err = table.converter(entry["err"])
            # A value that is a result itself stands for no error of this one.
            self._splits = table.entry(entry["ok"]).get("kind") != "result"
            result = entry["ok"]
        self._result = None if result is None and self._err is None else table.converter(result)

    def arguments(self, text: bytes) -> List[Any]:
        """The arguments as values."""
        given = json.loads(text)
        return [param.to_value(value, None) for param, value in zip(self._params, given)]

    def answer(self, value: Any) -> bytes:
        """The JSON of what the host returned."""
        if self._result is None:
            return b""
        if self._err is None:
            return _dumps(self._result.to_json(value, [])).encode()
        if self._splits and type(value) is Err:
            return self.refusal(value.value) or b""
        if self._splits and type(value) is Ok:
            value = value.value
        return _dumps({"ok": self._result.to_json(value, [])}).encode()

    def refusal(self, error: Any) -> Optional[bytes]:
        """The JSON of an error of the function's ``result``; ``None`` if it has none."""
        if self._err is None:
            return None
        return _dumps({"err": self._err.to_json(error, [])}).encode()


def _functions(document: Dict[str, Any]) -> Dict[Tuple[str, str], _Function]:
    table = Table(document["types"])
    return {
        (interface["name"], function["name"]): _Function(function, table)
        for interface in document["imports"]
        for function in interface["functions"]
    }


class Imports:
    """What the components of an engine import, asked for once."""

    def __init__(self) -> None:
        self._known: Dict[int, Dict[Tuple[str, str], _Function]] = {}
        self._loading: Dict[str, Binary] = {}

    @contextlib.contextmanager
    def loading(self, id: str, wasm: Binary) -> Iterator[None]:
        """Knows the binary of a component that calls the host before it is loaded."""
        self._loading[id] = wasm
        try:
            yield
        finally:
            self._loading.pop(id, None)

    @contextlib.contextmanager
    def replacing(self, id: str, handle: int, wasm: Optional[Binary]) -> Iterator[None]:
        """As :meth:`loading`; afterwards asks again what the component imports."""
        if wasm is None:
            yield
            return
        try:
            with self.loading(id, wasm):
                yield
        finally:
            self._known.pop(handle, None)

    def find(self, core: Core, caller: Caller, name: Tuple[str, str]) -> _Function:
        """The function that a component imports by this name."""
        found = self._known.get(caller.handle, {}).get(name)
        if found is None:
            from airssys_wasm import _inspect

            wasm = self._loading.get(caller.id)
            try:
                document = core.ask_json(lib.airssys_engine_inspect, caller.handle)
            except ComponentNotFound:
                if wasm is None:
                    raise
                document = _inspect.inspect(wasm)
            functions = _functions(document)
            if name not in functions and wasm is not None:
                # Another version is about to take over.
                functions = _functions(_inspect.inspect(wasm))
            self._known[caller.handle] = functions
            found = functions[name]
        return found


def interface_table(host: _registry.Host) -> _ffi.Interface:
    """The callback of an interface."""
    return _ffi.Interface(ctypes.sizeof(_ffi.Interface), host.token, _callbacks.drop, _call)


def _refused(interface: Interface, function: Optional[_Function], error: Any) -> Tuple[int, bytes]:
    """Status and data of an error that the host meant."""
    try:
        answer = None if function is None else function.refusal(error)
    except Exception as broken:
        _callbacks.keep(broken, "an error of %s has no JSON", interface.name)
        answer = None
    if answer is not None:
        return Status.OK, answer
    return Status.RUNTIME, str(error).encode("utf-8", "replace")


def _failed(interface: Interface, name: str, error: BaseException) -> Tuple[int, bytes]:
    """Status and text of an exception that the host did not mean."""
    if isinstance(error, _Missing):
        return Status.EXPORT_NOT_FOUND, str(error).encode()
    _callbacks.keep(error, "%s of %s raised", name, interface.name)
    if interface.shows_errors:
        return Status.RUNTIME, _callbacks.describe(error)
    return Status.RUNTIME, f"{name} of the host failed".encode()


def _ask(core: Core, interface: Interface, call: Any) -> Tuple[int, bytes]:
    name = call.function.decode()
    who = Caller(call.caller.decode(), call.handle)
    function = None
    entered = _caller.set(who)
    try:
        function = core.imports.find(core, who, (call.interface.decode(), name))
        method = interface.method(name)
        result = method(*function.arguments(ctypes.string_at(call.args_json, call.args_len)))
        if isinstance(result, concurrent.futures.Future):
            _answer_later(core, interface, name, function, call.token, result)
            return _ANSWERS_LATER, b""
        if python.isawaitable(result):
            future = _scheduled(interface, name, result)
            _answer_later(core, interface, name, function, call.token, future)
            return _ANSWERS_LATER, b""
        return Status.OK, function.answer(result)
    except ResultError as error:
        return _refused(interface, function, error.value)
    except BaseException as error:
        return _failed(interface, name, error)
    finally:
        _caller.reset(entered)


def _scheduled(
    interface: Interface, name: str, result: Awaitable[Any]
) -> concurrent.futures.Future[Any]:
    loop = interface.loop
    if loop is None or loop.is_closed():
        if python.iscoroutine(result):
            result.close()
        raise RuntimeError(
            f"{name} is asynchronous, and the engine was not made inside of a running event loop"
        )

    async def wait() -> Any:
        return await result

    return asyncio.run_coroutine_threadsafe(wait(), loop)


def _answer_later(
    core: Core,
    interface: Interface,
    name: str,
    function: _Function,
    token: int,
    future: concurrent.futures.Future[Any],
) -> None:
    def answer(done: concurrent.futures.Future[Any]) -> None:
        status: int
        try:
            status, data = Status.OK, function.answer(done.result())
        except ResultError as error:
            status, data = _refused(interface, function, error.value)
        except BaseException as error:
            status, data = _failed(interface, name, error)
        pointer, size = _convert.c_buffer(data)
        try:
            core.run(lib.airssys_engine_answer, token, status, pointer, size)
        except (RequestNotFound, EngineClosed):
            # The component does not wait any longer.
            pass
        except AirssysError as error:
            _callbacks.keep(error, "%s of %s was not answered", name, interface.name)

    future.add_done_callback(answer)


@_callbacks.callback(_ffi.FunctionFn)
def _call(token: int, call: Any, out: int) -> None:
    outer: Tuple[object, ...] = _callbacks.owners()
    status: int = Status.RUNTIME
    try:
        owner, interface = _registry.find(token)
        _callbacks.enter(owner)
        status, data = _ask(cast("Core", owner), interface, call.contents)
        if data:
            _callbacks.write_piece(out, data)
    except BaseException as error:
        # No text: out of memory, or a second Ctrl-C.
        _callbacks.keep(error, "a function of the host could not be answered")
        status = Status.RUNTIME
    finally:
        _callbacks.leave(outer)
    lib.airssys_writer_finish(out, status)
