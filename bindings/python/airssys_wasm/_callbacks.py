"""Callbacks of the library: storage, log, events, audit, router, outcomes of requests.

Each kind of callback has one C function, made once and never freed. `user_data` is the number under
which the engine's storage, logger or other object is registered.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
import threading
import time
import traceback
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

from airssys_wasm import _convert, _ffi, _forked, _registry, events, logs, router, security
from airssys_wasm._library import lib
from airssys_wasm.errors import AirssysError, InvalidArgument, Status
from airssys_wasm.storage import InvalidKey, Storage, StorageQuotaExceeded

_log = logging.getLogger("airssys_wasm")


class _Running(threading.local):
    """The owners of the callbacks that this thread is in, outermost first."""

    owners: Tuple[object, ...] = ()


_running = _Running()

#: The owners of all running callbacks, keyed by the tuple that :func:`enter` puts into `_running`.
_under_way: Dict[int, object] = {}

#: Exceptions outside `Exception`, such as `KeyboardInterrupt`, that ended callbacks on the main
#: thread. The main thread's call of the library raises them.
interrupts: List[BaseException] = []


def _keep_interrupt(error: Optional[BaseException]) -> bool:
    """On the main thread, keeps an exception outside `Exception` for the main thread's call."""
    if error is None or isinstance(error, Exception):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    interrupts.append(error)
    _leave_by(error.__traceback__)
    return True


def _is_entry(frame: Any) -> bool:
    """Whether the frame is of a callback; those of the functions of the host are in their module."""
    return frame.f_globals is globals() or frame.f_code in _forked.entries


def _keep_lost_interrupts() -> None:
    """Keeps the interrupts that a callback cannot catch.

    Ctrl-C during a call surfaces in the next Python function, often a callback. Python raises
    `KeyboardInterrupt` before the first line of the function, outside every `try` in it. ctypes
    catches it and can only pass it to this hook.
    """
    otherwise = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        trace = unraisable.exc_traceback
        mine = trace is not None and _is_entry(trace.tb_frame)
        if not (mine and _keep_interrupt(unraisable.exc_value)):
            otherwise(unraisable)

    sys.unraisablehook = hook


_keep_lost_interrupts()


def _leave_by(trace: Any) -> None:
    """Leaves a callback that an interrupt ended after its work but before its own :func:`leave`."""
    while trace is not None:
        frame = trace.tb_frame
        if _is_entry(frame) and "outer" in frame.f_locals:
            leave(frame.f_locals["outer"])
            return
        trace = trace.tb_next


def is_inside(owner: object) -> bool:
    """Whether this thread is in a callback of the owner."""
    return owner in _running.owners


def owners() -> Tuple[object, ...]:
    """What :func:`leave` takes, before a callback knows its owner."""
    return _running.owners


def is_in_callback() -> bool:
    """Whether this thread is in a callback of any owner."""
    return bool(_running.owners)


def is_quiet(owner: object) -> bool:
    """Whether the owner has no running callback and no open request."""
    return not any(of is owner for of in tuple(_under_way.values())) and not (
        _registry.requests_of(owner)
    )


def raise_interrupt() -> None:
    """On the main thread, raises the exception that ended one of its callbacks, if any.

    It raises one of several and drops the others: they belong to this call, not to a later one.
    """
    if interrupts and threading.current_thread() is threading.main_thread():
        error = interrupts.pop()
        interrupts.clear()
        raise error


def _progress(_data: Optional[int]) -> int:
    """Ends an interrupted call of the main thread.

    The library calls it every 50 ms on the waiting thread. Before the first line of the function,
    Python runs the pending signal handlers of the main thread.
    """
    return 1 if interrupts else 0


#: For the calls of the main thread, see :func:`_progress`.
progress = _ffi.ProgressFn(_progress)


def complete_interrupted(owner: object) -> None:
    """Ends the requests that lost their outcome because an interrupt ended the callback."""
    for token, complete in _registry.requests_of(owner):
        _registry.forget_request(token)
        complete(None)


def _check_storage(storage: Storage) -> None:
    for name in ("get", "set", "delete", "list"):
        if not callable(getattr(storage, name, None)):
            raise TypeError(f"the storage {type(storage).__name__} has no method {name!r}")


def storage_table(host: _registry.Host) -> _ffi.Storage:
    """The callbacks of a storage."""
    storage = host.target
    _check_storage(storage)
    return _ffi.Storage(
        ctypes.sizeof(_ffi.Storage),
        host.token,
        drop,
        _storage_get,
        _storage_set,
        _storage_delete,
        _storage_list,
        _storage_exists if callable(getattr(storage, "exists", None)) else _NO_EXISTS,
        _storage_usage if callable(getattr(storage, "usage", None)) else _NO_USAGE,
        _ffi.STORAGE_SERIALIZE if getattr(storage, "serialize", False) else 0,
        _storage_batch if callable(getattr(storage, "batch", None)) else _NO_BATCH,
        _storage_flush if callable(getattr(storage, "flush", None)) else _NO_FLUSH,
        _storage_namespaces if callable(getattr(storage, "namespaces", None)) else _NO_NAMESPACES,
    )


