"""Converts between Python values and the JSON of typed calls, by the types of a component."""

from __future__ import annotations

import array
import binascii
import dataclasses
import keyword
import math
import struct
import sys
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from airssys_wasm.errors import InvalidArgument
from airssys_wasm.values import Err, Ok, Some, Variant

#: Makes JSON of a value. The list collects the resources that are passed on.
Write = Callable[[Any, List[Any]], Any]
#: Makes a value of JSON. The second argument is the component that it came from.
Read = Callable[[Any, Any], Any]

#: How ``array`` names the elements of lists that have a packed form.
_CODES = {
    "s8": "b",
    "u8": "B",
    "s16": "h",
    "u16": "H",
    "s32": "i",
    "u32": "I",
    "s64": "q",
    "u64": "Q",
    "f32": "f",
    "f64": "d",
}

#: From this length on, packing a list of integers is faster than its digits.
_LONG = 32

_BIG_ENDIAN = sys.byteorder == "big"
_ONE_F32 = struct.Struct("<f")


def snake(name: str) -> str:
    """A WIT name as Python spells names."""
    return name.replace("-", "_")


def attribute(name: str) -> str:
    """A WIT name as Python can write it: a keyword has a ``_`` behind it."""
    name = snake(name)
    return f"{name}_" if keyword.iskeyword(name) else name


def _base64(data: Any) -> str:
    view = memoryview(data)
    if not view.c_contiguous:
        data = view.tobytes()
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _write_float(value: Any, taken: List[Any]) -> Any:
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"expected a number, got {value!r}")
    if value is None:
        # The library says where.
        return None
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def _read_f64(value: Any, home: Any) -> float:
    return float(value)


def _read_f32(value: Any, home: Any) -> float:
    # JSON has the shortest digits that identify an f32; the value itself has more.
    number: float = _ONE_F32.unpack(_ONE_F32.pack(float(value)))[0]
    return number


def _write_bytes(value: Any, taken: List[Any]) -> Any:
    if isinstance(value, str):
        raise TypeError("a list<u8> is bytes, not a str")
    if isinstance(value, (list, tuple)):
        return value
    return _base64(value)


def _read_bytes(value: Any, home: Any) -> bytes:
    return binascii.a2b_base64(value)


def _packed(value: Any, code: str) -> Optional[str]:
    """The base64 of an object with a buffer of such elements."""
    try:
        view = memoryview(value)
    except TypeError:
        return None
    form = view.format.lstrip("@=<")
    # C's names of integers differ by platform; sign and size say what they are.
    kinds = ("bhilq", "BHILQ", "f", "d", "?")
    kind = next((kind for kind in kinds if code in kind), "")
    size = 1 if code == "?" else array.array(code).itemsize
    if form and form in kind and view.itemsize == size and not _BIG_ENDIAN:
        return _base64(view)
    return None


