"""The way to components that are not loaded in an engine, but in another one, wherever that is."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from typing import Any, Optional, Protocol, runtime_checkable

from airssys_wasm import _convert, _ffi
from airssys_wasm.errors import InvalidArgument

__all__ = ["Envelope", "Router"]


@dataclasses.dataclass(frozen=True)
class Envelope:
    """Mail on its way from one engine to another.

    ::

        Envelope("app/shop/0", "app/stock/0", b"how many?", request=True, deadline=time.time() + 1)
    """

    #: Who sent it, ``namespace/name/instance``.
    source: str
    #: Whom it is for, ``namespace/name/instance``.
    target: str
    #: The message itself.
    payload: bytes = b""
    #: Whether somebody waits for the reply.
    request: bool = False
    #: Of a request: what its receiver sees as ``correlation-id``.
    correlation: Optional[int] = None
    #: Of a request: what :meth:`Engine.complete <airssys_wasm.Engine.complete>` takes and
    #: :class:`Router.cancel <Router>` gets; it means something only to the engine that it is from.
    token: Optional[int] = None
    #: Of a request: until when a reply is of use, in seconds of Unix time; to the millisecond.
    deadline: Optional[float] = None
    #: What the payload is, such as ``application/json``.
    content_type: Optional[str] = None


@runtime_checkable
class Router(Protocol):
    """What an engine needs to reach components elsewhere; any object with this method will do.

    The methods are called from the thread that calls a component and from threads of the engine,
    several at once for different senders. They may use the engine, but not close it or shut it
    down. A component that sends waits until ``route`` returns, so that its mail stays in order.

    One more method is used if the object has it when the engine is made::

        # Nobody waits for the answer to that request any more.
        def cancel(self, token: int) -> None: ...
    """

    def route(self, envelope: Envelope) -> None:
        """Takes over mail for a component that is not loaded in the engine.

        A request must be answered with :meth:`Engine.complete <airssys_wasm.Engine.complete>`, now
        or later; one that is not ends at its deadline.

        An exception refuses the mail, and its sender is told: with
        :class:`~airssys_wasm.ComponentNotFound` that nobody has the id, with
        :class:`~airssys_wasm.QueueFull` that there is no room, with
        :class:`~airssys_wasm.InvalidMessage` that the receiver does not take it, with any other
        that it was not delivered. The sender sees the exception's text only if the engine has
        ``host_error_texts``; otherwise it goes to the log. One that is no
        :class:`~airssys_wasm.AirssysError` is also logged, with its traceback, as an error of the
        logger ``airssys_wasm``, 20 in a second at most.
        """


def read_envelope(envelope: Any) -> Envelope:
    """Copies an ``airssys_envelope_t``, which is only lent."""
    size = envelope.payload_len
    content_type = envelope.content_type
    return Envelope(
        envelope.source.decode(),
        envelope.target.decode(),
        ctypes.string_at(envelope.payload, size) if size else b"",
        envelope.kind == _ffi.KIND_REQUEST,
        envelope.correlation or None,
        envelope.token or None,
        envelope.deadline_ms / 1000 if envelope.deadline_ms else None,
        None if content_type is None else content_type.decode("utf-8", "replace"),
    )


def c_envelope(envelope: Envelope) -> _ffi.Envelope:
    """An ``airssys_envelope_t``, which keeps alive what it points to."""
    payload = envelope.payload
    if isinstance(payload, str):
        payload = payload.encode()
    elif not isinstance(payload, bytes):
        payload = memoryview(payload).tobytes()
    content_type = None
    if envelope.content_type is not None:
        content_type = _convert.c_string("content_type", envelope.content_type)
    return _ffi.Envelope(
        size=ctypes.sizeof(_ffi.Envelope),
        source=_convert.c_string("source", envelope.source),
        target=_convert.c_string("target", envelope.target),
        kind=_ffi.KIND_REQUEST if envelope.request else _ffi.KIND_MESSAGE,
        correlation=_convert.unsigned("correlation", envelope.correlation or 0),
        deadline_ms=0 if envelope.deadline is None else _unix_milliseconds(envelope.deadline),
        content_type=content_type,
        payload=ctypes.cast(ctypes.c_char_p(payload), ctypes.c_void_p),
        payload_len=len(payload),
    )


def _unix_milliseconds(deadline: float) -> int:
    if not math.isfinite(deadline):
        raise InvalidArgument(f"a deadline is seconds of Unix time, not {deadline!r}")
    # 0 would be none at all.
    return min(max(round(deadline * 1000), 1), (1 << 64) - 1)
