"""The types of a component as annotations: what a value is, and what may be given for it."""

from __future__ import annotations

import json
import keyword
from typing import Any, Dict, List, Optional, Set, Tuple

from airssys_wasm._types import Table, attribute, snake

_PRIMITIVES = {"bool": "bool", "char": "str", "string": "str", "f32": "float", "f64": "float"}

#: A function or field of such a name hides the type of Python in the rest of its class.
_BUILTINS = ("array", "bool", "bytearray", "bytes", "float", "int", "memoryview", "str")

#: Names that the text of stubs uses itself.
RESERVED = (
    "Answer Any Awaitable Component Err Exports Future Iterable List Literal Ok Optional Protocol "
    "Set Some Tuple Type TypedDict TypeVar Union Variant array cast exports overload"
).split()


def pascal(name: str) -> str:
    """A WIT name as Python names classes."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))


def literal(names: List[str]) -> str:
    """The type of these texts."""
    return f"Literal[{', '.join(map(json.dumps, names))}]"


class Names:
    """Names of classes, each given once."""

    def __init__(self) -> None:
        self._taken: Set[str] = set(RESERVED)

    def new(self, *wanted: str) -> str:
        """The first of the names that is free, else the last with a number."""
        for name in wanted:
            name = f"{name}_" if keyword.iskeyword(name) else name
            if name not in self._taken:
                break
        at, base = 2, name
        while name in self._taken:
            name, at = f"{base}{at}", at + 1
        self._taken.add(name)
        return name


class Annotations:
    """Spells types; what they need defined before is collected in ``lines``."""

    def __init__(self, table: Table, names: Names, functions: Set[str]) -> None:
        self.table = table
        self._functions = functions
        self.names = names
        self.lines: List[str] = []
        #: The classes of resources, by their place in the table.
        self.resources: Dict[int, str] = {}
        self._hidden = {name for name in self._members() if name in _BUILTINS}
        self._values: Dict[int, str] = {}
        self._inputs: Dict[int, str] = {}

    def _members(self) -> Set[str]:
        fields = {
            snake(field["name"])
            for entry in self.table.entries
            for field in entry.get("fields", [])
        }
        return fields | self._functions

    def aliases(self) -> List[str]:
        """Second names for the types that are hidden."""
        return [f"_{name} = {name}" for name in sorted(self._hidden)]

    def builtin(self, name: str) -> str:
        """A type of Python where it may be hidden."""
        return f"_{name}" if name in self._hidden else name

    def _bytes(self) -> str:
        whole = self.builtin("int")
        plain = ", ".join(map(self.builtin, ("bytes", "bytearray", "memoryview")))
        array = self.builtin("array")
        return f'Union[{plain}, List[{whole}], Tuple[{whole}, ...], "{array}[{whole}]"]'

    def value(self, type: Any) -> str:
        """What Python gets."""
        return self._spelled(type, False)

    def input(self, type: Any) -> str:
        """What Python may give."""
        return self._spelled(type, True)

    def name_for(self, entry: Dict[str, Any]) -> str:
        """A class for a named type; one of the same name in another interface has its own."""
        within = str(entry.get("interface") or "").partition("@")[0].rpartition("/")[2]
        name = pascal(entry["name"])
        return self.names.new(name, pascal(within) + name)

    def _spelled(self, type: Any, is_input: bool) -> str:
        if type is None:
            return "None"
        if isinstance(type, str):
            return self.builtin(_PRIMITIVES.get(type, "int"))
        known = self._inputs if is_input else self._values
        if type not in known:
            known[type] = self._make(type, is_input)
        return known[type]

    def _make(self, at: int, is_input: bool) -> str:
        entry = self.table.entries[at]
        kind = entry["kind"]

        def of(type: Any) -> str:
            return self._spelled(type, is_input)

        if kind == "list":
            if entry["type"] == "u8":
                return self._bytes() if is_input else self.builtin("bytes")
            return f"{'Iterable' if is_input else 'List'}[{of(entry['type'])}]"
        if kind == "tuple":
            return f"Tuple[{', '.join(of(type) for type in entry['types'])}]"
        if kind == "option":
            nested = self.table.entry(entry["type"]).get("kind") == "option"
            inner = of(entry["type"])
            return f"Optional[Some[{inner}]]" if nested else f"Optional[{inner}]"
        if kind == "result":
            return f"Union[Ok[{of(entry['ok'])}], Err[{of(entry['err'])}]]"
        if kind in ("own", "borrow"):
            name = self.resources.get(entry["type"])
            # A class that is defined further below.
            return "Any" if name is None else f'"{name}"'
        if kind in ("enum", "flags", "variant", "record"):
            return getattr(self, f"_{kind}")(at, entry, is_input)  # type: ignore[no-any-return]
        return "Any"

    def _enum(self, at: int, entry: Dict[str, Any], is_input: bool) -> str:
        other = (self._values if is_input else self._inputs).get(at)
        if other is not None:
            return other
        name = self.name_for(entry)
        self.lines += [f"{name} = {literal([case['name'] for case in entry['cases']])}", ""]
        return name

    def _flags(self, at: int, entry: Dict[str, Any], is_input: bool) -> str:
        if is_input:
            # The names of the flags are those of the value.
            return self.value(at).replace("Set[", "Iterable[", 1)
        name = self.name_for(entry)
        self.lines += [f"{name} = {literal([flag['name'] for flag in entry['flags']])}", ""]
        return f"Set[{name}]"

    def _variant(self, at: int, entry: Dict[str, Any], is_input: bool) -> str:
        cases = [(case["name"], case.get("type")) for case in entry["cases"]]
        if is_input:
            plain = [name for name, type in cases if type is None]
            value = self.value(at)
            return f"Union[{value}, {literal(plain)}]" if plain else value
        shown = [name if type is None else f"{name}({self.value(type)})" for name, type in cases]
        name = self.name_for(entry)
        self.lines += [f"#: {' | '.join(shown)}", f"{name} = Variant", ""]
        return name

    def _record(self, at: int, entry: Dict[str, Any], is_input: bool) -> str:
        fields = [(field["name"], field["type"]) for field in entry["fields"]]
        if not is_input:
            spelled = [(name, self.value(type)) for name, type in fields]
            name = self.name_for(entry)
            self._typed_dict(name, spelled)
            return name
        value = self.value(at)
        given = [(snake(name), self.input(type)) for name, type in fields]
        left_out = [self.table.entry(type).get("kind") == "option" for _, type in fields]
        accepted = [value]
        if any(left_out) or given != [(name, self.value(type)) for name, type in fields]:
            accepted.append(self._input_dict(value, given, left_out))
        if not any(keyword.iskeyword(name) for name, _ in given):
            accepted.append(self._dataclass(value, given))
        if len(accepted) == 1:
            return value
        name = self.names.new(f"{value}Like")
        self.lines += [f"{name} = Union[{', '.join(accepted)}]", ""]
        return name

    def _input_dict(
        self, value: str, given: List[Tuple[str, str]], left_out: List[bool]
    ) -> str:
        name = self.names.new(f"{value}Input")
        needed = [field for field, absent in zip(given, left_out) if not absent]
        others = [field for field, absent in zip(given, left_out) if absent]
        base: Optional[str] = None
        if needed and others:
            base = self.names.new(f"_{value}Required")
            self._typed_dict(base, needed)
        if base is not None:
            rest = self.names.new(f"_{value}Optional")
            self._typed_dict(rest, others, total=False)
            self.lines += [f"class {name}({base}, {rest}):", "    pass", "", ""]
        else:
            self._typed_dict(name, given, total=not others)
        return name

    def _typed_dict(self, name: str, fields: List[Tuple[str, str]], total: bool = True) -> None:
        end = "" if total else ", total=False"
        if all(key.isidentifier() and not keyword.iskeyword(key) for key, _ in fields):
            self.lines.append(f"class {name}(TypedDict{end}):")
            self.lines += [f"    {key}: {type}" for key, type in fields]
            self.lines += ["", ""]
        else:
            self.lines.append(f'{name} = TypedDict("{name}", {{')
            self.lines += [f"    {key!r}: {type}," for key, type in fields]
            self.lines += [f"}}{end})", ""]

    def _dataclass(self, value: str, given: List[Tuple[str, str]]) -> str:
        name = self.names.new(f"{value}Fields")
        self.lines += [f"class {name}(Protocol):", '    """A dataclass or a named tuple."""', ""]
        # After a member of this name the decorator would be it.
        for key, type in sorted(given, key=lambda field: field[0] == "property"):
            self.lines += ["    @property", f"    def {attribute(key)}(self) -> {type}: ...", ""]
        self.lines.append("")
        return name
