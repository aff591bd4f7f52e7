"""WebAssembly components as actors: the Python side of ``libairssys_wasm``.

::

    with airssys_wasm.Engine() as engine:
        component = engine.load("app/greeter/0", "greeter.wasm")
        print(component.call("hello"))

The import of the package loads the library. ``ImportError`` lists the places that it searched.
"""

from airssys_wasm import codec, exports
from airssys_wasm._convert import Payload
from airssys_wasm._host_functions import Caller, caller
from airssys_wasm._inspect import inspect
from airssys_wasm._library import lib as _lib
from airssys_wasm._program import CompletedRun
from airssys_wasm.component import Component
from airssys_wasm.engine import Activation, Engine, WhenFull
from airssys_wasm.errors import (
    AirssysError,
    CanaryUnderWay,
    Cancelled,
    ComponentError,
    ComponentFailed,
    ComponentNotFound,
    ComponentStopped,
    DeliveryFailed,
    EngineClosed,
    EngineStopped,
    ExportNotFound,
    Forked,
    InitializationFailed,
    InstantiationFailed,
    Interrupted,
    InvalidArgument,
    InvalidComponent,
    InvalidId,
    InvalidMessage,
    InvalidOptions,
    IoError,
    NotConforming,
    Panic,
    QueueFull,
    RequestNotFound,
    ResourceLimitExceeded,
    ShutdownFailed,
    Status,
    Timeout,
    Trap,
    Unsupported,
    WouldDeadlock,
)
from airssys_wasm.events import Event
from airssys_wasm.exports import Resource
from airssys_wasm.group import Group, Strategy
from airssys_wasm.logs import TRACE, LogEntry, LogTarget
from airssys_wasm.request import Request, TypedRequest
from airssys_wasm.router import Envelope, Router
from airssys_wasm.security import AuditRecord, Capabilities, Explanation, Grants, Policies
from airssys_wasm.storage import DictStorage, InvalidKey, Storage, StorageQuotaExceeded
from airssys_wasm.stored import StoredData, StoredKeys, Usage
from airssys_wasm.values import Err, Ok, ResultError, Some, Variant

__version__ = "0.1.0"


def library_version() -> str:
    """The version of the shared library, which may differ from ``__version__``."""
    version: bytes = _lib.airssys_version()
    return version.decode()


def library_path() -> str:
    """The path or name of the loaded shared library."""
    name: str = _lib.name
    return name


__all__ = [
    "TRACE",
    "Activation",
    "AirssysError",
    "AuditRecord",
    "CanaryUnderWay",
    "Cancelled",
    "Caller",
    "Capabilities",
    "CompletedRun",
    "Component",
    "ComponentError",
    "ComponentFailed",
    "ComponentNotFound",
    "ComponentStopped",
    "DeliveryFailed",
    "DictStorage",
    "Engine",
    "EngineClosed",
    "EngineStopped",
    "Envelope",
    "Err",
    "Event",
    "Explanation",
    "ExportNotFound",
    "Forked",
    "Grants",
    "Group",
    "InitializationFailed",
    "InstantiationFailed",
    "Interrupted",
    "InvalidArgument",
    "InvalidComponent",
    "InvalidId",
    "InvalidKey",
    "InvalidMessage",
    "InvalidOptions",
    "IoError",
    "LogEntry",
    "LogTarget",
    "NotConforming",
    "Ok",
    "Panic",
    "Payload",
    "Policies",
    "QueueFull",
    "Request",
    "RequestNotFound",
    "Resource",
    "ResourceLimitExceeded",
    "ResultError",
    "Router",
    "ShutdownFailed",
    "Some",
    "Status",
    "Storage",
    "StorageQuotaExceeded",
    "Strategy",
    "StoredData",
    "StoredKeys",
    "Timeout",
    "Trap",
    "TypedRequest",
    "Unsupported",
    "Usage",
    "Variant",
    "WhenFull",
    "WouldDeadlock",
    "caller",
    "codec",
    "exports",
    "inspect",
    "library_path",
    "library_version",
]
