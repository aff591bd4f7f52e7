"""Exceptions: one class for each status of the library."""

from __future__ import annotations

import concurrent.futures
import enum
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Type, Union

from airssys_wasm._text import printable

if TYPE_CHECKING:
    from airssys_wasm.component import Component

__all__ = [
    "AirssysError",
    "CanaryUnderWay",
    "Cancelled",
    "ComponentError",
    "ComponentFailed",
    "ComponentNotFound",
    "ComponentStopped",
    "DeliveryFailed",
    "EngineClosed",
    "EngineStopped",
    "ExportNotFound",
    "Forked",
    "InitializationFailed",
    "InstantiationFailed",
    "Interrupted",
    "InvalidArgument",
    "InvalidComponent",
    "InvalidId",
    "InvalidMessage",
    "InvalidOptions",
    "IoError",
    "NotConforming",
    "Panic",
    "QueueFull",
    "RequestNotFound",
    "ResourceLimitExceeded",
    "ShutdownFailed",
    "Status",
    "Timeout",
    "Trap",
    "Unsupported",
    "WouldDeadlock",
]


class Status(enum.IntEnum):
    """The library's status codes; the numbers never change."""

    OK = 0
    INVALID_ARGUMENT = 1
    INVALID_ID = 2
    INVALID_OPTIONS = 3
    INVALID_COMPONENT = 4
    INSTANTIATION_FAILED = 5
    INITIALIZATION_FAILED = 6
    COMPONENT_NOT_FOUND = 7
    EXPORT_NOT_FOUND = 8
    TIMEOUT = 9
    RESOURCE_LIMIT_EXCEEDED = 10
    RUNTIME = 11
    TRAP = 12
    QUEUE_FULL = 13
    WOULD_DEADLOCK = 14
    SHUTDOWN_FAILED = 15
    ENGINE_STOPPED = 16
    FORKED = 17
    PANIC = 18
    IO = 19
    INVALID_MESSAGE = 20
    REQUEST_NOT_FOUND = 21
    CANCELLED = 22
    DELIVERY_FAILED = 23
    INTERRUPTED = 24
    COMPONENT_STOPPED = 25
    COMPONENT_FAILED = 26
    UNSUPPORTED = 27
    NOT_CONFORMING = 28
    CANARY_UNDER_WAY = 29


