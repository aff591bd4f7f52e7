"""The objects that the library calls, by the number in `user_data`.

An engine holds its storage, logger and other objects. This module holds only weak references to
them, so an engine that only they refer to is garbage. Once the engine starts to close, this module
holds them until the library drops them.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

_registered: Dict[int, Callable[[], Optional[Host]]] = {}
_expected: Dict[int, Tuple[object, Callable[[Any], None]]] = {}
_tokens = itertools.count(1)
_ended = False

#: Removes a registration. The library calls it as `drop(user_data)`.
forget_host = _registered.pop


class Gone(Exception):
    """The called object is garbage, or the program has ended."""


class Host:
    """An object that an engine calls, and the engine's core."""

    __slots__ = ("__weakref__", "_token", "owner", "target")

    def __init__(self, owner: object, target: Any) -> None:
        self.owner = owner
        self.target = target
        self._token = next(_tokens)
        _registered[self._token] = weakref.ref(self)

    @property
    def token(self) -> int:
        """Its number."""
        return self._token

    def hold(self) -> None:
        """Holds a strong reference until the library drops the object."""
        if self._token in _registered:
            _registered[self._token] = self._itself

    def let_go(self) -> None:
        """Undoes :meth:`hold`."""
        if self._token in _registered:
            _registered[self._token] = weakref.ref(self)

    def forget(self) -> None:
        """Removes a registration that the library did not accept."""
        _registered.pop(self._token, None)

    def _itself(self) -> Host:
        return self


def find(token: int) -> Tuple[object, Any]:
    """The owner and the target of a number."""
    host = _registered[token]()
    if host is None or _ended:
        raise Gone
    return host.owner, host.target


def expect(owner: object, complete: Callable[[Any], None]) -> int:
    """Registers the callable for the outcome of a request; returns its `user_data`."""
    token = next(_tokens)
    _expected[token] = (owner, complete)
    return token


def expected(token: int) -> Tuple[object, Callable[[Any], None]]:
    """The owner of a request, and the callable for its outcome."""
    if _ended:
        raise Gone
    return _expected[token]


def forget_request(token: int) -> None:
    """Removes a request that needs no outcome any more."""
    _expected.pop(token, None)


def requests_of(owner: object) -> List[Tuple[int, Callable[[Any], None]]]:
    """The open requests of an owner, with the callables for their outcomes."""
    waiting = tuple(_expected.items())
    return [(token, complete) for token, (of, complete) in waiting if of is owner]


def take_expected() -> List[Any]:
    """Removes and returns the callables of all open requests, for a forked child."""
    waiting: List[Any] = [complete for _, complete in _expected.values()]
    _expected.clear()
    return waiting


def end() -> None:
    """Ends all callbacks, at the end of the program."""
    global _ended
    _ended = True
