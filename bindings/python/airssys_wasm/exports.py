"""The exports of a component as Python objects: interfaces, functions and resources."""

from __future__ import annotations

import _thread
import contextlib
import inspect
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Type

from airssys_wasm import _typed
from airssys_wasm._library import lib
from airssys_wasm._types import attribute
from airssys_wasm.errors import ComponentNotFound, EngineClosed, InvalidArgument

if TYPE_CHECKING:
    from airssys_wasm.component import Component

__all__ = ["Exports", "Function", "Interface", "Resource", "ResourceType"]


class _Docs:
    """A `__doc__` of a class that has its own for each instance."""

    def __init__(self, own: Optional[str]) -> None:
        self._own = own

    def __get__(self, instance: Any, owner: Any = None) -> Optional[str]:
        if instance is None:
            return self._own
        text: str = instance._text()
        return text or None


def _joined(*parts: Optional[str]) -> str:
    return "\n\n".join(part for part in parts if part)


class Function:
    """A function of a component; a call is :meth:`Component.invoke`."""

    __doc__ = _Docs(__doc__)

    def __init__(
        self, component: Component, types: _typed.Types, function: _typed.Function, *bound: Any
    ) -> None:
        self._component = component
        self._types = types
        self._function = function
        self._bound = bound
        self._call = function.document["call"]

    def __call__(
        self,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
        interrupts: bool = False,
        **named: Any,
    ) -> Any:
        return self._component.invoke(
            self._call,
            *self._bound,
            *args,
            timeout=timeout,
            sender=sender,
            interrupts=interrupts,
            **named,
        )

    @property
    def __name__(self) -> str:
        return self._function.name

    @property
    def __signature__(self) -> inspect.Signature:
        document, spelled = self._function.document, self._types.table.spelled
        params = [
            inspect.Parameter(
                _typed.parameter(param["name"]),
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                annotation=spelled(param["type"]),
            )
            for param in document["params"][len(self._bound) :]
        ]
        result = spelled(document["result"]) if document["result"] is not None else None
        return inspect.Signature(params, return_annotation=result)

    def _text(self) -> str:
        head = f"{self._function.name}{_words(self.__signature__)}"
        return _joined(head, self._function.document.get("docs"))

    def __repr__(self) -> str:
        return f"<function {self._call} of {self._component.id}>"


def _words(signature: inspect.Signature) -> str:
    """A signature with types in the words of WIT."""
    each = [f"{param.name}: {param.annotation}" for param in signature.parameters.values()]
    result = signature.return_annotation
    return f"({', '.join(each)})" + ("" if result is None else f" -> {result}")


class _Namespace:
    """Something with functions as attributes."""

    _component: Component
    _types: _typed.Types

    def _functions(self) -> Dict[str, _typed.Function]:
        raise NotImplementedError

    def _function(self, name: str) -> Function:
        function = self._functions().get(name)
        if function is None:
            raise AttributeError(f"{self!r} has no {name!r}; there are: {', '.join(self._names())}")
        return Function(self._component, self._types, function)

    def _names(self) -> List[str]:
        return sorted(self._functions())

    def __dir__(self) -> List[str]:
        return [*super().__dir__(), *self._names()]


class ResourceType(_Namespace):
    """A resource of a component. A call is its constructor; its static functions are attributes."""

    __doc__ = _Docs(__doc__)

    def __init__(
        self, component: Component, types: _typed.Types, info: _typed.ResourceInfo
    ) -> None:
        self._component = component
        self._types = types
        self._info = info

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        constructor = self._info.constructor
        if constructor is None:
            raise TypeError(f"the resource {self._info.name!r} has no constructor")
        return Function(self._component, self._types, constructor)(*args, **named)

    def _functions(self) -> Dict[str, _typed.Function]:
        return self._info.statics

    def __getattr__(self, name: str) -> Function:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._function(name)

    def _text(self) -> str:
        info, parts = self._info, [self._info.document.get("docs")]
        if info.constructor is not None:
            parts.append(Function(self._component, self._types, info.constructor)._text())
        for method in info.methods.values():
            # Bound, so that its signature has no `self`.
            parts.append(Function(self._component, self._types, method, None)._text())
        for static in info.statics.values():
            parts.append(Function(self._component, self._types, static)._text())
        return _joined(*parts)

    def __repr__(self) -> str:
        return f"<resource {self._info.name} of {self._component.id}>"