class AirssysError(Exception):
    """Base class of the library's errors.

    The package raises the base class itself only for a status that it does not know, from a newer
    library. A program that forwards errors, for instance to another process, may construct it with
    any status.
    """

    #: The status; a plain ``int`` if this package does not know it.
    status: Union[Status, int] = Status.PANIC
    #: The error text, without the name of the exception. It may contain words of a component, with
    #: line breaks and control characters; ``str()`` of the exception escapes those.
    message: str
    #: The parts of the error (the limit and its value, the key of the options, ...); may be empty.
    detail: Dict[str, Any]

    def __init__(
        self,
        message: str = "",
        status: Optional[Union[Status, int]] = None,
        detail: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = {} if detail is None else detail
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return printable(self.message)


class InvalidArgument(AirssysError, ValueError):
    """An invalid argument: text with a NUL, a timeout of 0, ..."""

    status = Status.INVALID_ARGUMENT


class InvalidId(InvalidArgument):
    """A component id that is not ``namespace/name/instance``."""

    status = Status.INVALID_ID


class InvalidOptions(InvalidArgument):
    """An option that does not exist or has a wrong type or value; the message names it."""

    status = Status.INVALID_OPTIONS


class InvalidComponent(AirssysError, ValueError):
    """The binary is not a WebAssembly component, or has unknown imports."""

    status = Status.INVALID_COMPONENT


class InstantiationFailed(AirssysError):
    """No instance of the component could be made, or no new one initialized."""

    status = Status.INSTANTIATION_FAILED


class InitializationFailed(AirssysError):
    """The component's ``initialize`` refused; the message carries the component's text."""

    status = Status.INITIALIZATION_FAILED


class ComponentNotFound(AirssysError, LookupError):
    """No component with this id or handle is loaded."""

    status = Status.COMPONENT_NOT_FOUND


class ExportNotFound(AirssysError):
    """The component does not export ``component-lifecycle``, so it handles no messages."""

    status = Status.EXPORT_NOT_FOUND


class Timeout(AirssysError, TimeoutError):
    """The caller's timeout or the component's time limit passed; the message names it and its value.

    ``started`` of ``detail`` says whether the component began the message before the caller's timeout.
    A message that it did not begin is never handled: ``waited-ms`` is the time that it waited, and
    ``behind`` the mail still before it at the end, the message being handled included.
    """

    status = Status.TIMEOUT


class ResourceLimitExceeded(AirssysError):
    """A limit on memory, fuel, stack, tables or the like; the message names it and its value."""

    status = Status.RESOURCE_LIMIT_EXCEEDED


class ComponentError(AirssysError):
    """The component answered with an error of its own; the message carries its text."""

    status = Status.RUNTIME


class Trap(AirssysError):
    """The component crashed while it handled the message; the next message gets a new instance."""

    status = Status.TRAP


class QueueFull(AirssysError):
    """The component's mailbox is full, or dropped the message for a newer one."""

    status = Status.QUEUE_FULL


class WouldDeadlock(AirssysError):
    """A callback asked for something that cannot happen before the callback returns."""

    status = Status.WOULD_DEADLOCK


class ShutdownFailed(AirssysError):
    """A component's ``shutdown`` failed or trapped; it is unloaded or stopped nevertheless."""

    status = Status.SHUTDOWN_FAILED


class EngineStopped(AirssysError):
    """The engine was shut down."""

    status = Status.ENGINE_STOPPED


class EngineClosed(EngineStopped):
    """This program closed the engine."""

    def __init__(self, message: str = "the engine is closed") -> None:
        super().__init__(message)


class Forked(AirssysError):
    """The engine was made before a ``fork`` and used in the child; the child must make a new one."""

    status = Status.FORKED


class Panic(AirssysError):
    """A bug in the library; the engine stays usable."""

    status = Status.PANIC


class IoError(AirssysError, OSError):
    """The system refused a file, the cache directory or a resource such as a thread or memory."""

    status = Status.IO


class InvalidMessage(AirssysError, ValueError):
    """The payload is none of the component's ``codecs``, or has no codec prefix."""

    status = Status.INVALID_MESSAGE


class RequestNotFound(AirssysError, LookupError):
    """No such request is open: it has its outcome, was cancelled, or never existed."""

    status = Status.REQUEST_NOT_FOUND


class Cancelled(AirssysError, concurrent.futures.CancelledError):
    """The request was cancelled before it had another outcome."""

    status = Status.CANCELLED


class DeliveryFailed(AirssysError):
    """A router, or some targets of a broadcast, did not accept the message."""

    status = Status.DELIVERY_FAILED
    #: For a broadcast: the components that did not accept the message, and the reasons.
    failed: List[Tuple[Component, AirssysError]]

    def __init__(
        self,
        message: str = "",
        status: Optional[Union[Status, int]] = None,
        detail: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(message, status, detail)
        self.failed = []


class Interrupted(AirssysError):
    """:meth:`Component.interrupt` ended the message; the next one gets a new instance."""

    status = Status.INTERRUPTED


class ComponentStopped(AirssysError):
    """The component is stopped, or was stopped before it answered.

    :meth:`Component.start` starts it.
    """

    status = Status.COMPONENT_STOPPED


class ComponentFailed(AirssysError):
    """The component crashed too often for its ``supervision``, or could not be started.

    :meth:`Component.status` says why, and :meth:`Component.start` starts it.
    """

    status = Status.COMPONENT_FAILED


class CanaryUnderWay(AirssysError):
    """The component has a canary: :meth:`Component.promote` or :meth:`Component.abort` ends it."""

    status = Status.CANARY_UNDER_WAY


class Unsupported(AirssysError):
    """The storage has no such operation."""

    status = Status.UNSUPPORTED


class NotConforming(AirssysError):
    """A storage does not do what a storage must.

    ``str()`` lists the broken rules; ``detail`` is the whole report of
    :func:`airssys_wasm.storage.selftest`.
    """

    status = Status.NOT_CONFORMING

    def __str__(self) -> str:
        # A report of several lines.
        return "\n".join(printable(line) for line in self.message.split("\n"))


_CLASSES: Dict[int, Type[AirssysError]] = {
    kind.status: kind
    for kind in (
        InvalidArgument,
        InvalidId,
        InvalidOptions,
        InvalidComponent,
        InstantiationFailed,
        InitializationFailed,
        ComponentNotFound,
        ExportNotFound,
        Timeout,
        ResourceLimitExceeded,
        ComponentError,
        Trap,
        QueueFull,
        WouldDeadlock,
        ShutdownFailed,
        EngineStopped,
        Forked,
        Panic,
        IoError,
        InvalidMessage,
        RequestNotFound,
        Cancelled,
        DeliveryFailed,
        Interrupted,
        ComponentStopped,
        ComponentFailed,
        CanaryUnderWay,
        Unsupported,
        NotConforming,
    )
}


def from_status(status: int, message: str, detail: Dict[str, Any]) -> AirssysError:
    """The exception for a status of the library."""
    kind = _CLASSES.get(status)
    if kind is None:
        return AirssysError(message, status, detail)
    return kind(message, Status(status), detail)
