"""Mail between engines."""

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

    #: The sender's id, ``namespace/name/instance``.
    source: str
    #: The receiver's id, ``namespace/name/instance``.
    target: str
    #: The message.
    payload: bytes = b""
    #: Whether the sender waits for a reply.
    request: bool = False
    #: For a request: the receiver's ``correlation-id``.
    correlation: Optional[int] = None
    #: For a request: the argument of :meth:`Engine.complete <airssys_wasm.Engine.complete>` and of
    #: :class:`Router.cancel <Router>`. Only the engine that issued it knows it.
    token: Optional[int] = None
    #: For a request: the deadline of the reply, in seconds of Unix time, to the millisecond.
    deadline: Optional[float] = None
    #: The media type of the payload, such as ``application/json``.
    content_type: Optional[str] = None


@runtime_checkable
class Router(Protocol):
    """The engine's way to components elsewhere: any object with this method.

    The methods run on threads that call components and on threads of the engine, several at once
    for different senders. They may use the engine, but must not close it or shut it down. A sending
    component waits until ``route`` returns, so its mail stays in order.

    The engine uses one more method if the object has it when the engine is made::

        # Nobody waits for the reply to this request any more.
        def cancel(self, token: int) -> None: ...
    """

    def route(self, envelope: Envelope) -> None:
        """Takes mail for a component that is not loaded in the engine.

        The router must answer a request with
        :meth:`Engine.complete <airssys_wasm.Engine.complete>`, now or later. Otherwise the request
        ends at its deadline.

        An exception refuses the mail, and its type tells the sender why:
        :class:`~airssys_wasm.ComponentNotFound` for an unknown id,
        :class:`~airssys_wasm.QueueFull` for a full mailbox,
        :class:`~airssys_wasm.InvalidMessage` for a payload that the receiver does not take, any
        other for mail that was not delivered. The sender sees the text of the exception only if the
        engine has ``host_error_texts``; otherwise it goes to the log. The logger ``airssys_wasm``
        records exceptions other than :class:`~airssys_wasm.AirssysError` as errors, with the
        traceback, at most 20 per second.
        """


def read_envelope(envelope: Any) -> Envelope:
    """Copies a borrowed ``airssys_envelope_t``."""
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
    """An ``airssys_envelope_t`` that keeps its pointers alive."""
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
        raise InvalidArgument(f"a deadline must be seconds of Unix time, not {deadline!r}")
    # 0 would mean "no deadline".
    return min(max(round(deadline * 1000), 1), (1 << 64) - 1)