def _plain_list(value: Any) -> Any:
    """A list for JSON of something with elements."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (str, Mapping)):
        raise TypeError(f"expected a list, got {value!r}")
    unpacked = getattr(value, "tolist", None)
    return list(value) if unpacked is None else unpacked()


def _numbers(name: str) -> Tuple[Write, Read]:
    code = _CODES[name]
    is_float = name in ("f32", "f64")

    def write(value: Any, taken: List[Any]) -> Any:
        if type(value) is not list and type(value) is not tuple:
            packed = _packed(value, code)
            if packed is not None:
                return packed
            value = _plain_list(value)
        # Every double is one, but not every double is a float of half the size.
        if len(value) >= _LONG and name != "f32" and not _BIG_ENDIAN:
            try:
                return _base64(array.array(code, value))
            except (TypeError, OverflowError):
                # The library says which element it is.
                pass
        return [_write_float(element, taken) for element in value] if is_float else value

    def read(value: Any, home: Any) -> List[Any]:
        if type(value) is list:
            # Not packed, as in the calls of a component.
            return [_PRIMITIVES[name].to_value(one, home) for one in value] if is_float else value
        elements = array.array(code, binascii.a2b_base64(value))
        if _BIG_ENDIAN:
            elements.byteswap()
        return elements.tolist()

    return write, read


def _write_bools(value: Any, taken: List[Any]) -> Any:
    return _packed(value, "?") or _plain_list(value)


def _read_bools(value: Any, home: Any) -> List[bool]:
    if type(value) is list:
        return value
    return [byte != 0 for byte in binascii.a2b_base64(value)]


def _list(write: Optional[Write], read: Optional[Read]) -> Tuple[Write, Optional[Read]]:
    def write_list(value: Any, taken: List[Any]) -> Any:
        if write is None:
            return _plain_list(value)
        return [write(element, taken) for element in _plain_list(value)]

    def read_list(value: Any, home: Any) -> List[Any]:
        assert read is not None
        return [read(element, home) for element in value]

    return write_list, None if read is None else read_list


def _tuple(parts: List[Converter]) -> Tuple[Write, Read]:
    def write(value: Any, taken: List[Any]) -> Any:
        values = _plain_list(value)
        out = [part.to_json(one, taken) for part, one in zip(parts, values)]
        # The library says how many were expected.
        return out + [0] * (len(values) - len(parts))

    def read(value: Any, home: Any) -> Tuple[Any, ...]:
        return tuple([part.to_value(one, home) for part, one in zip(parts, value)])

    return write, read


def _fields_of(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: getattr(value, field.name) for field in fields}
    as_dict = getattr(value, "_asdict", None)
    if as_dict is None:
        raise TypeError(f"expected a mapping or a dataclass, got {value!r}")
    found: Mapping[Any, Any] = as_dict()
    return found


def _record(fields: List[Tuple[str, Converter]]) -> Tuple[Write, Read]:
    by_name = {snake(name): (name, part) for name, part in fields}
    by_name.update({name: (name, part) for name, part in fields})
    readers = {name: part.read for name, part in fields}
    plain = all(read is None for read in readers.values())

    def write(value: Any, taken: List[Any]) -> Any:
        out: Dict[str, Any] = {}
        for key, one in _fields_of(value).items():
            known = by_name.get(key)
            if known is None:
                # The library names it.
                out[str(key)] = None
            else:
                out[known[0]] = known[1].to_json(one, taken)
        return out

    def read_record(value: Any, home: Any) -> Dict[str, Any]:
        out = {}
        for name, one in value.items():
            read = readers[name]
            out[name] = one if read is None else read(one, home)
        return out

    def read_plain(value: Any, home: Any) -> Any:
        return value

    return write, read_plain if plain else read_record


def _option(inner: Converter, nested: bool) -> Tuple[Write, Optional[Read]]:
    def write(value: Any, taken: List[Any]) -> Any:
        if value is None:
            return None
        if nested:
            return {"some": inner.to_json(value.value if type(value) is Some else value, taken)}
        return inner.to_json(value.value if type(value) is Some else value, taken)

    def read(value: Any, home: Any) -> Any:
        if value is None:
            return None
        return Some(inner.to_value(value["some"], home)) if nested else inner.to_value(value, home)

    return write, read if nested or inner.read else None


def _result(ok: Converter, err: Converter) -> Tuple[Write, Read]:
    def write(value: Any, taken: List[Any]) -> Any:
        if type(value) is Ok:
            return {"ok": ok.to_json(value.value, taken)}
        if type(value) is Err:
            return {"err": err.to_json(value.value, taken)}
        raise TypeError(f"expected Ok(...) or Err(...), got {value!r}")

    def read(value: Any, home: Any) -> Any:
        if "ok" in value:
            return Ok(ok.to_value(value["ok"], home))
        return Err(err.to_value(value["err"], home))

    return write, read


def _variant(cases: List[Tuple[str, Optional[Converter]]]) -> Tuple[Write, Read]:
    by_name = dict(cases)

    def write(value: Any, taken: List[Any]) -> Any:
        if isinstance(value, str):
            return value
        if not isinstance(value, Variant):
            raise TypeError(f"expected Variant(...) or the name of a case, got {value!r}")
        name, payload = value
        case = by_name.get(name)
        if case is None:
            # The library says that there is no such case, or none with a payload.
            return name if payload is None else {name: 0}
        return {name: case.to_json(payload, taken)}

    def read(value: Any, home: Any) -> Variant:
        if isinstance(value, str):
            return Variant(value)
        ((name, payload),) = value.items()
        case = by_name[name]
        return Variant(name, payload if case is None else case.to_value(payload, home))

    return write, read


def _write_flags(value: Any, taken: List[Any]) -> Any:
    if isinstance(value, str):
        raise TypeError(f"flags are a set of names, not the str {value!r}")
    return list(value)


def _read_flags(value: Any, home: Any) -> Any:
    return set(value)


def _own(at: int) -> Tuple[Write, Read]:
    def write(value: Any, taken: List[Any]) -> Any:
        taken.append(value)
        return _write_handle(value, taken)

    def read(value: Any, home: Any) -> Any:
        return home.resource(at, value)

    return write, read


def _write_handle(value: Any, taken: List[Any]) -> Any:
    handle = getattr(value, "_airssys_handle", value)
    if handle is None:
        raise InvalidArgument(f"{value!r} was closed or passed on")
    if type(handle) is not int:
        raise TypeError(f"expected a resource, got {value!r}")
    return handle


class Converter:
    """What a type does in both directions. ``None``: the JSON is the value."""

    __slots__ = ("read", "write")

    def __init__(self, write: Optional[Write] = None, read: Optional[Read] = None) -> None:
        self.write = write
        self.read = read

    def to_json(self, value: Any, taken: List[Any]) -> Any:
        """JSON of a value."""
        return value if self.write is None else self.write(value, taken)

    def to_value(self, value: Any, home: Any) -> Any:
        """The value of JSON."""
        return value if self.read is None else self.read(value, home)


_AS_IS = Converter()
_PRIMITIVES = {
    "f32": Converter(_write_float, _read_f32),
    "f64": Converter(_write_float, _read_f64),
}


class Table:
    """The types of a component, with a converter for each that is used."""

    def __init__(self, entries: List[Dict[str, Any]]) -> None:
        self.entries = entries
        self._converters: Dict[int, Converter] = {}

    def converter(self, type: Any) -> Converter:
        """The converter of a type; ``None`` is the type of no value."""
        if type is None:
            return _AS_IS
        if isinstance(type, str):
            return _PRIMITIVES.get(type, _AS_IS)
        if type not in self._converters:
            self._converters[type] = Converter(*self._make(type))
        return self._converters[type]

    def entry(self, type: Any) -> Dict[str, Any]:
        """The entry of a type; empty for a primitive one."""
        return self.entries[type] if isinstance(type, int) else {}

    def _make(self, at: int) -> Tuple[Optional[Write], Optional[Read]]:
        entry = self.entries[at]
        kind = entry["kind"]
        of = self.converter
        if kind == "list":
            element = entry["type"]
            if element == "u8":
                return _write_bytes, _read_bytes
            if element == "bool":
                return _write_bools, _read_bools
            if element in _CODES:
                return _numbers(element)
            inner = of(element)
            return _list(inner.write, inner.read)
        if kind == "record":
            return _record([(field["name"], of(field["type"])) for field in entry["fields"]])
        if kind == "tuple":
            return _tuple([of(type) for type in entry["types"]])
        if kind == "option":
            nested = self.entry(entry["type"]).get("kind") == "option"
            return _option(of(entry["type"]), nested)
        if kind == "result":
            return _result(of(entry["ok"]), of(entry["err"]))
        if kind == "variant":
            cases = [(case["name"], case.get("type")) for case in entry["cases"]]
            return _variant([(name, None if type is None else of(type)) for name, type in cases])
        if kind == "flags":
            return _write_flags, _read_flags
        if kind == "own":
            return _own(entry["type"])
        if kind == "borrow":
            return _write_handle, None
        return None, None

    def spelled(self, type: Any) -> str:
        """A type in the words of WIT; a name where it has one."""
        if type is None:
            return "_"
        if isinstance(type, str):
            return type
        entry = self.entries[type]
        kind = entry["kind"]
        if entry.get("name"):
            return str(entry["name"])
        if kind in ("own", "borrow"):
            name = str(entry["resource"])
            return name if kind == "own" else f"borrow<{name}>"
        if kind == "tuple":
            return f"tuple<{', '.join(self.spelled(part) for part in entry['types'])}>"
        if kind == "result":
            return f"result<{self.spelled(entry['ok'])}, {self.spelled(entry['err'])}>"
        return f"{kind}<{self.spelled(entry.get('type'))}>"
