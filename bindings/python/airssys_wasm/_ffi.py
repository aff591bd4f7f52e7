"""The C ABI in ctypes: structs, callback types and the prototype of every function.

The declarations have the names of ``airssys_wasm.h``. All pointer parameters are
``c_void_p``: ctypes passes an address several times faster than a typed pointer, and the arguments
cost about as much as the message.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from types import SimpleNamespace
from typing import Any, Dict, Tuple

#: The ABI version of this package; the number in the library's SONAME.
ABI_VERSION = 0

LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF = range(6)

STORAGE_OK = 0
STORAGE_NOT_FOUND = 1
STORAGE_QUOTA_EXCEEDED = 2
STORAGE_INVALID_KEY = 3
STORAGE_IO_ERROR = 4

STORAGE_SERIALIZE = 1

IMPORT_REFUSE, IMPORT_REPLACE, IMPORT_KEEP, IMPORT_CHECK = range(4)

KIND_MESSAGE, KIND_REQUEST = range(2)

AUDIT_ALLOWED, AUDIT_DENIED, AUDIT_LOST = range(1, 4)

ALL_COMPONENTS = 2**64 - 1


class Bytes(Structure):
    """``airssys_bytes_t``"""

    # POINTER(c_char), because a slice of it is a bytes object with a single copy.
    _fields_ = [("data", POINTER(c_char)), ("len", c_size_t), ("capacity", c_size_t)]


#: ``airssys_progress_fn_t``
ProgressFn = CFUNCTYPE(c_int32, c_void_p)

MESSAGE_ENDS_WITH_SENDER = 1
MESSAGE_PACKED_LISTS = 2


class MessageOptions(Structure):
    """``airssys_message_options_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("sender", c_char_p),
        ("content_type", c_char_p),
        ("timeout_ms", c_uint64),
        ("flags", c_uint64),
        ("progress", ProgressFn),
        ("progress_data", c_void_p),
    ]


class LogRecord(Structure):
    """``airssys_log_record_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("level", c_int32),
        ("component", c_char_p),
        # Not c_char_p, which would end the text at the first NUL.
        ("message", c_void_p),
        ("message_len", c_size_t),
        ("context_keys", POINTER(c_char_p)),
        ("context_values", POINTER(c_char_p)),
        ("context_len", c_size_t),
        ("seconds", c_uint64),
        ("nanoseconds", c_uint32),
    ]


class Event(Structure):
    """``airssys_event_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("kind", c_char_p),
        ("json", c_char_p),
        ("payload", c_void_p),
        ("payload_len", c_size_t),
    ]


class AuditRecord(Structure):
    """``airssys_audit_record_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("decision", c_int32),
        ("nanoseconds", c_uint32),
        ("seconds", c_uint64),
        ("component", c_char_p),
        ("action", c_char_p),
        ("resource", c_char_p),
        ("by", c_char_p),
        ("rule", c_char_p),
        ("lost_allowed", c_uint64),
        ("lost_denied", c_uint64),
    ]


class Envelope(Structure):
    """``airssys_envelope_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("source", c_char_p),
        ("target", c_char_p),
        ("kind", c_int32),
        ("correlation", c_uint64),
        ("token", c_uint64),
        ("deadline_ms", c_uint64),
        ("content_type", c_char_p),
        ("payload", c_void_p),
        ("payload_len", c_size_t),
    ]


class FunctionCall(Structure):
    """``airssys_function_call_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("interface", c_char_p),
        ("function", c_char_p),
        ("caller", c_char_p),
        ("handle", c_uint64),
        ("args_json", c_void_p),
        ("args_len", c_size_t),
        ("token", c_uint64),
    ]


class Completion(Structure):
    """``airssys_completion_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("request", c_uint64),
        ("status", c_int32),
        ("reply", c_void_p),
        ("reply_len", c_size_t),
        ("error", c_void_p),
    ]


