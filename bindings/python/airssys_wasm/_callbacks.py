"""The functions that the library calls: storage, log, and the end of both.

There is one C function for each kind of callback, made once and never freed. Which engine's
storage or logger it is for tells `user_data`, a number under which the object is registered here
until the library says that it has let go of it. So neither the garbage collector nor an assignment
can take away what the library may still call.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import sys
import threading
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

from airssys_wasm import _convert, _ffi, logs
from airssys_wasm._library import lib
from airssys_wasm.storage import InvalidKey, Storage, StorageQuotaExceeded

_log = logging.getLogger("airssys_wasm")

_registered: Dict[int, Tuple[object, Any]] = {}
_tokens = itertools.count(1)


class _Running(threading.local):
    """The owners whose callbacks the thread is in, outermost first."""

    owners: Tuple[object, ...] = ()


_running = _Running()

#: What ended a callback on the main thread but is no ordinary error, such as `KeyboardInterrupt`;
#: it is raised where the main thread called the library.
interrupts: List[BaseException] = []


def _keep_interrupt(error: Optional[BaseException]) -> bool:
    """Keeps what is meant for the main thread, if this is it, and not for its callback."""
    if error is None or isinstance(error, Exception):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    interrupts.append(error)
    return True


def _keep_lost_interrupts() -> None:
    """Keeps the interrupts that a callback can not catch.

    Ctrl-C during a call shows in the first Python function after it, and that is often a callback.
    Python raises `KeyboardInterrupt` before the first line of the function, outside of every `try`
    in it, so that ctypes gets it, and can only hand it to this hook.
    """
    otherwise = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        trace = unraisable.exc_traceback
        mine = trace is not None and trace.tb_frame.f_globals is globals()
        if not (mine and _keep_interrupt(unraisable.exc_value)):
            otherwise(unraisable)

    sys.unraisablehook = hook


_keep_lost_interrupts()


def is_inside(owner: object) -> bool:
    """Whether this thread is in a callback of that owner."""
    return owner in _running.owners


def raise_interrupt() -> None:
    """On the main thread, raises what ended one of its callbacks, if something did."""
    if interrupts and threading.current_thread() is threading.main_thread():
        raise interrupts.pop()


def _register(owner: object, target: Any) -> int:
    token = next(_tokens)
    _registered[token] = (owner, target)
    return token


def forget(token: int) -> None:
    """Takes back a registration that the library did not accept."""
    _registered.pop(token, None)


def storage_table(owner: object, storage: Storage) -> _ffi.Storage:
    """Registers the storage; `user_data` of the result is the token."""
    for name in ("get", "set", "delete", "list"):
        if not callable(getattr(storage, name, None)):
            raise TypeError(f"the storage {type(storage).__name__} has no method {name!r}")
    return _ffi.Storage(
        ctypes.sizeof(_ffi.Storage),
        _register(owner, storage),
        _drop,
        _storage_get,
        _storage_set,
        _storage_delete,
        _storage_list,
        _storage_exists if callable(getattr(storage, "exists", None)) else _NO_EXISTS,
        _storage_usage if callable(getattr(storage, "usage", None)) else _NO_USAGE,
    )


def logger_table(
    owner: object, sink: Callable[[logs.LogEntry], None], min_level: int
) -> _ffi.Logger:
    """Registers the sink; `user_data` of the result is the token."""
    return _ffi.Logger(
        ctypes.sizeof(_ffi.Logger), _register(owner, sink), _drop, _log_record, min_level
    )


# NULL: the library works the answer out by itself.
_NO_EXISTS = _ffi.StorageExistsFn()
_NO_USAGE = _ffi.StorageUsageFn()


def _callback(kind: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a C function of a Python one, for good."""

    def make(function: Callable[..., Any]) -> Any:
        made = kind(function)
        # A thread of an engine that outlives the interpreter must not jump into freed memory.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        return made

    return make


