"""Typed calls: the functions of a component, from its document to a call."""

from __future__ import annotations

import ctypes
import json
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from airssys_wasm import _callbacks, _convert
from airssys_wasm._library import lib
from airssys_wasm._types import Converter, Table, attribute
from airssys_wasm.errors import AirssysError, ExportNotFound, InvalidArgument
from airssys_wasm.values import ResultError

if TYPE_CHECKING:
    from airssys_wasm._core import Core
    from airssys_wasm.component import Component

_invoke = lib.airssys_engine_invoke
_inspect = lib.airssys_engine_inspect
_describe = lib.airssys_engine_describe
_loads = json.JSONDecoder().decode
_dumps = json.JSONEncoder(separators=(",", ":")).encode

#: Names of options of a call, and of methods. A parameter of such a name has a ``_`` behind it.
_OPTIONS = ("timeout", "sender", "interrupts", "self")

_INTEGERS = ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64")


def parameter(name: str) -> str:
    """A parameter as Python spells it."""
    name = attribute(name)
    return f"{name}_" if name in _OPTIONS else name


def options(
    watched: bool, timeout: Optional[float], sender: Optional[str], interrupts: bool
) -> Any:
    """The options of a typed call."""
    if timeout is None and sender is None:
        return _watched if watched else _unwatched
    progress = _callbacks.progress if watched else None
    return _convert.message_options(timeout, sender, None, interrupts, progress, packed=True)


_watched = _convert.message_options(None, None, None, False, _callbacks.progress, packed=True)
_unwatched = _convert.message_options(None, None, None, packed=True)


class Function:
    """A function of a component: how its arguments become JSON, and its result a value."""

    __slots__ = ("_by_name", "_decode", "_params", "_plain", "call", "document", "name", "text")

    def __init__(self, document: Dict[str, Any], table: Table) -> None:
        self.document = document
        self.call = document["call"].encode()
        #: As Python spells it.
        self.name = attribute(document["name"].rpartition(".")[2].rpartition("]")[2])
        params = document["params"]
        self._params = [(param["name"], table.converter(param["type"])) for param in params]
        self._by_name = {parameter(name): at for at, (name, _) in enumerate(self._params)}
        self._by_name.update({name: at for at, (name, _) in enumerate(self._params)})
        self._plain = all(converter.write is None for _, converter in self._params)
        self._decode = _decoder(document["result"], table)

    def encode(self, args: Tuple[Any, ...], named: Dict[str, Any], taken: List[Any]) -> bytes:
        """The arguments as JSON; adds the resources that are passed on to ``taken``."""
        if not named:
            if not self._plain and len(args) == len(self._params):
                return _dumps(
                    [
                        value if converter.write is None else converter.write(value, taken)
                        for value, (_, converter) in zip(args, self._params)
                    ]
                ).encode()
            # The library says how many were expected.
            return _dumps(args).encode() if self._plain else _dumps([None] * len(args)).encode()
        given = {at: value for at, value in enumerate(args)}
        for key, value in named.items():
            place = self._by_name.get(key)
            if place is None:
                known = ", ".join(parameter(name) for name, _ in self._params)
                raise TypeError(f"{self.name}() has no parameter {key!r}; there are: {known}")
            if place in given:
                raise TypeError(f"{self.name}() got two values for the parameter {key!r}")
            given[place] = value
        document = {}
        for at, value in given.items():
            if at >= len(self._params):
                raise TypeError(
                    f"{self.name}() takes {len(self._params)} arguments, got {len(given)}"
                )
            name, converter = self._params[at]
            document[name] = converter.to_json(value, taken)
        return _dumps(document).encode()

    def decode(self, reply: Optional[bytes], home: Home) -> Any:
        """The value of a result; raises the error of a ``result``."""
        return self._decode(reply or b"null", home)


