"""Values of WIT types that Python has no type for."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = ["Err", "Ok", "ResultError", "Some", "Variant"]

_T = TypeVar("_T", covariant=True)


class Variant(NamedTuple):
    """A value of a ``variant``: its case, and the payload if the case has one.

    ::

        match shape:
            case Variant("circle", radius): ...
            case Variant("dot"): ...
    """

    #: The case, as WIT spells it.
    name: str
    #: The payload; ``None`` also if the case has none.
    payload: Any = None


@dataclasses.dataclass(frozen=True)
class Some(Generic[_T]):
    """A value of an ``option`` in an ``option``: ``None``, ``Some(None)`` and ``Some(1)`` differ."""

    value: _T


@dataclasses.dataclass(frozen=True)
class Ok(Generic[_T]):
    """A ``result`` without an error, inside of another value."""

    value: _T = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class Err(Generic[_T]):
    """A ``result`` that is an error, inside of another value."""

    value: _T = None  # type: ignore[assignment]


class ResultError(Exception):
    """A function of a component returned the error of its ``result``.

    The component works on. This is no :class:`~airssys_wasm.AirssysError`: the call succeeded.
    """

    #: The error as a Python value; ``None`` if the ``result`` has no value there.
    value: Any

    def __init__(self, value: Any = None) -> None:
        super().__init__(value)
        self.value = value