class Interface(_Namespace):
    """An exported interface: its functions and resources are attributes."""

    __doc__ = _Docs(__doc__)

    def __init__(
        self, component: Component, types: _typed.Types, info: _typed.InterfaceInfo
    ) -> None:
        self._component = component
        self._types = types
        self._info = info

    def _functions(self) -> Dict[str, _typed.Function]:
        return self._info.functions

    def _names(self) -> List[str]:
        return sorted([*self._info.functions, *self._info.resources])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        resource = self._info.resources.get(name)
        if resource is not None and name not in self._info.functions:
            return ResourceType(self._component, self._types, resource)
        return self._function(name)

    def _text(self) -> str:
        members = [getattr(self, name)._text() for name in self._names()]
        return _joined(self._info.document.get("docs"), *members)

    def __repr__(self) -> str:
        return f"<interface {self._info.name} of {self._component.id}>"


class Exports(_Namespace):
    """What a component exports: functions, and interfaces by their last names.

    ::

        component.exports.add(1, 2)
        component.exports.ops.add(1, 2)
        component.exports["docs:calc/ops@0.1.0"].add(1, 2)
    """

    def __init__(self, component: Component, types: _typed.Types) -> None:
        self._component = component
        self._types = types

    def _functions(self) -> Dict[str, _typed.Function]:
        own = self._types.interfaces.get("")
        return {} if own is None else own.functions

    def _interfaces(self) -> Dict[str, List[_typed.InterfaceInfo]]:
        found: Dict[str, List[_typed.InterfaceInfo]] = {}
        for info in self._types.interfaces.values():
            if info.name:
                last = attribute(info.base.rpartition("/")[2])
                found.setdefault(last, []).append(info)
        return found

    def _names(self) -> List[str]:
        own = self._types.interfaces.get("")
        resources = [] if own is None else [*own.resources]
        return sorted({*self._functions(), *self._interfaces(), *resources})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        own = self._types.interfaces.get("")
        if own is not None and (name in own.functions or name in own.resources):
            return getattr(Interface(self._component, self._types, own), name)
        interfaces = self._interfaces().get(name, [])
        if len(interfaces) == 1:
            return Interface(self._component, self._types, interfaces[0])
        if interfaces:
            names = ", ".join(info.name for info in interfaces)
            raise AttributeError(f"{name!r} could be each of these, name one with []: {names}")
        return self._function(name)

    def __getitem__(self, name: str) -> Interface:
        """An interface by its full name, whose version may be left out."""
        info = self._types.interface(name)
        if info is None:
            names = ", ".join(name for name in self._types.interfaces if name)
            raise KeyError(f"no interface {name!r}; there are: {names}")
        return Interface(self._component, self._types, info)

    def __repr__(self) -> str:
        return f"<exports of {self._component.id}: {', '.join(self._names())}>"


class Resource:
    """A resource of a component, returned by its functions; its methods are attributes.

    It belongs to one instance of the component, and ends with it. :meth:`close` drops it at once; so
    does the end of a ``with`` block. Without either it is dropped some time after its last use. A
    method that has the name of one of this class is called with ``resource["close"]()``.
    """

    _airssys_handle: Optional[int] = None

    def __init__(
        self, component: Component, types: _typed.Types, at: int, handle: int
    ) -> None:
        self._component = component
        self._types = types
        self._info = types.resources.get(at) or _typed.ResourceInfo(types.table.entries[at])
        self._airssys_handle = handle

    @property
    def closed(self) -> bool:
        """Whether it was dropped, or passed on to the component."""
        return self._airssys_handle is None

    def close(self) -> None:
        """Drops the resource, unless that has happened; waits until the component has done so.

        :raises Trap: the component crashed meanwhile. Other errors are those of
            :meth:`Component.invoke <airssys_wasm.Component.invoke>`.
        """
        handle, self._airssys_handle = self._airssys_handle, None
        if handle is None:
            return
        # An instance that has ended has dropped it.
        with contextlib.suppress(InvalidArgument, ComponentNotFound, EngineClosed):
            self._component._core.ask(
                lib.airssys_engine_invoke,
                self._component.handle,
                self._info.drop,
                b"[%d]" % handle,
                None,
            )

    def __enter__(self) -> Resource:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        handle, self._airssys_handle = self._airssys_handle, None
        if handle is None:
            return
        # A finalizer runs anywhere, also in a callback, and at the end of the program.
        with contextlib.suppress(Exception):
            drop = self._component._drop_later
            if self._types.blocks:
                # There may be no room for it now.
                _thread.start_new_thread(drop, (self._info.drop, handle))
            else:
                drop(self._info.drop, handle)

    def __getitem__(self, name: str) -> Function:
        """A method by its name, also one that this class has too."""
        method = self._info.methods.get(attribute(name))
        if method is None:
            names = ", ".join(sorted(self._info.methods))
            raise KeyError(f"the resource {self._info.name!r} has no {name!r}; there are: {names}")
        return Function(self._component, self._types, method, self)

    def __getattr__(self, name: str) -> Function:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __dir__(self) -> List[str]:
        return [*super().__dir__(), *self._info.methods]

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"handle={self._airssys_handle}"
        return f"<{self._info.name} of {self._component.id} {state}>"