def logger_table(host: _registry.Host, min_level: int) -> _ffi.Logger:
    """The callback of a logger."""
    size = ctypes.sizeof(_ffi.Logger)
    return _ffi.Logger(size, host.token, drop, _log_record, min_level)


def events_table(host: _registry.Host) -> _ffi.Events:
    """The callback for events."""
    if not callable(host.target):
        raise TypeError(f"events must be a callable, not {type(host.target).__name__}")
    return _ffi.Events(ctypes.sizeof(_ffi.Events), host.token, drop, _event)


def audit_table(host: _registry.Host, sample_allowed: int) -> _ffi.Audit:
    """The callback for audit records."""
    if not callable(host.target):
        raise TypeError(f"audit must be a callable, not {type(host.target).__name__}")
    if not 0 <= sample_allowed < 1 << 32:
        raise InvalidArgument(f"audit_sample must be a number of 32 bits, not {sample_allowed!r}")
    size = ctypes.sizeof(_ffi.Audit)
    return _ffi.Audit(size, host.token, drop, _audit_record, sample_allowed)


def router_table(host: _registry.Host) -> _ffi.Router:
    """The callbacks of a router."""
    target = host.target
    if not callable(getattr(target, "route", None)):
        raise TypeError(f"the router {type(target).__name__} has no method 'route'")
    return _ffi.Router(
        ctypes.sizeof(_ffi.Router),
        host.token,
        drop,
        _route,
        _route_cancel if callable(getattr(target, "cancel", None)) else _NO_CANCEL,
    )


# NULL: the library derives the answer itself.
_NO_EXISTS = _ffi.StorageExistsFn()
_NO_USAGE = _ffi.StorageUsageFn()
# NULL: the storage cannot do it, or need not.
_NO_BATCH = _ffi.StorageBatchFn()
_NO_FLUSH = _ffi.StorageFlushFn()
_NO_NAMESPACES = _ffi.StorageNamespacesFn()
# NULL: the router does not need it.
_NO_CANCEL = _ffi.CancelFn()