def _decoder(type: Any, table: Table) -> Callable[[bytes, Any], Any]:
    entry = table.entry(type)
    if type in _INTEGERS:
        return lambda reply, home: int(reply)
    if entry.get("kind") == "result":
        ok, err = table.converter(entry["ok"]), table.converter(entry["err"])
        return _of_result(ok, err)
    read = table.converter(type).read
    if read is None:
        return lambda reply, home: _loads(reply.decode())

    def decode(reply: bytes, home: Any) -> Any:
        assert read is not None
        return read(_loads(reply.decode()), home)

    return decode


def _of_result(ok: Converter, err: Converter) -> Callable[[bytes, Any], Any]:
    def decode(reply: bytes, home: Any) -> Any:
        value = _loads(reply.decode())
        if "ok" in value:
            return ok.to_value(value["ok"], home)
        raise ResultError(err.to_value(value["err"], home))

    return decode


class ResourceInfo:
    """A resource: its functions by their names in Python, and what drops a handle of it."""

    __slots__ = ("constructor", "document", "drop", "methods", "name", "statics")

    def __init__(self, entry: Dict[str, Any]) -> None:
        self.document = entry
        self.name: str = entry["name"]
        within = entry["interface"]
        self.drop = f"{within}{'#' if within else ''}[resource-drop]{self.name}".encode()
        self.constructor: Optional[Function] = None
        self.methods: Dict[str, Function] = {}
        self.statics: Dict[str, Function] = {}


class InterfaceInfo:
    """An exported interface: its functions and resources by their names in Python."""

    __slots__ = ("document", "functions", "name", "resources")

    def __init__(self, document: Dict[str, Any]) -> None:
        self.document = document
        self.name: str = document["name"]
        self.functions: Dict[str, Function] = {}
        self.resources: Dict[str, ResourceInfo] = {}

    @property
    def base(self) -> str:
        """The name without the version."""
        return self.name.partition("@")[0]


class Types:
    """What a version of a component exports. It holds no engine, so an engine may hold it."""

    def __init__(self, document: Dict[str, Any], version: int, blocks: bool) -> None:
        self.document = document
        self.version = version
        #: Whether a full mailbox makes its senders wait.
        self.blocks = blocks
        self.table = Table(document["types"])
        self.interfaces: Dict[str, InterfaceInfo] = {}
        self.resources: Dict[int, ResourceInfo] = {}
        self._functions: Dict[str, Optional[Function]] = {}
        for interface in document["exports"]:
            self._add(InterfaceInfo(interface))

    def _add(self, info: InterfaceInfo) -> None:
        self.interfaces[info.name] = info
        by_name: Dict[str, ResourceInfo] = {}
        for named in info.document["types"]:
            entry = self.table.entry(named["type"])
            if entry.get("kind") == "resource":
                resource = self.resources.get(named["type"]) or ResourceInfo(entry)
                self.resources[named["type"]] = by_name[named["name"]] = resource
                info.resources[attribute(named["name"])] = resource
        for document in info.document["functions"]:
            function = Function(document, self.table)
            self._functions[document["call"]] = function
            kind, _, rest = document["name"].rpartition("]")
            owner = by_name.get(rest.partition(".")[0]) if kind else None
            if not kind:
                info.functions[function.name] = function
            elif owner is None:
                continue
            elif kind == "[constructor":
                owner.constructor = function
            elif kind == "[method":
                owner.methods[function.name] = function
            else:
                owner.statics[function.name] = function

    def function(self, name: str) -> Optional[Function]:
        """A function by the name of a call; ``None`` if the component has none of this name."""
        try:
            return self._functions[name]
        except KeyError:
            pass
        within, _, function = name.rpartition("#")
        interface = self.interface(within) if within else None
        found = interface and self._functions.get(f"{interface.name}#{function}")
        return found or None

    def interface(self, name: str) -> Optional[InterfaceInfo]:
        """An interface by its name; the version may be left out, or be a compatible one."""
        exact = self.interfaces.get(name)
        if exact is not None or not name:
            return exact
        base, _, version = name.partition("@")
        fit = [info for info in self.interfaces.values() if info.base == base]
        if version:
            fit = [info for info in fit if _track(info.name) == _track(name)]
        return fit[0] if len(fit) == 1 else None


