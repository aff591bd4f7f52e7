"""Writes a module of types for a component: what it exports, and what its host must offer."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from airssys_wasm._stub_types import Annotations, Names, literal, pascal
from airssys_wasm._typed import Function, InterfaceInfo, ResourceInfo, Types, parameter
from airssys_wasm._types import attribute

#: Interfaces that the engine offers or calls itself.
_OWN = ("airssys:", "wasi:")

_HEAD = '''\
"""Types of a component, written by ``python -m airssys_wasm stubs``."""

from __future__ import annotations

from array import array
from concurrent.futures import Future
from typing import (
    Any, Awaitable, Iterable, List, Literal, Optional, Protocol, Set, Tuple, Type, TypedDict,
    TypeVar, Union, cast, overload,
)

from airssys_wasm import Component, Err, Ok, Some, Variant

_T = TypeVar("_T")
#: What a function of the host returns: its result, or what will have it.
Answer = Union[_T, Awaitable[_T], "Future[_T]"]

'''

_TAIL = '''
def exports(component: Component) -> Exports:
    """The exports of a component, with their types."""
    return cast(Exports, component.exports)
'''

#: Members of every resource; a method of such a name is called with ``resource["close"]()``.
_RESOURCE = '''\
    @property
    def closed(self) -> {bool}: ...

    def close(self) -> None: ...

    def __enter__(self) -> {name}: ...

    def __exit__(self, kind: Optional[Type[BaseException]], error: Any, trace: Any) -> None: ...

    def __getitem__(self, name: {str}) -> Any: ...
'''


def stubs(document: Dict[str, Any]) -> str:
    """The text of a module.

    :param document: as :func:`inspect <airssys_wasm.inspect>` returns it.
    """
    return _Stubs(document).text()


def _docstring(text: Optional[str], indent: str) -> List[str]:
    """The docs of a binary are anyone's text: they must not end the literal that they are in."""
    if not text:
        return []
    lines = text.strip().split("\n")
    safe = "\n".join(
        "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line.rstrip())
        for line in (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    )
    one, _, rest = safe.partition("\n")
    if not rest:
        return [f'{indent}"""{one}"""']
    others = [f"{indent}{line}".rstrip() for line in rest.split("\n")]
    return [f'{indent}"""{one}', *others, f'{indent}"""']


class _Stubs:
    def __init__(self, document: Dict[str, Any]) -> None:
        self._document = document
        self._types = Types({**document, "exports": self._foreign("exports")}, 0, False)
        self._names = Names()
        functions = {
            attribute(function["name"].rpartition("]")[2].rpartition(".")[2])
            for side in ("imports", "exports")
            for interface in document[side]
            for function in interface["functions"]
        }
        self._annotations = Annotations(self._types.table, self._names, functions)
        self._body: List[str] = []

    def _foreign(self, side: str) -> List[Dict[str, Any]]:
        return [one for one in self._document[side] if not one["name"].startswith(_OWN)]

    def text(self) -> str:
        for at, resource in self._types.resources.items():
            self._annotations.resources[at] = self._annotations.name_for(resource.document)
        interfaces = [info for info in self._types.interfaces.values() if info.name]
        classes = {info.name: self._class_of(info.name) for info in interfaces}
        for at, resource in self._types.resources.items():
            self._resource(self._annotations.resources[at], resource)
        for info in interfaces:
            self._interface(classes[info.name], info)
        self._exports(classes)
        for interface in self._foreign("imports"):
            if interface["name"] and interface["functions"]:
                self._host(interface)
        definitions = "\n".join([*self._annotations.aliases(), "", *self._annotations.lines])
        return f"{_HEAD}\n{definitions}\n\n" + "\n".join(self._body) + f"\n{_TAIL}"

    def _class_of(self, name: str) -> str:
        last = pascal(name.partition("@")[0].rpartition("/")[2])
        return self._names.new(last, f"{last}Interface")

    def _begin(self, head: str, docs: Optional[str]) -> None:
        self._body += ["", f"class {head}(Protocol):", *_docstring(docs, "    ")]
        if docs:
            self._body.append("")

    def _options(self) -> str:
        """The options of every call."""
        of = self._annotations.builtin
        return (
            f"*, timeout: Optional[{of('float')}] = None, sender: Optional[{of('str')}] = None, "
            f"interrupts: {of('bool')} = False"
        )

    def _function(self, name: str, function: Function, skip: int = 0) -> None:
        document, spell = function.document, self._annotations
        params = [
            f"{parameter(param['name'])}: {spell.input(param['type'])}"
            for param in document["params"][skip:]
        ]
        entry = self._types.table.entry(document["result"])
        result = entry["ok"] if entry.get("kind") == "result" else document["result"]
        self._def(name, [*params, self._options()], spell.value(result), document.get("docs"))

    def _def(self, name: str, params: List[str], result: str, docs: Optional[str]) -> None:
        head = f"    def {name}({', '.join(['self', *params])}) -> {result}:"
        if len(head) > 96:
            lines = [f"    def {name}(", "        self,", *(f"        {one}," for one in params)]
            lines.append(f"    ) -> {result}:")
        else:
            lines = [head]
        text = _docstring(docs, "        ")
        if not text:
            lines[-1] += " ..."
        self._body += [*lines, *text, *(["        ..."] if text else []), ""]

    def _resource(self, name: str, resource: ResourceInfo) -> None:
        self._begin(name, resource.document.get("docs"))
        self._body += _RESOURCE.format(
            name=name, bool=self._annotations.builtin("bool"), str=self._annotations.builtin("str")
        ).split("\n")
        for method in resource.methods.values():
            if method.name not in ("close", "closed"):
                self._function(method.name, method, skip=1)
        self._begin(self._maker(name), None)
        if resource.constructor is not None:
            self._function("__call__", resource.constructor)
        for static in resource.statics.values():
            self._function(static.name, static)
        if resource.constructor is None and not resource.statics:
            self._body += ["    pass", ""]

    @staticmethod
    def _maker(name: str) -> str:
        return f"_{name}Type"

    def _members(self, info: InterfaceInfo) -> List[str]:
        """Writes them, and returns their names."""
        # Properties are first, as a function may hide ``property``.
        shown = []
        for name, resource in info.resources.items():
            if name not in info.functions:
                shown.append(name)
                at = next(at for at, one in self._types.resources.items() if one is resource)
                self._property(name, self._maker(self._annotations.resources[at]))
        for function in info.functions.values():
            self._function(function.name, function)
        return [*info.functions, *shown]

    def _property(self, name: str, type: str) -> None:
        self._body += ["    @property", f"    def {name}(self) -> {type}: ...", ""]

    def _interface(self, name: str, info: InterfaceInfo) -> None:
        self._begin(name, info.document.get("docs"))
        if not self._members(info):
            self._body += ["    pass", ""]

    def _exports(self, classes: Dict[str, str]) -> None:
        self._begin("Exports", None)
        for name, shown in classes.items():
            base = name.partition("@")[0]
            alone = sum(one.partition("@")[0] == base for one in classes) == 1
            spellings = [name, base] if alone and base != name else [name]
            if len(classes) > 1:
                self._body.append("    @overload")
            self._def("__getitem__", [f"name: {literal(spellings)}", "/"], shown, None)
        own = self._types.interfaces.get("")
        taken = [] if own is None else [*own.functions, *own.resources]
        by_last: Dict[str, List[str]] = {}
        for name in classes:
            last = attribute(name.partition("@")[0].rpartition("/")[2])
            by_last.setdefault(last, []).append(name)
        for last, full in by_last.items():
            # Of several with one name, each has to be named with [].
            if len(full) == 1 and last not in taken:
                self._property(last, classes[full[0]])
        members = [] if own is None else self._members(own)
        if not members and not classes:
            self._body += ["    pass", ""]

    def _host(self, interface: Dict[str, Any]) -> None:
        name, spell = interface["name"], self._annotations
        last = pascal(name.partition("@")[0].rpartition("/")[2])
        class_name = self._names.new(f"{last}Host")
        docs = interface.get("docs") or ""
        self._begin(class_name, f"{name}, for ``Engine(interfaces={{...}})``.\n\n{docs}")
        written = False
        for function in interface["functions"]:
            if function["name"].startswith("["):
                # The host offers no resources.
                continue
            written = True
            params = [
                f"{parameter(one['name'])}: {spell.value(one['type'])}"
                for one in function["params"]
            ]
            result = f"Answer[{self._answer(function['result'])}]"
            positional = [*params, "/"] if params else []
            self._def(attribute(function["name"]), positional, result, function.get("docs"))
        if not written:
            self._body += ["    pass", ""]

    def _answer(self, result: Any) -> str:
        """What a function of the host may return."""
        entry, spell = self._types.table.entry(result), self._annotations
        if entry.get("kind") != "result":
            return spell.input(result)
        ok = spell.input(entry["ok"])
        if self._types.table.entry(entry["ok"]).get("kind") == "result":
            return ok
        return f"Union[{ok}, Ok[{ok}], Err[{spell.input(entry['err'])}]]"