def callback(kind: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a C function from a Python one. It is never freed."""

    def make(function: Callable[..., Any]) -> Any:
        # A method of a built-in type has no code of Python.
        _forked.entries.add(getattr(function, "__code__", None))
        made = kind(function)
        # A thread of an engine that outlives the interpreter must not jump into freed memory.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        return made

    return make


class _Kept:
    """Limits the logged exceptions: a component may cause any number of them."""

    PER_SECOND = 20
    KINDS = 1024

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: For each kind of record (which includes the component): the second, the records in it, and
        #: the records dropped.
        self._counts: Dict[Tuple[object, ...], Tuple[int, int, int]] = {}

    def admit(self, *kind: object) -> Optional[int]:
        """The number of records dropped before this one; ``None`` if this one is dropped too."""
        now = int(time.monotonic())
        with self._lock:
            if len(self._counts) >= self.KINDS:
                self._counts.clear()
            second, count, dropped = self._counts.get(kind, (now, 0, 0))
            if second != now:
                count = 0
            if count >= self.PER_SECOND:
                self._counts[kind] = (now, count, dropped + 1)
                return None
            self._counts[kind] = (now, count + 1, 0)
            return dropped


_kept_of: weakref.WeakKeyDictionary[object, _Kept] = weakref.WeakKeyDictionary()
_kept_of_none = _Kept()


def _kept() -> _Kept:
    """The limit of the owner of this callback: no owner uses up another's."""
    if not _running.owners:
        return _kept_of_none
    return _kept_of.setdefault(_running.owners[-1], _Kept())


def enter(owner: object) -> Tuple[object, ...]:
    """Marks the thread as inside a callback of the owner. Pass the result to :func:`leave`."""
    outer = _running.owners
    inner = (*outer, owner)
    _running.owners = inner
    _under_way[id(inner)] = owner
    return outer


def leave(outer: Tuple[object, ...]) -> None:
    """Undoes :func:`enter`."""
    if _forked.is_orphan and not outer:
        _forked.end(None)
    inner = _running.owners
    if inner is not outer:
        _under_way.pop(id(inner), None)
        _running.owners = outer


def keep(error: BaseException, text: str, *arguments: object) -> bool:
    """Records an exception of a callback, which the library does not see.

    Returns whether it is an interrupt of the main thread.
    """
    if _forked.is_orphan and len(_running.owners) < 2:
        _forked.end(error)
    if _keep_interrupt(error):
        return True
    if isinstance(error, _registry.Gone):
        return False
    try:
        dropped = _kept().admit(text, *arguments)
        if dropped is not None:
            more = f" ({dropped} earlier ones were not logged)" if dropped else ""
            _log.error(text + more, *arguments, exc_info=error)
    except Exception:
        traceback.print_exc()
    return False


def _write(out: int, data: _convert.Payload) -> None:
    pointer, size = _convert.c_buffer(data)
    if not lib.airssys_writer_write(out, pointer, size):
        raise ValueError(f"the library refused a value of {size} bytes")


def describe(error: BaseException) -> bytes:
    """The type and text of an exception that the library does not know."""
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace")


def _refuse(out: int, result: int, error: BaseException) -> int:
    """Answers with an error, even if its `__str__` fails."""
    try:
        known = result != _ffi.STORAGE_IO_ERROR
        _write(out, str(error).encode("utf-8", "replace") if known else describe(error))
    except Exception as broken:
        keep(broken, "the text of %s cannot be passed on", type(error).__name__)
    return result


def _storage_callback(kind: Any) -> Callable[[Callable[..., int]], Any]:
    """A C function from `work(storage, namespace, ..., out)`. Its exceptions become answers.

    A callback that never reaches `airssys_writer_finish` counts as failed.
    """

    def make(work: Callable[..., int]) -> Any:
        operation = work.__name__.rsplit("_", 1)[-1]

        def guarded(token: int, namespace: bytes, *rest: Any) -> int:
            out = rest[-1]
            owner, storage = _registry.find(token)
            outer = enter(owner)
            try:
                return work(storage, namespace.decode(), *rest)
            except StorageQuotaExceeded as error:
                return _refuse(out, _ffi.STORAGE_QUOTA_EXCEEDED, error)
            except InvalidKey as error:
                return _refuse(out, _ffi.STORAGE_INVALID_KEY, error)
            except BaseException as error:
                keep(error, "storage %s for %s raised", operation, namespace.decode())
                return _refuse(out, _ffi.STORAGE_IO_ERROR, error)
            finally:
                leave(outer)

        @callback(kind)
        @functools.wraps(work)
        def called(*arguments: Any) -> None:
            try:
                result = guarded(*arguments)
            except BaseException as error:
                # Raised in an except branch above: out of memory, or a second Ctrl-C.
                keep(error, "storage %s failed", operation)
                result = _ffi.STORAGE_IO_ERROR
            lib.airssys_writer_finish(arguments[-1], result)

        return called

    return make


@_storage_callback(_ffi.StorageGetFn)
def _storage_get(storage: Storage, namespace: str, key: bytes, out: int) -> int:
    value = storage.get(namespace, key.decode())
    if value is None:
        return _ffi.STORAGE_NOT_FOUND
    if isinstance(value, str):
        # A payload may be text. A value is read back as bytes, so it must be bytes.
        raise TypeError("get must return bytes or None, not str")
    _write(out, value)
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageSetFn)
def _storage_set(
    storage: Storage, namespace: str, key: bytes, value: Optional[int], size: int, out: int
) -> int:
    storage.set(namespace, key.decode(), ctypes.string_at(value, size) if value else b"")
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageDelFn)
def _storage_delete(storage: Storage, namespace: str, key: bytes, out: int) -> int:
    storage.delete(namespace, key.decode())
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageListFn)
def _storage_list(
    storage: Storage, namespace: str, prefix: Optional[bytes], keys: int, out: int
) -> int:
    for key in storage.list(namespace, (prefix or b"").decode()):
        if not isinstance(key, str):
            raise TypeError(f"list must return keys of type str, not {type(key).__name__}")
        if not lib.airssys_keys_push(keys, _convert.c_string("a key", key)):
            raise ValueError(f"the library refused the key {key!r}")
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageExistsFn)
def _storage_exists(storage: Any, namespace: str, key: bytes, exists: Any, out: int) -> int:
    exists[0] = bool(storage.exists(namespace, key.decode()))
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageUsageFn)
def _storage_usage(storage: Any, namespace: str, used: Any, count: Any, out: int) -> int:
    sizes = tuple(storage.usage(namespace))
    if len(sizes) != 2 or not all(isinstance(n, int) and 0 <= n < 1 << 64 for n in sizes):
        raise TypeError(f"usage must return (bytes, keys), not {sizes!r}")
    used[0], count[0] = sizes
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageBatchFn)
def _storage_batch(storage: Any, namespace: str, batch: Any, out: int) -> int:
    lent = batch.contents
    changes: Dict[str, Optional[bytes]] = {}
    for change in (lent.changes[at].contents for at in range(lent.count)):
        stored = change.value is not None
        value = ctypes.string_at(change.value, change.value_len) if stored else None
        changes[change.key.decode()] = value
    storage.batch(namespace, changes)
    return _ffi.STORAGE_OK


