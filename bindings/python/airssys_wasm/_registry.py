"""What the library may call, found by the number that it hands to a callback.

An engine holds its storage, its logger and the like itself, and this module only knows where they
are: so an engine that these refer to is garbage when nobody else refers to it. From the moment
that the engine is being closed they are held here, until the library has let go of them.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

_registered: Dict[int, Callable[[], Optional[Host]]] = {}
_expected: Dict[int, Tuple[object, Callable[[Any], None]]] = {}
_tokens = itertools.count(1)
_ended = False

#: Takes a registration back; the library calls it as the `drop` of its `user_data`.
forget_host = _registered.pop


class Gone(Exception):
    """Who is called is garbage, or belongs to a program that has ended."""


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
        """Keeps it until the library has let go of it."""
        if self._token in _registered:
            _registered[self._token] = self._itself

    def let_go(self) -> None:
        """Undoes :meth:`hold`."""
        if self._token in _registered:
            _registered[self._token] = weakref.ref(self)

    def forget(self) -> None:
        """Takes back a registration that the library did not accept."""
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
    """Registers what takes the outcome of a request, once; the result is its `user_data`."""
    token = next(_tokens)
    _expected[token] = (owner, complete)
    return token


def expected(token: int) -> Tuple[object, Callable[[Any], None]]:
    """The owner of a request, and what takes its outcome."""
    if _ended:
        raise Gone
    return _expected[token]


def forget_request(token: int) -> None:
    """Nobody waits for that outcome any more."""
    _expected.pop(token, None)


def requests_of(owner: object) -> List[Tuple[int, Callable[[Any], None]]]:
    """What waits for the outcomes of an owner's requests."""
    waiting = tuple(_expected.items())
    return [(token, complete) for token, (of, complete) in waiting if of is owner]


def take_expected() -> List[Any]:
    """The methods that take the outcomes of all open requests: in a forked child none comes."""
    waiting: List[Any] = [complete for _, complete in _expected.values()]
    _expected.clear()
    return waiting


def end() -> None:
    """From now on nobody is called: the program has ended."""
    global _ended
    _ended = True
