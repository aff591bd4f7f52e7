"""The native engine behind an :class:`~airssys_wasm.Engine`: its pointer and its lifetime."""

from __future__ import annotations

import _thread
import ctypes
import json
import os
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from airssys_wasm import _callbacks, _convert, _ffi, _live
from airssys_wasm._host_functions import Imports, Interface, interface_table
from airssys_wasm._library import lib
from airssys_wasm._registry import Host
from airssys_wasm.errors import (
    AirssysError,
    EngineClosed,
    Status,
    Timeout,
    WouldDeadlock,
    from_status,
)
from airssys_wasm.events import Event
from airssys_wasm.logs import LogEntry
from airssys_wasm.router import Router
from airssys_wasm.security import AuditRecord
from airssys_wasm.storage import Storage

_call = lib.airssys_engine_call
_interrupts = _callbacks.interrupts


def _add_interface(interface: Interface) -> Callable[..., Any]:
    name = _convert.c_string("the name of an interface", interface.name)

    def add(config: Any, table: Any, error: Any) -> Any:
        return lib.airssys_config_add_interface(config, name, table, error)

    return add


def read_error(error: Any, status: int) -> AirssysError:
    """The exception for a status other than OK. The error is borrowed."""
    message = lib.airssys_error_message(error) or lib.airssys_status_name(status)
    try:
        detail = json.loads(lib.airssys_error_detail_json(error) or b"{}")
    except ValueError:
        detail = {}
    return from_status(status, message.decode("utf-8", "replace"), detail)


class Frame:
    """The outputs of a native call. Later calls reuse it."""

    __slots__ = ("_data", "_error", "_reply", "error_at", "reply_at")

    def __init__(self) -> None:
        self._reply = _ffi.Bytes()
        self._error = ctypes.c_void_p()
        # Reads through to the struct, so all replies share it.
        self._data = self._reply.data
        self.reply_at = ctypes.addressof(self._reply)
        self.error_at = ctypes.addressof(self._error)

    def __del__(self) -> None:
        # Only after an interrupt that came before the frame was emptied.
        if self._data:
            lib.airssys_bytes_free(self.reply_at)
        if self._error.value:
            lib.airssys_error_free(self._error)

    def take_reply(self) -> Optional[bytes]:
        """The reply; `None` is no reply."""
        data = self._data
        if not data:
            return None
        reply: bytes = data[: self._reply.len]
        lib.airssys_bytes_free(self.reply_at)
        return reply

    def take_error(self, status: int) -> AirssysError:
        """The exception for a status other than OK."""
        error = self._error
        try:
            return read_error(error, status)
        finally:
            lib.airssys_error_free(error)
            error.value = None

    def check(self, status: int) -> None:
        """Raises the error, or the interrupt of the main thread, if there is one."""
        if status:
            error = self.take_error(status)
            _callbacks.raise_interrupt()
            raise error
        _callbacks.raise_interrupt()