DropFn = CFUNCTYPE(None, c_void_p)
LogFn = CFUNCTYPE(None, c_void_p, POINTER(LogRecord))
EventFn = CFUNCTYPE(None, c_void_p, POINTER(Event))
AuditFn = CFUNCTYPE(None, c_void_p, POINTER(AuditRecord))
RouteFn = CFUNCTYPE(None, c_void_p, POINTER(Envelope), c_void_p)
CancelFn = CFUNCTYPE(None, c_void_p, c_uint64)
FunctionFn = CFUNCTYPE(None, c_void_p, POINTER(FunctionCall), c_void_p)
ReplyFn = CFUNCTYPE(None, c_void_p, POINTER(Completion))

StorageGetFn = CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_void_p)
StorageSetFn = CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p)
StorageDelFn = CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_void_p)
StorageListFn = CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_void_p, c_void_p)
StorageExistsFn = CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, POINTER(c_bool), c_void_p)
StorageUsageFn = CFUNCTYPE(None, c_void_p, c_char_p, POINTER(c_uint64), POINTER(c_uint64), c_void_p)


class StorageChange(Structure):
    """``airssys_storage_change_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("key", c_char_p),
        ("value", c_void_p),
        ("value_len", c_size_t),
        ("expires_ms", c_uint64),
    ]


class StorageBatch(Structure):
    """``airssys_storage_batch_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("changes", POINTER(POINTER(StorageChange))),
        ("count", c_size_t),
    ]


StorageBatchFn = CFUNCTYPE(None, c_void_p, c_char_p, POINTER(StorageBatch), c_void_p)
StorageFlushFn = CFUNCTYPE(None, c_void_p, c_void_p)
StorageNamespacesFn = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)

#: ``airssys_export_fn_t``
ExportFn = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_void_p)
#: ``airssys_import_fn_t``
ImportFn = CFUNCTYPE(None, c_void_p, c_void_p)


class Logger(Structure):
    """``airssys_logger_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("user_data", c_void_p),
        ("drop", DropFn),
        ("log", LogFn),
        ("min_level", c_int32),
    ]


class Events(Structure):
    """``airssys_events_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("user_data", c_void_p),
        ("drop", DropFn),
        ("event", EventFn),
    ]


class Audit(Structure):
    """``airssys_audit_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("user_data", c_void_p),
        ("drop", DropFn),
        ("record", AuditFn),
        ("sample_allowed", c_uint32),
    ]


class Router(Structure):
    """``airssys_router_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("user_data", c_void_p),
        ("drop", DropFn),
        ("route", RouteFn),
        ("cancel", CancelFn),
    ]


