"""The native engine behind an :class:`~airssys_wasm.Engine`: its pointer and who may use it."""

from __future__ import annotations

import _thread
import atexit
import ctypes
import json
import os
import threading
import time
from typing import Any, Callable, List, Optional, Set

from airssys_wasm import _callbacks, _ffi
from airssys_wasm._library import lib
from airssys_wasm.errors import AirssysError, EngineClosed, WouldDeadlock, from_status
from airssys_wasm.events import Event
from airssys_wasm.logs import LogEntry
from airssys_wasm.router import Router
from airssys_wasm.security import AuditRecord
from airssys_wasm.storage import Storage

_call = lib.airssys_engine_call
_interrupts = _callbacks.interrupts

# How long the end of the interpreter waits for calls of daemon threads, in seconds.
_PATIENCE_AT_EXIT = 2.0


def read_error(error: Any, status: int) -> AirssysError:
    """The exception for a status that is not OK; the error is only read."""
    message = lib.airssys_error_message(error) or lib.airssys_status_name(status)
    try:
        detail = json.loads(lib.airssys_error_detail_json(error) or b"{}")
    except ValueError:
        detail = {}
    return from_status(status, message.decode("utf-8", "replace"), detail)


class _Frame:
    """Room for what one native call gives back, made once and used again by later calls."""

    __slots__ = ("_data", "_error", "_reply", "error_at", "reply_at")

    def __init__(self) -> None:
        self._reply = _ffi.Bytes()
        self._error = ctypes.c_void_p()
        # Reads through to the struct, so it need not be made again for each reply.
        self._data = self._reply.data
        self.reply_at = ctypes.addressof(self._reply)
        self.error_at = ctypes.addressof(self._error)

    def __del__(self) -> None:
        # Only for a frame that an interrupt took out of use before it was emptied.
        if self._data:
            lib.airssys_bytes_free(self.reply_at)
        if self._error.value:
            lib.airssys_error_free(self._error)

    def take_reply(self) -> Optional[bytes]:
        """The reply; `None` is "no reply"."""
        data = self._data
        if not data:
            return None
        reply: bytes = data[: self._reply.len]
        lib.airssys_bytes_free(self.reply_at)
        return reply

    def take_error(self, status: int) -> AirssysError:
        """The exception for a status that is not OK."""
        error = self._error
        try:
            return read_error(error, status)
        finally:
            lib.airssys_error_free(error)
            error.value = None

    def check(self, status: int) -> None:
        """Raises unless the status is OK, or if the main thread was interrupted meanwhile."""
        if status:
            error = self.take_error(status)
            _callbacks.raise_interrupt()
            raise error
        _callbacks.raise_interrupt()