def _track(name: str) -> List[str]:
    """The part of the version of a name that compatible versions share."""
    parts = name.partition("@")[2].split(".")
    return parts[:1] if parts[0] != "0" else parts[:2]


class Home:
    """The component that a value is from, for the resources in it."""

    __slots__ = ("component", "types")

    def __init__(self, component: Component, types: Types) -> None:
        self.component = component
        self.types = types

    def resource(self, at: int, handle: int) -> Any:
        """The resource of a handle."""
        from airssys_wasm.exports import Resource

        return Resource(self.component, self.types, at, handle)


def types_of(component: Component) -> Types:
    """The types of a component, asked for once."""
    core: Core = component._core
    known: Optional[Types] = core.types.get(component.handle)
    if known is None:
        described = core.ask_json(_describe, component.handle)
        document = core.ask_json(_inspect, component.handle)
        blocks = described["mailbox"]["when-full"] == "block"
        known = core.types[component.handle] = Types(document, described["version"], blocks)
    return known


def forget_types(component: Component) -> None:
    """Asks for the types again before the next call."""
    component._core.types.pop(component.handle, None)


def _is_stale(component: Component, types: Types) -> bool:
    """Whether another version has taken over; its types are asked for then."""
    try:
        version = component._core.ask_json(_describe, component.handle)["version"]
    except AirssysError:
        return False
    if version == types.version:
        return False
    forget_types(component)
    return True


_get_ident = threading.get_ident


def call(
    component: Component,
    name: str,
    args: Tuple[Any, ...],
    named: Dict[str, Any],
    timeout: Optional[float],
    sender: Optional[str],
    interrupts: bool,
    watched: bool,
) -> Any:
    """Calls a function by its name and waits for its result."""
    core, handle = component._core, component._handle
    how = options(watched, timeout, sender, interrupts)
    while True:
        types = core.types.get(handle) or types_of(component)
        function = types.function(name)
        taken: List[Any] = []
        try:
            if function is None:
                # The library says which functions there are.
                symbol, text = _convert.c_string("function", name), _dumps(args).encode()
            else:
                symbol, text = function.call, function.encode(args, named, taken)
            reply = core.ask(_invoke, handle, symbol, text, how)
            if function is None:
                return _loads_reply(reply)
        except (InvalidArgument, ExportNotFound, TypeError):
            # Nothing was called.
            if _is_stale(component, types):
                continue
            raise
        return _value(function, reply, taken, Home(component, types))


def prepared(
    component: Component, name: str, args: Tuple[Any, ...], named: Dict[str, Any]
) -> Tuple[Callable[[Optional[bytes]], Any], bytes, bytes]:
    """What makes the value of a reply, and the name and the arguments of a call."""
    types = types_of(component)
    function = types.function(name)
    if function is None and _is_stale(component, types):
        return prepared(component, name, args, named)
    if function is None:
        return _loads_reply, _convert.c_string("function", name), _dumps(args).encode()
    taken: List[Any] = []
    home = Home(component, types)
    known = function

    def decode(reply: Optional[bytes]) -> Any:
        return _value(known, reply, taken, home)

    return decode, function.call, function.encode(args, named, taken)


def _loads_reply(reply: Optional[bytes]) -> Any:
    return _loads((reply or b"null").decode())


def _value(function: Function, reply: Optional[bytes], taken: List[Any], home: Home) -> Any:
    for resource in taken:
        # A plain number has no such attribute.
        if hasattr(resource, "_airssys_handle"):
            resource._airssys_handle = None
    try:
        return function.decode(reply, home)
    except ResultError:
        raise
    except Exception:
        # Perhaps the types of another version than the one that answered.
        _is_stale(home.component, home.types)
        raise