def _keep(error: BaseException, text: str, *arguments: object) -> None:
    """Sees to it that what a callback raised is not lost: the library is not told of it."""
    if _keep_interrupt(error):
        return
    try:
        _log.error(text, *arguments, exc_info=error)
    except Exception:
        traceback.print_exc()


def _write(out: int, data: _convert.Payload) -> None:
    pointer, size = _convert.c_buffer(data)
    if not lib.airssys_writer_write(out, pointer, size):
        raise ValueError(f"the library does not take a value of {size} bytes")


def _refuse(out: int, result: int, error: BaseException) -> int:
    """Answers with an error; a `__str__` that fails must not hide that there was one."""
    try:
        text = f"{type(error).__name__}: {error}" if result == _ffi.STORAGE_IO_ERROR else str(error)
        _write(out, text.encode("utf-8", "replace"))
    except Exception as broken:
        _keep(broken, "the text of %s can not be passed on", type(error).__name__)
    return result


def _storage_callback(kind: Any) -> Callable[[Callable[..., int]], Any]:
    """A C function of `work(storage, namespace, ..., out)`, which answers for what it raises.

    A callback that does not come to `airssys_writer_finish` counts as failed.
    """

    def make(work: Callable[..., int]) -> Any:
        operation = work.__name__.rsplit("_", 1)[-1]

        def guarded(token: int, namespace: bytes, *rest: Any) -> int:
            out = rest[-1]
            owner, storage = _registered[token]
            outer = _running.owners
            _running.owners = (*outer, owner)
            try:
                return work(storage, namespace.decode(), *rest)
            except StorageQuotaExceeded as error:
                return _refuse(out, _ffi.STORAGE_QUOTA_EXCEEDED, error)
            except InvalidKey as error:
                return _refuse(out, _ffi.STORAGE_INVALID_KEY, error)
            except BaseException as error:
                _keep(error, "storage %s for %s raised", operation, namespace.decode())
                return _refuse(out, _ffi.STORAGE_IO_ERROR, error)
            finally:
                _running.owners = outer

        @_callback(kind)
        @functools.wraps(work)
        def called(*arguments: Any) -> None:
            try:
                result = guarded(*arguments)
            except BaseException as error:
                # From an except branch above: memory ran out, or Ctrl-C was pressed again.
                _keep(error, "storage %s failed", operation)
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
        # A payload may be text; a value comes back as bytes, so it must go in as bytes.
        raise TypeError("get returned a str where bytes are expected")
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
            raise TypeError(f"list gave a {type(key).__name__} where a str is expected")
        if not lib.airssys_keys_push(keys, _convert.c_string("a key", key)):
            raise ValueError(f"the library does not take the key {key!r}")
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageExistsFn)
def _storage_exists(storage: Any, namespace: str, key: bytes, exists: Any, out: int) -> int:
    exists[0] = bool(storage.exists(namespace, key.decode()))
    return _ffi.STORAGE_OK


@_storage_callback(_ffi.StorageUsageFn)
def _storage_usage(storage: Any, namespace: str, used: Any, count: Any, out: int) -> int:
    sizes = tuple(storage.usage(namespace))
    if len(sizes) != 2 or not all(isinstance(n, int) and 0 <= n < 1 << 64 for n in sizes):
        raise TypeError(f"usage returned {sizes!r} where (bytes, keys) is expected")
    used[0], count[0] = sizes
    return _ffi.STORAGE_OK


@_callback(_ffi.LogFn)
def _log_record(token: int, record: Any) -> None:
    outer = _running.owners
    try:
        owner, sink = _registered[token]
        _running.owners = (*outer, owner)
        sink(logs.read_record(record.contents))
    except BaseException as error:
        _keep(error, "a log record could not be delivered")
    finally:
        _running.owners = outer


# Not a function of Python's, in which an interrupt could come first.
_drop = _callback(_ffi.DropFn)(_registered.pop)
