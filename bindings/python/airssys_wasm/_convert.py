"""Converts Python values to arguments of the C functions."""

from __future__ import annotations

import ctypes
import json
import math
import os
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from airssys_wasm import _ffi
from airssys_wasm.errors import InvalidArgument, InvalidOptions

#: Bytes, anything with the buffer protocol, or text, which is sent as UTF-8.
Payload = Union[bytes, bytearray, memoryview, str]

#: A component: the path of a file, or the binary itself.
Binary = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview]

#: Milliseconds: no limit.
FOREVER = 2**64 - 1

_MESSAGE_OPTIONS_SIZE = ctypes.sizeof(_ffi.MessageOptions)


def c_string(what: str, value: Union[str, bytes]) -> bytes:
    """Text for a NUL-terminated parameter; ``what`` names it in errors."""
    if isinstance(value, str):
        try:
            value = value.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{what} cannot be encoded as UTF-8: {error}") from None
    elif not isinstance(value, bytes):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if b"\0" in value:
        # C would silently stop there.
        raise InvalidArgument(f"{what} contains a NUL character")
    return value


def c_buffer(value: Payload) -> Tuple[Any, int]:
    """A pointer argument and its length.

    Only text, read-only views and views with gaps are copied. The first item keeps the memory alive
    and locks the size of a ``bytearray``.
    """
    if isinstance(value, bytes):
        return value, len(value)
    if isinstance(value, str):
        encoded = value.encode()
        return encoded, len(encoded)
    view = memoryview(value)
    if view.nbytes == 0:
        return None, 0
    if view.readonly or not view.c_contiguous:
        # ctypes cannot take the address of a read-only buffer.
        copy = view.tobytes()
        return copy, len(copy)
    return ctypes.byref(ctypes.c_char.from_buffer(view)), view.nbytes


def milliseconds(timeout: float, zero: bool = False) -> int:
    """Converts seconds to whole milliseconds, rounded up so that a short timeout does not become 0.

    ``zero`` allows 0 as a timeout.
    """
    if not (0 < timeout < 1e15 or (zero and timeout == 0)):
        raise InvalidArgument(f"a timeout must be a positive number of seconds, not {timeout!r}")
    # Rounded first: 1.1 * 1000 is a little more than 1100.
    return math.ceil(round(timeout * 1000, 3))


def message_options(
    timeout: Optional[float],
    sender: Optional[str],
    content_type: Optional[str],
    interrupts: bool = False,
    progress: Any = None,
    packed: bool = False,
) -> Any:
    """A pointer argument to the options of a message; NULL without options."""
    if (timeout, sender, content_type, progress) == (None,) * 4 and not interrupts | packed:
        return None
    options = _ffi.MessageOptions(
        _MESSAGE_OPTIONS_SIZE,
        None if sender is None else c_string("sender", sender),
        None if content_type is None else c_string("content_type", content_type),
        0 if timeout is None else milliseconds(timeout),
        (_ffi.MESSAGE_ENDS_WITH_SENDER if interrupts else 0)
        | (_ffi.MESSAGE_PACKED_LISTS if packed else 0),
    )
    if progress is not None:
        options.progress = progress
    return ctypes.byref(options)


def unsigned(what: str, value: int) -> int:
    """A number of 64 bits. ctypes would silently truncate a larger one."""
    if not 0 <= value < 1 << 64:
        raise InvalidArgument(f"{what} must be a number of 64 bits, not {value!r}")
    return value


def dashed(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Option names in the library's spelling; ``max_fuel`` and ``max-fuel`` are the same."""
    return {key.replace("_", "-"): value for key, value in values.items()}


def supervision(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Supervision in the library's spelling."""
    found = dashed(values)
    if isinstance(found.get("backoff"), Mapping):
        found["backoff"] = dashed(found["backoff"])
    return found


def stop_timeout(timeout: Optional[float]) -> int:
    """Milliseconds after which a component is interrupted; ``None`` is never."""
    return FOREVER if timeout is None else milliseconds(timeout, zero=True)


def json_document(base: Optional[Mapping[str, Any]], arguments: Mapping[str, Any]) -> bytes:
    """One JSON document from a base and the arguments that are not ``None``."""
    document = {} if base is None else dict(base)
    for key, value in arguments.items():
        if value is None:
            continue
        if key in document:
            raise InvalidOptions(f"{key!r} is given twice, as an argument and in the options")
        document[key] = value
    return json.dumps(document, allow_nan=False).encode()