class Core:
    """A native engine that is freed exactly once, and never while a thread is inside it.

    A call adds itself to `_active` before it reads the pointer. `close` clears the pointer before it
    reads `_active`. So each call either finds no engine, or `close` waits for it. Sets and lists are
    safe to change from several threads, so a message needs no lock.
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
        interfaces: Sequence[Interface] = (),
    ) -> None:
        self._pointer = 0
        self._owned = 0
        #: The objects that the engine calls. Held here, where the collector sees the references.
        self._hosts: List[Host] = []
        self._active: Set[Frame] = set()
        self._frames: List[Frame] = []
        self._left = threading.Event()
        #: What components export, by handle, for typed calls.
        self.types: Dict[int, Any] = {}
        #: What components import, for functions of the host.
        self.imports = Imports()
        # Reentrant: freeing the engine drops the storage, whose `__del__` may close the engine.
        self._closing = threading.RLock()
        self._stopped = False
        self._freed = threading.Event()
        #: The thread that frees the engine.
        self._freeing = 0
        self._pid = os.getpid()
        self._owned = self._create(
            document, storage, sink, min_level, events, router, audit, audit_sample, interfaces
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
        interfaces: Sequence[Interface],
    ) -> int:
        frame = Frame()
        config = ctypes.c_void_p()
        engine = ctypes.c_void_p()
        frame.check(lib.airssys_config_new(ctypes.byref(config), frame.error_at))

        def register(setter: Any, target: Any, make: Callable[[Host], Any]) -> None:
            host = Host(self, target)
            try:
                table = make(host)
                status = setter(config, ctypes.byref(table), frame.error_at)
            except BaseException:
                host.forget()
                raise
            if status:
                host.forget()
            else:
                self._hosts.append(host)
            frame.check(status)

        try:
            frame.check(lib.airssys_config_set_json(config, document, frame.error_at))
            if storage is not None:
                register(lib.airssys_config_set_storage, storage, _callbacks.storage_table)
            register(
                lib.airssys_config_set_logger,
                sink,
                lambda host: _callbacks.logger_table(host, min_level),
            )
            if events is not None:
                register(lib.airssys_config_set_events, events, _callbacks.events_table)
            if audit is not None:
                register(
                    lib.airssys_config_set_audit,
                    audit,
                    lambda host: _callbacks.audit_table(host, audit_sample),
                )
            if router is not None:
                register(lib.airssys_config_set_router, router, _callbacks.router_table)
            for interface in interfaces:
                register(_add_interface(interface), interface, interface_table)
            frame.check(lib.airssys_engine_new(config, ctypes.byref(engine), frame.error_at))
        finally:
            lib.airssys_config_free(config)
        assert engine.value is not None
        return engine.value

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return not self._pointer

    def _run(self, function: Any, frame: Frame, *arguments: Any) -> None:
        """Calls `function(engine, *arguments, error)` and raises its error."""
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

    def _take_frame(self) -> Frame:
        try:
            return self._frames.pop()
        except IndexError:
            return Frame()

    def run(self, function: Any, *arguments: Any) -> None:
        """Calls a function of the engine without a reply."""
        frame = self._take_frame()
        self._run(function, frame, *arguments)
        self._frames.append(frame)

    def run_watched(self, function: Any, *arguments: Any) -> None:
        """As :meth:`run`, but signal handlers of the main thread run meanwhile.

        An exception of a handler ends the wait, not the function.
        """
        is_main = threading.current_thread() is threading.main_thread()
        # The library must see which callback a call comes from.
        if not is_main or _callbacks.is_in_callback():
            self.run(function, *arguments)
            return
        ended = threading.Event()
        errors: List[BaseException] = []

        def run() -> None:
            try:
                self.run(function, *arguments)
            except BaseException as error:
                errors.append(error)
            finally:
                ended.set()

        try:
            _thread.start_new_thread(run, ())
        except RuntimeError:
            # There is no thread for it.
            self.run(function, *arguments)
            return
        ended.wait()
        if errors:
            raise errors[0]

    def call(self, handle: int, data: Any, size: int, options: Any) -> Optional[bytes]:
        """Calls `airssys_engine_call`: :meth:`_run` inlined for speed."""
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

    def ask(self, function: Any, *arguments: Any) -> Optional[bytes]:
        """Calls a function of the engine and returns its reply."""
        frame = self._take_frame()
        self._run(function, frame, *arguments, frame.reply_at)
        reply = frame.take_reply()
        self._frames.append(frame)
        return reply

    def ask_json(self, function: Any, *arguments: Any) -> Any:
        """Calls a function of the engine and parses its JSON reply."""
        return json.loads(self.ask(function, *arguments) or b"null")

    def shutdown(self, timeout_ms: int) -> None:
        """Ends the engine's work; see :meth:`Engine.shutdown`."""
        self._refuse_in_callback("shut down")
        self.run(lib.airssys_engine_shutdown, timeout_ms)

    def close(self, timeout: Optional[float] = None) -> None:
        """Stops and frees the engine; see :meth:`Engine.close`."""
        if os.getpid() != self._pid:
            # A forked child has the memory of the engine but none of its threads.
            self._pointer = 0
            return
        self._refuse_in_callback("closed")
        if self._freeing == _thread.get_ident():
            # In the finalizer of an object that the engine called.
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            with _Within(self._closing, deadline):
                self._stop()
                self._wait_for_calls(deadline)
                self._free(deadline)
        except _TooLate:
            if not self._freed.is_set():
                self.abandon()
            raise Timeout(
                f"calls or callbacks of the engine still ran after {timeout} s; the engine is stopped"
            ) from None
        _callbacks.raise_interrupt()

    def close_at_exit(self, deadline: float) -> None:
        """Frees the engine if its calls and callbacks end by the deadline. Starts no thread."""
        try:
            with _Within(self._closing, deadline):
                self._stop()
                self._wait_for_calls(deadline)
                while not _callbacks.is_quiet(self):
                    if time.monotonic() > deadline:
                        return
                    time.sleep(0.001)
                self._free(None)
        except (_TooLate, WouldDeadlock):
            pass

    def stop_at_exit(self) -> None:
        """Stops the engine, unless another thread is closing it."""
        if os.getpid() == self._pid and self._closing.acquire(blocking=False):
            try:
                self._stop()
            except WouldDeadlock:
                pass
            finally:
                self._closing.release()

    def _stop(self) -> None:
        """Stops the engine. Later calls find no engine."""
        if self._stopped:
            return
        for host in self._hosts:
            host.hold()
        pointer, self._pointer = self._pointer, 0
        frame = Frame()
        status = lib.airssys_engine_shutdown(self._owned, 0, frame.error_at)
        if status == Status.WOULD_DEADLOCK:
            # This is a callback of another engine, and this engine waits for it.
            self._pointer = pointer
            for host in self._hosts:
                host.let_go()
            raise frame.take_error(status)
        self._stopped = True

    def _wait_for_calls(self, deadline: Optional[float]) -> None:
        while True:
            self._left.clear()
            if not self._active:
                return
            # With a timeout: an interrupt can come between leaving and setting the event.
            self._left.wait(min(0.2, _left_of(deadline)))

    def _free(self, deadline: Optional[float]) -> None:
        owned, self._owned = self._owned, 0
        if owned:
            if deadline is None:
                self._free_now(owned)
                return
            try:
                _thread.start_new_thread(self._free_now, (owned,))
            except RuntimeError:
                self._free_now(owned)
        while not self._freed.wait(_left_of(deadline)):
            pass

    def _free_now(self, owned: int) -> None:
        self._freeing = _thread.get_ident()
        try:
            lib.airssys_engine_free(owned)
        finally:
            self._hosts.clear()
            self._freeing = 0
            _live.discard(self)
            if _interrupts:
                _callbacks.complete_interrupted(self)
            self._freed.set()

    def abandon(self) -> None:
        """Closes the engine on another thread, for a finalizer.

        The collector may run a finalizer in a callback of this engine, or under a lock that such a
        callback needs.
        """
        for host in self._hosts:
            host.hold()
        _live.abandon(self)

    def _refuse_in_callback(self, what: str) -> None:
        if _callbacks.is_inside(self):
            raise WouldDeadlock(f"an engine cannot be {what} from one of its callbacks")


class _TooLate(Exception):
    """The timeout of a :meth:`Core.close` has passed."""


def _left_of(deadline: Optional[float]) -> float:
    """The seconds left; raises :class:`_TooLate` if there are none."""
    if deadline is None:
        return threading.TIMEOUT_MAX
    left = deadline - time.monotonic()
    if left <= 0:
        raise _TooLate
    return min(left, threading.TIMEOUT_MAX)


class _Within:
    """Holds a lock; raises :class:`_TooLate` if it is not free by the deadline."""

    def __init__(self, lock: Any, deadline: Optional[float]) -> None:
        self._lock = lock
        self._deadline = deadline

    def __enter__(self) -> None:
        while not self._lock.acquire(timeout=_left_of(self._deadline)):
            pass

    def __exit__(self, *of: Any) -> None:
        self._lock.release()
