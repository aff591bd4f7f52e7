"""Requests: messages with an outcome that a future or a callback receives."""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Generator, Optional, TypeVar

from airssys_wasm import _callbacks, _core, _registry
from airssys_wasm._library import lib
from airssys_wasm.errors import Cancelled, EngineStopped, Forked, RequestNotFound, Status

if TYPE_CHECKING:
    from airssys_wasm.engine import Engine

__all__ = ["Request", "TypedRequest"]

_R = TypeVar("_R", bound="Request")


class Request(concurrent.futures.Future["Optional[bytes]"]):
    """A message and its outcome, as a :class:`concurrent.futures.Future`.

    :meth:`Component.request <airssys_wasm.Component.request>` returns it. A request has exactly one
    outcome: the reply (``b""`` is an empty reply, ``None`` is no reply), an
    :class:`~airssys_wasm.AirssysError`, or the end by :meth:`cancel`. An open request keeps the
    engine alive; the program need not keep a reference to the request.

    With asyncio, ``await`` works too. A cancelled task cancels the request.

    Callbacks of :meth:`add_done_callback` usually run on a thread of the engine. They may use the
    engine, but must not close it or shut it down.

    In the child of a ``fork`` an open request ends with :class:`~airssys_wasm.Forked`. Its callbacks
    do not run there: they belong to the parent, which gets the outcome.
    """

    def __init__(self, engine: Engine, core: _core.Core) -> None:
        super().__init__()
        self._engine: Optional[Engine] = engine
        self._core = core
        self._id = 0
        # Two threads that cancel at once must both get True.
        self._cancelling = threading.RLock()
        self._is_cancelled = False

    @property
    def request_id(self) -> int:
        """Its number within the engine, never reused."""
        return self._id

    def result(self, timeout: Optional[float] = None) -> Optional[bytes]:
        """Waits for the outcome; returns the reply or raises the error.

        :param timeout: seconds to wait. After them the method raises
            :class:`concurrent.futures.TimeoutError`, and the request goes on. The request's deadline
            is the ``timeout`` that it was made with; its outcome then is
            :class:`~airssys_wasm.Timeout`.
        :raises Cancelled: :meth:`cancel` ended it.
        """
        try:
            return super().result(timeout)
        except concurrent.futures.CancelledError as error:
            raise self._cancelled_error() from error

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """Waits for the outcome; returns the error, or ``None`` for a reply.

        The parameter is that of :meth:`result`, as are :class:`concurrent.futures.TimeoutError` and
        :class:`~airssys_wasm.Cancelled`.
        """
        try:
            return super().exception(timeout)
        except concurrent.futures.CancelledError as error:
            raise self._cancelled_error() from error

    def cancel(self) -> bool:
        """Cancels the request, unless it has its outcome. Returns whether it is cancelled.

        The component still handles the message and its reply is dropped, unless the request was made
        with ``interrupts``: then a waiting message is taken back, and a message being handled is
        interrupted.
        """
        with self._cancelling:
            if self._is_cancelled or self.done():
                return self._is_cancelled
            try:
                self._core.run(lib.airssys_engine_cancel, self._id)
            except (RequestNotFound, EngineStopped):
                # The outcome exists, and may not have arrived here yet.
                return False
            self._is_cancelled = True
        self._end_cancelled()
        return True

    def __await__(self) -> Generator[Any, None, Optional[bytes]]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    def _cancelled_error(self) -> Cancelled:
        return Cancelled(f"request {self._id} was cancelled", detail={"request": self._id})

    def _end_cancelled(self) -> None:
        self._engine = None
        super().cancel()
        # Only this makes `concurrent.futures.wait` count it as done.
        self.set_running_or_notify_cancel()

    def _complete(self, completion: Any) -> None:
        """Takes the borrowed outcome; `None` means that an interrupt may have lost it."""
        if self.done() and completion is None:
            return
        reply: Any = None
        error: Optional[BaseException] = None
        try:
            if completion is None:
                raise EngineStopped("the engine was closed; an interrupt lost the outcome")
            self._id = completion.request
            if completion.status == Status.CANCELLED:
                # :meth:`cancel` has usually done this, unless Ctrl-C interrupted it.
                with self._cancelling:
                    known, self._is_cancelled = self._is_cancelled, True
                return None if known else self._end_cancelled()
            if completion.status:
                error = _core.read_error(completion.error, completion.status)
            else:
                reply = self._read(completion)
        except Exception as broken:
            # For instance, no memory for the reply.
            error = broken
        # Before the waiting threads continue: they may expect the engine to be garbage.
        self._engine = None
        if error is None:
            self.set_result(reply)
        else:
            self.set_exception(error)


    def _read(self, completion: Any) -> Any:
        """The value of a borrowed reply."""
        if not completion.reply:
            return None
        return ctypes.string_at(completion.reply, completion.reply_len)

    def _end_in_child(self) -> None:
        future: Any = self
        # A thread of the parent may have held the old locks.
        future._condition, future._cancelling = threading.Condition(), threading.RLock()
        future._waiters, future._done_callbacks = [], []
        if not self.done():
            self.set_exception(Forked(f"request {self._id} belongs to the parent process"))


class TypedRequest(Request):
    """A typed call and its outcome, returned by :meth:`Component.invoke_request
    <airssys_wasm.Component.invoke_request>`.

    It is a :class:`Request` whose reply is the function's result as a Python value. The error of a
    ``result`` is the exception :class:`~airssys_wasm.ResultError`.
    """

    def __init__(
        self, engine: Engine, core: _core.Core, decode: Callable[[Optional[bytes]], Any]
    ) -> None:
        super().__init__(engine, core)
        self._decode: Optional[Callable[[Optional[bytes]], Any]] = decode

    def result(self, timeout: Optional[float] = None) -> Any:
        """Waits for the outcome; returns the value or raises the error, as :meth:`Request.result`."""
        return super().result(timeout)

    def __await__(self) -> Generator[Any, None, Any]:
        return super().__await__()

    def _read(self, completion: Any) -> Any:
        decode, self._decode = self._decode, None
        assert decode is not None
        return decode(super()._read(completion))


def _end_in_child() -> None:
    for complete in _registry.take_expected():
        complete.__self__._end_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_child)


def make(engine: Engine, core: _core.Core, function: Any, *arguments: Any) -> Request:
    """Makes a request; the last parameters of `function` are those of a completion."""
    return submit(Request(engine, core), core, function, *arguments)


def submit(request: _R, core: _core.Core, function: Any, *arguments: Any) -> _R:
    """Makes the request that the object stands for; see :func:`make`."""
    token = _registry.expect(core, request._complete)
    out = ctypes.c_uint64()
    try:
        core.run(function, *arguments, _callbacks.completed, token, ctypes.byref(out))
    finally:
        if out.value:
            request._id = out.value
        else:
            # Not accepted, so no outcome follows.
            _registry.forget_request(token)
    return request