class Interface(Structure):
    """``airssys_interface_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("user_data", c_void_p),
        ("drop", DropFn),
        ("call", FunctionFn),
    ]


class Storage(Structure):
    """``airssys_storage_t``"""

    _fields_ = [
        ("size", c_size_t),
        ("user_data", c_void_p),
        ("drop", DropFn),
        ("get", StorageGetFn),
        ("set", StorageSetFn),
        ("del", StorageDelFn),
        ("list", StorageListFn),
        ("exists", StorageExistsFn),
        ("usage", StorageUsageFn),
        ("flags", c_uint64),
        ("batch", StorageBatchFn),
        ("flush", StorageFlushFn),
        ("namespaces", StorageNamespacesFn),
    ]


_STATUS = c_int32
_HANDLE = c_uint64
_POINTER = c_void_p

# These never wait and never call back. They run with the GIL held, which is cheaper than a release.
_QUICK: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "airssys_version": (c_char_p, ()),
    "airssys_abi_version": (c_uint32, ()),
    "airssys_status_name": (c_char_p, (_STATUS,)),
    "airssys_error_status": (_STATUS, (_POINTER,)),
    "airssys_error_message": (c_char_p, (_POINTER,)),
    "airssys_error_detail_json": (c_char_p, (_POINTER,)),
    "airssys_error_free": (None, (_POINTER,)),
    "airssys_bytes_free": (None, (_POINTER,)),
    "airssys_codec_name": (c_char_p, (c_uint64,)),
    "airssys_codec_code": (_STATUS, (c_char_p, _POINTER, _POINTER)),
    "airssys_codec_read": (_STATUS, (_POINTER, c_size_t, _POINTER, _POINTER, _POINTER)),
    "airssys_codec_prefix": (_STATUS, (c_uint64, _POINTER, c_size_t, _POINTER, _POINTER)),
    "airssys_writer_write": (c_bool, (_POINTER, _POINTER, c_size_t)),
    "airssys_writer_finish": (None, (_POINTER, c_int32)),
    "airssys_keys_push": (c_bool, (_POINTER, c_char_p)),
}

# These may run callbacks or wait for threads that do, so they release the GIL.
_WAITING: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "airssys_config_new": (_STATUS, (_POINTER, _POINTER)),
    "airssys_config_free": (None, (_POINTER,)),
    "airssys_config_set_json": (_STATUS, (_POINTER, c_char_p, _POINTER)),
    "airssys_config_set_storage": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_config_set_logger": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_config_set_events": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_config_set_audit": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_config_set_router": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_engine_new": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_engine_shutdown": (_STATUS, (_POINTER, c_uint64, _POINTER)),
    "airssys_engine_free": (None, (_POINTER,)),
    "airssys_engine_load": (
        _STATUS,
        (_POINTER, c_char_p, _POINTER, c_size_t, c_char_p, _POINTER, _POINTER),
    ),
    "airssys_engine_precompile": (
        _STATUS,
        (_POINTER, _POINTER, c_size_t, ProgressFn, _POINTER, _POINTER),
    ),
    "airssys_engine_load_file": (
        _STATUS,
        (_POINTER, c_char_p, c_char_p, c_char_p, _POINTER, _POINTER),
    ),
    "airssys_engine_unload": (_STATUS, (_POINTER, _HANDLE, _POINTER)),
    "airssys_engine_unload_within": (_STATUS, (_POINTER, _HANDLE, c_uint64, _POINTER)),
    "airssys_engine_interrupt": (_STATUS, (_POINTER, _HANDLE, _POINTER)),
    "airssys_engine_add_group": (
        _STATUS,
        (_POINTER, c_char_p, c_char_p, _POINTER, _POINTER),
    ),
    "airssys_engine_groups": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_engine_stop": (_STATUS, (_POINTER, _HANDLE, c_uint64, _POINTER)),
    "airssys_engine_start": (_STATUS, (_POINTER, _HANDLE, _POINTER)),
    "airssys_engine_status": (_STATUS, (_POINTER, _HANDLE, _POINTER, _POINTER)),
    "airssys_engine_restart": (_STATUS, (_POINTER, _HANDLE, c_uint64, _POINTER)),
    "airssys_engine_wait": (_STATUS, (_POINTER, _HANDLE, c_char_p, c_uint64, _POINTER)),
    "airssys_engine_replace": (
        _STATUS,
        (_POINTER, _HANDLE, _POINTER, c_size_t, c_char_p, _POINTER),
    ),
    "airssys_engine_replace_file": (_STATUS, (_POINTER, _HANDLE, c_char_p, c_char_p, _POINTER)),
    "airssys_engine_rollback": (_STATUS, (_POINTER, _HANDLE, _POINTER)),
    "airssys_engine_promote": (_STATUS, (_POINTER, _HANDLE, c_uint64, _POINTER)),
    "airssys_engine_abort": (_STATUS, (_POINTER, _HANDLE, c_uint64, _POINTER)),
    "airssys_engine_send": (
        _STATUS,
        (_POINTER, _HANDLE, _POINTER, c_size_t, _POINTER, _POINTER),
    ),
    "airssys_engine_call": (
        _STATUS,
        (_POINTER, _HANDLE, _POINTER, c_size_t, _POINTER, _POINTER, _POINTER),
    ),
    "airssys_engine_broadcast": (
        _STATUS,
        (_POINTER, _POINTER, c_size_t, _POINTER, c_size_t, _POINTER, _POINTER),
    ),
    "airssys_engine_request": (
        _STATUS,
        (
            _POINTER,
            _HANDLE,
            _POINTER,
            c_size_t,
            _POINTER,
            _POINTER,
            _POINTER,
            _POINTER,
            _POINTER,
        ),
    ),
    "airssys_config_add_interface": (_STATUS, (_POINTER, c_char_p, _POINTER, _POINTER)),
    "airssys_engine_answer": (
        _STATUS,
        (_POINTER, c_uint64, _STATUS, _POINTER, c_size_t, _POINTER),
    ),
    "airssys_engine_invoke": (
        _STATUS,
        (_POINTER, _HANDLE, c_char_p, c_char_p, _POINTER, _POINTER, _POINTER),
    ),
    "airssys_engine_invoke_request": (
        _STATUS,
        (
            _POINTER,
            _HANDLE,
            c_char_p,
            c_char_p,
            _POINTER,
            _POINTER,
            _POINTER,
            _POINTER,
            _POINTER,
        ),
    ),
    "airssys_engine_cancel": (_STATUS, (_POINTER, c_uint64, _POINTER)),
    "airssys_engine_deliver": (
        _STATUS,
        (_POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER),
    ),
    "airssys_engine_complete": (
        _STATUS,
        (_POINTER, c_uint64, _STATUS, _POINTER, c_size_t, c_char_p, _POINTER),
    ),
    "airssys_engine_set_policies": (_STATUS, (_POINTER, c_char_p, _POINTER)),
    "airssys_engine_grant": (_STATUS, (_POINTER, _HANDLE, c_char_p, _POINTER)),
    "airssys_engine_revoke": (_STATUS, (_POINTER, _HANDLE, c_char_p, _POINTER)),
    "airssys_engine_explain": (
        _STATUS,
        (_POINTER, _HANDLE, c_char_p, c_char_p, _POINTER, _POINTER),
    ),
    "airssys_engine_find": (_STATUS, (_POINTER, c_char_p, _POINTER, _POINTER)),
    "airssys_engine_list": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_engine_describe": (_STATUS, (_POINTER, _HANDLE, _POINTER, _POINTER)),
    "airssys_engine_inspect": (_STATUS, (_POINTER, _HANDLE, _POINTER, _POINTER)),
    "airssys_component_inspect": (_STATUS, (_POINTER, c_size_t, _POINTER, _POINTER)),
    "airssys_engine_health": (_STATUS, (_POINTER, _HANDLE, _POINTER, _POINTER)),
    "airssys_engine_stats": (_STATUS, (_POINTER, _POINTER, _POINTER)),
    "airssys_engine_storage_compact": (_STATUS, (_POINTER, _POINTER)),
    "airssys_engine_storage_get": (_STATUS, (_POINTER, c_char_p, c_char_p, _POINTER, _POINTER)),
    "airssys_engine_storage_set": (
        _STATUS,
        (_POINTER, c_char_p, c_char_p, _POINTER, c_size_t, c_uint64, _POINTER),
    ),
    "airssys_engine_storage_delete": (_STATUS, (_POINTER, c_char_p, c_char_p, _POINTER)),
    "airssys_engine_storage_list": (
        _STATUS,
        (_POINTER, c_char_p, c_char_p, c_char_p, c_size_t, _POINTER, _POINTER),
    ),
    "airssys_engine_storage_usage": (_STATUS, (_POINTER, c_char_p, _POINTER, _POINTER, _POINTER)),
    "airssys_engine_storage_batch": (_STATUS, (_POINTER, c_char_p, _POINTER, c_size_t, _POINTER)),
    "airssys_engine_storage_export": (
        _STATUS,
        (_POINTER, _POINTER, c_size_t, ExportFn, _POINTER, _POINTER),
    ),
    "airssys_engine_storage_import": (
        _STATUS,
        (_POINTER, c_int32, ImportFn, _POINTER, _POINTER, _POINTER),
    ),
    "airssys_storage_selftest": (_STATUS, (_POINTER, c_uint64, _POINTER, _POINTER)),
}

PROTOTYPES = {**_QUICK, **_WAITING}


def bind(name: str) -> SimpleNamespace:
    """Loads the library and declares the types of its functions.

    ``name`` is a path or a SONAME. Raises ``OSError`` if the library does not load, and
    ``AttributeError`` if it lacks a function.
    """
    functions: Dict[str, Any] = {"name": name}
    for library, prototypes in (
        (ctypes.PyDLL(name), _QUICK),
        (ctypes.CDLL(name), _WAITING),
    ):
        for symbol, (result, arguments) in prototypes.items():
            function = getattr(library, symbol)
            function.restype = result
            function.argtypes = arguments
            functions[symbol] = function
    return SimpleNamespace(**functions)
