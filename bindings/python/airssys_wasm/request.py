"""Requests: messages whose outcome is fetched later, or comes to a callback."""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any, Generator, Optional

from airssys_wasm import _callbacks, _core, _registry
from airssys_wasm._library import lib
from airssys_wasm.errors import Cancelled, EngineStopped, Forked, RequestNotFound, Status

if TYPE_CHECKING:
    from airssys_wasm.engine import Engine

__all__ = ["Request"]


class Request(concurrent.futures.Future["Optional[bytes]"]):
    """A message under way to a component, and its outcome: a :class:`concurrent.futures.Future`.

    :meth:`Component.request <airssys_wasm.Component.request>` makes it. There is exactly one
    outcome: the reply (``b""`` is an empty one, ``None`` is none at all), an
    :class:`~airssys_wasm.AirssysError`, or the end by :meth:`cancel`. It keeps the engine alive
    until then, and needs no variable that holds it.

    With asyncio, ``await`` works too; a task that is cancelled cancels the request.

    Callbacks of :meth:`add_done_callback` usually run on a thread of the engine. They may use the
    engine, but not close it or shut it down.

    In the child of a ``fork`` an open request ends as :class:`~airssys_wasm.Forked`, without a
    call of its callbacks: they are the parent's, where the outcome comes.
    """

    def __init__(self, engine: Engine, core: _core.Core) -> None:
        super().__init__()
        self._engine: Optional[Engine] = engine
        self._core = core
        self._id = 0
        # Of two who cancel at once, both are told that it is cancelled.
        self._cancelling = threading.RLock()
        self._is_cancelled = False

    @property
    def request_id(self) -> int:
        """What names it within its engine; never used again for another."""
        return self._id

    def result(self, timeout: Optional[float] = None) -> Optional[bytes]:
        """Waits for the outcome, and returns the reply or raises the error.

        :param timeout: seconds to wait, after which :class:`concurrent.futures.TimeoutError` is
            raised and the request goes on. The request's own time limit is the ``timeout`` that it
            was made with; its end is :class:`~airssys_wasm.Timeout`.
        :raises Cancelled: :meth:`cancel` ended it.
        """
        try:
            return super().result(timeout)
        except concurrent.futures.CancelledError as error:
            raise self._cancelled_error() from error

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """Waits for the outcome, and returns the error; ``None`` if there is a reply.

        The parameter and what is raised are those of :meth:`result`.
        """
        try:
            return super().exception(timeout)
        except concurrent.futures.CancelledError as error:
            raise self._cancelled_error() from error

    def cancel(self) -> bool:
        """Ends the request, unless it has its outcome; says whether it is cancelled.

        The component still handles the message, if it has not yet; its reply is dropped.
        """
        with self._cancelling:
            if self._is_cancelled or self.done():
                return self._is_cancelled
            try:
                self._core.run(lib.airssys_engine_cancel, self._id)
            except (RequestNotFound, EngineStopped):
                # It has its outcome, which may still be on its way here.
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
        # Only now does `concurrent.futures.wait` take it for done.
        self.set_running_or_notify_cancel()

    def _complete(self, completion: Any) -> None:
        """Takes over the outcome, which is only lent; `None`: an interrupt may have lost it."""
        if self.done() and completion is None:
            return
        reply: Optional[bytes] = None
        error: Optional[BaseException] = None
        try:
            if completion is None:
                raise EngineStopped("the engine was closed, and the outcome interrupted")
            self._id = completion.request
            if completion.status == Status.CANCELLED:
                # Usually done by :meth:`cancel`, unless Ctrl-C came in between.
                with self._cancelling:
                    known, self._is_cancelled = self._is_cancelled, True
                return None if known else self._end_cancelled()
            if completion.status:
                error = _core.read_error(completion.error, completion.status)
            elif completion.reply:
                reply = ctypes.string_at(completion.reply, completion.reply_len)
        except Exception as broken:
            # A reply that there is no memory for, for instance.
            error = broken
        # Before those who wait run on: they may want the engine to be closed.
        self._engine = None
        if error is None:
            self.set_result(reply)
        else:
            self.set_exception(error)


    def _end_in_child(self) -> None:
        future: Any = self
        # A thread that the child does not have may have held them.
        future._condition, future._cancelling = threading.Condition(), threading.RLock()
        future._waiters, future._done_callbacks = [], []
        if not self.done():
            self.set_exception(Forked(f"request {self._id} belongs to the parent process"))


def _end_in_child() -> None:
    for complete in _registry.take_expected():
        complete.__self__._end_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_child)


def make(engine: Engine, core: _core.Core, function: Any, *arguments: Any) -> Request:
    """Makes a request with a function whose last parameters are those of a completion."""
    request = Request(engine, core)
    token = _registry.expect(core, request._complete)
    out = ctypes.c_uint64()
    try:
        core.run(function, *arguments, _callbacks.completed, token, ctypes.byref(out))
    finally:
        if out.value:
            request._id = out.value
        else:
            # Not accepted: there will be no outcome.
            _registry.forget_request(token)
    return request