class Core:
    """A native engine that is freed exactly once, and never while a thread is inside it.

    A call enters itself in `_active` before it reads the pointer; closing takes the pointer away
    before it looks at `_active`. So each call either finds no engine, or is waited for. Sets and
    lists are safe to change from several threads, which spares every message a lock.
    """

    def __init__(
        self,
        document: bytes,
        storage: Optional[Storage],
        sink: Callable[[LogEntry], None],
        min_level: int,
        events: Optional[Callable[[Event], None]] = None,
        router: Optional[Router] = None,
        audit: Optional[Callable[[AuditRecord], None]] = None,
        audit_sample: int = 0,
    ) -> None:
        self._pointer = 0
        self._owned = 0
        self._active: Set[_Frame] = set()
        self._frames: List[_Frame] = []
        self._left = threading.Event()
        # Reentrant: freeing the engine drops the storage, whose `__del__` may close the engine.
        self._closing = threading.RLock()
        self._pid = os.getpid()
        self._owned = self._create(
            document, storage, sink, min_level, events, router, audit, audit_sample
        )
        self._pointer = self._owned
        _live.add(self)

    def _create(
        self,
        document: bytes,
        storage: Optional[Storage],
        sink: Callable[[LogEntry], None],
        min_level: int,
        events: Optional[Callable[[Event], None]],
        router: Optional[Router],
        audit: Optional[Callable[[AuditRecord], None]],
        audit_sample: int,
    ) -> int:
        frame = _Frame()
        config = ctypes.c_void_p()
        engine = ctypes.c_void_p()
        frame.check(lib.airssys_config_new(ctypes.byref(config), frame.error_at))
        try:
            frame.check(lib.airssys_config_set_json(config, document, frame.error_at))
            if storage is not None:
                stores = _callbacks.storage_table(self, storage)
                self._hand_over(frame, lib.airssys_config_set_storage, config, stores)
            logger = _callbacks.logger_table(self, sink, min_level)
            self._hand_over(frame, lib.airssys_config_set_logger, config, logger)
            if events is not None:
                listens = _callbacks.events_table(self, events)
                self._hand_over(frame, lib.airssys_config_set_events, config, listens)
            if audit is not None:
                audits = _callbacks.audit_table(self, audit, audit_sample)
                self._hand_over(frame, lib.airssys_config_set_audit, config, audits)
            if router is not None:
                routes = _callbacks.router_table(self, router)
                self._hand_over(frame, lib.airssys_config_set_router, config, routes)
            frame.check(lib.airssys_engine_new(config, ctypes.byref(engine), frame.error_at))
        finally:
            lib.airssys_config_free(config)
        assert engine.value is not None
        return engine.value

    @staticmethod
    def _hand_over(frame: _Frame, setter: Any, config: Any, table: Any) -> None:
        status = setter(config, ctypes.byref(table), frame.error_at)
        if status:
            _callbacks.forget(table.user_data)
        frame.check(status)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return not self._pointer

    def _run(self, function: Any, frame: _Frame, *arguments: Any) -> None:
        """Calls `function(engine, *arguments, error)` and raises what it reports."""
        self._active.add(frame)
        try:
            pointer = self._pointer
            if not pointer:
                raise EngineClosed()
            status = function(pointer, *arguments, frame.error_at)
        finally:
            self._active.discard(frame)
            if not self._pointer:
                self._left.set()
        if status or _interrupts:
            frame.check(status)

    def _take_frame(self) -> _Frame:
        try:
            return self._frames.pop()
        except IndexError:
            return _Frame()

    def run(self, function: Any, *arguments: Any) -> None:
        """A function of the engine without a reply."""
        frame = self._take_frame()
        self._run(function, frame, *arguments)
        self._frames.append(frame)

    def call(self, handle: int, data: Any, size: int, options: Any) -> Optional[bytes]:
        """`airssys_engine_call`: :meth:`_run` spelled out, as this is where speed counts."""
        frame = self._take_frame()
        active = self._active
        active.add(frame)
        try:
            pointer = self._pointer
            if not pointer:
                raise EngineClosed()
            status = _call(pointer, handle, data, size, options, frame.reply_at, frame.error_at)
        finally:
            active.discard(frame)
            if not self._pointer:
                self._left.set()
        if status or _interrupts:
            frame.check(status)
        reply = frame.take_reply()
        self._frames.append(frame)
        return reply

    def ask_json(self, function: Any, *arguments: Any) -> Any:
        """A function of the engine whose reply is a JSON document."""
        frame = self._take_frame()
        self._run(function, frame, *arguments, frame.reply_at)
        document = frame.take_reply()
        self._frames.append(frame)
        return json.loads(document or b"null")

    def shutdown(self, timeout_ms: int) -> None:
        """Ends the engine's work; see :meth:`Engine.shutdown`."""
        self._refuse_in_callback("shut down")
        self.run(lib.airssys_engine_shutdown, timeout_ms)

    def close(self, patience: Optional[float] = None) -> None:
        """Frees the engine as soon as no thread is inside it any more.

        `patience` in seconds: after so long, the engine stays unfreed.
        """
        if os.getpid() != self._pid:
            # A forked child has the memory of the engine but none of its threads.
            self._pointer = 0
            return
        self._refuse_in_callback("closed")
        deadline = None if patience is None else time.monotonic() + patience
        if not self._closing.acquire(timeout=-1 if patience is None else patience):
            return
        try:
            self._pointer = 0
            while True:
                self._left.clear()
                if not self._active:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    return
                # With a timeout, because an interrupt can fall between leaving and telling so.
                self._left.wait(0.2)
            owned, self._owned = self._owned, 0
            if owned:
                lib.airssys_engine_free(owned)
                _live.discard(self)
                if _interrupts:
                    _callbacks.complete_interrupted(self)
        finally:
            self._closing.release()
        _callbacks.raise_interrupt()

    def abandon(self) -> None:
        """Closes on another thread, for a finalizer: it runs wherever the collector happens to.

        That may be in a callback of this engine, or under a lock that such a callback wants.
        """
        try:
            _thread.start_new_thread(self.close, ())
        except RuntimeError:
            # No threads any more: the interpreter ends, and so does the engine.
            pass

    def _refuse_in_callback(self, what: str) -> None:
        if _callbacks.is_inside(self):
            raise WouldDeadlock(f"an engine can not be {what} from inside one of its callbacks")


_live: Set[Core] = set()


@atexit.register
def _close_all() -> None:
    """Ends all engines while their threads can still call into the interpreter."""
    for core in tuple(_live):
        core.close(_PATIENCE_AT_EXIT)