def _without_namespace(kind: Any) -> Callable[[Callable[..., int]], Any]:
    """As :func:`_storage_callback`, for `work(storage, ..., out)`."""

    def make(work: Callable[..., int]) -> Any:
        operation = work.__name__.rsplit("_", 1)[-1]

        @callback(kind)
        @functools.wraps(work)
        def called(token: int, *rest: Any) -> None:
            out = rest[-1]
            outer = _running.owners
            try:
                owner, storage = _registry.find(token)
                enter(owner)
                result = work(storage, *rest)
            except BaseException as error:
                keep(error, "storage %s raised", operation)
                result = _refuse(out, _ffi.STORAGE_IO_ERROR, error)
            finally:
                leave(outer)
            lib.airssys_writer_finish(out, result)

        return called

    return make


@_without_namespace(_ffi.StorageFlushFn)
def _storage_flush(storage: Any, out: int) -> int:
    storage.flush()
    return _ffi.STORAGE_OK


@_without_namespace(_ffi.StorageNamespacesFn)
def _storage_namespaces(storage: Any, names: int, out: int) -> int:
    for name in storage.namespaces():
        if not isinstance(name, str):
            raise TypeError(f"namespaces must return names of type str, not {type(name).__name__}")
        if not lib.airssys_keys_push(names, _convert.c_string("a namespace", name)):
            raise ValueError(f"the library refused the namespace {name!r}")
    return _ffi.STORAGE_OK


def transfer(owner: object, kind: Any, work: Callable[..., None]) -> Tuple[Any, List[BaseException]]:
    """A C function for one export or import, from `work(..., out)`, and the list of its exceptions."""
    failures: List[BaseException] = []

    def called(_data: Optional[int], *rest: Any) -> None:
        outer = _running.owners
        status: int = Status.IO
        try:
            enter(owner)
            work(*rest)
            status = Status.OK
        except BaseException as error:
            failures.append(error)
        finally:
            leave(outer)
        lib.airssys_writer_finish(rest[-1], status)

    return kind(called), failures


def write_piece(out: int, piece: bytes) -> None:
    """Passes a piece of an export to an import."""
    _write(out, piece)


def _sink_callback(kind: Any, what: str, read: Callable[[Any], Any]) -> Any:
    """A C function that copies a borrowed struct and passes the copy to a callable of the host."""

    @callback(kind)
    def called(token: int, lent: Any) -> None:
        outer = _running.owners
        try:
            owner, sink = _registry.find(token)
            enter(owner)
            sink(read(lent.contents))
        except BaseException as error:
            keep(error, "%s could not be delivered", what)
        finally:
            leave(outer)

    return called


_log_record = _sink_callback(_ffi.LogFn, "a log record", logs.read_record)
_event = _sink_callback(_ffi.EventFn, "an event", events.read_event)
_audit_record = _sink_callback(_ffi.AuditFn, "an audit record", security.read_record)


def _ask_router(token: int, envelope: Any, answer: int) -> int:
    owner, target = _registry.find(token)
    outer = enter(owner)
    try:
        target.route(router.read_envelope(envelope.contents))
        return Status.OK
    except AirssysError as error:
        _write(answer, error.message.encode("utf-8", "replace"))
        return error.status or Status.DELIVERY_FAILED
    except BaseException as error:
        keep(error, "the router raised")
        _write(answer, describe(error))
        return Status.DELIVERY_FAILED
    finally:
        leave(outer)


@callback(_ffi.RouteFn)
def _route(token: int, envelope: Any, answer: int) -> None:
    try:
        result = _ask_router(token, envelope, answer)
    except BaseException as error:
        # Raised in an except branch above: no text, out of memory, or a second Ctrl-C.
        keep(error, "the exception of the router cannot be passed on")
        result = Status.DELIVERY_FAILED
    lib.airssys_writer_finish(answer, result)


@callback(_ffi.CancelFn)
def _route_cancel(token: int, request: int) -> None:
    outer = _running.owners
    try:
        owner, target = _registry.find(token)
        enter(owner)
        target.cancel(request)
    except BaseException as error:
        keep(error, "cancel of the router raised")
    finally:
        leave(outer)


@callback(_ffi.ReplyFn)
def completed(token: int, completion: Any) -> None:
    """Passes on the outcome of a request."""
    outer = _running.owners
    try:
        owner, complete = _registry.expected(token)
        enter(owner)
        complete(completion.contents)
        _registry.forget_request(token)
    except BaseException as error:
        # After an interrupt the request may lack its outcome, see :func:`complete_interrupted`.
        if not keep(error, "a request could not be completed"):
            _registry.forget_request(token)
    finally:
        leave(outer)


# A method of a built-in type: an interrupt cannot come before its first line.
drop = callback(_ffi.DropFn)(_registry.forget_host)
