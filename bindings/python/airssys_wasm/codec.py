"""Self-describing payloads: a code of the multicodec table in front of the data.

::

    component.call(codec.prefix("json", json.dumps(order)))

    code, data = codec.read(reply)
    if codec.name(code) == "json":
        order = json.loads(data)

The prefix is part of the payload: the component receives it unchanged.
"""

from __future__ import annotations

import ctypes
from typing import Optional, Tuple, Union

from airssys_wasm import _convert, _core
from airssys_wasm._library import lib
from airssys_wasm.errors import InvalidArgument

__all__ = ["code", "name", "prefix", "read"]

#: The number of codes; ctypes would silently truncate a larger number.
_CODES = 1 << 64


def name(code: int) -> Optional[str]:
    """The name of a code, such as ``"cbor"`` for 0x51; ``None`` for an unknown code."""
    if not 0 <= code < _CODES:
        return None
    text: Optional[bytes] = lib.airssys_codec_name(code)
    return None if text is None else text.decode()


def code(name: str) -> int:
    """The code of a name, such as 0x51 for ``"cbor"``.

    An unknown name raises :class:`~airssys_wasm.InvalidArgument`, which lists the known names.
    """
    found = ctypes.c_uint64()
    frame = _core.Frame()
    text = _convert.c_string("name", name)
    status = lib.airssys_codec_code(text, ctypes.byref(found), frame.error_at)
    if status:
        raise frame.take_error(status)
    return found.value


def prefix(codec: Union[str, int], payload: _convert.Payload) -> bytes:
    """The payload with a codec prefix.

    ``codec`` is a name, as for :func:`code`, or a code of at most 63 bits, known or not. Any other
    value raises :class:`~airssys_wasm.InvalidArgument`.
    """
    number = code(codec) if isinstance(codec, str) else codec
    if not 0 <= number < _CODES:
        raise InvalidArgument(f"a codec must be a number of at most 63 bits, not {number}")
    frame = _core.Frame()
    data, size = _convert.c_buffer(payload)
    status = lib.airssys_codec_prefix(number, data, size, frame.reply_at, frame.error_at)
    if status:
        raise frame.take_error(status)
    message = frame.take_reply()
    assert message is not None
    return message


def read(payload: Union[bytes, bytearray, memoryview]) -> Tuple[int, bytes]:
    """The code at the start of a payload, and the data after it.

    Data without a prefix often looks like a code, so check with :func:`name` that the code is known.
    A payload that begins with no code raises :class:`~airssys_wasm.InvalidMessage`.
    """
    data = payload if isinstance(payload, bytes) else memoryview(payload).tobytes()
    found = ctypes.c_uint64()
    length = ctypes.c_size_t()
    frame = _core.Frame()
    status = lib.airssys_codec_read(
        data, len(data), ctypes.byref(found), ctypes.byref(length), frame.error_at
    )
    if status:
        raise frame.take_error(status)
    return found.value, data[length.value :]
