"""What a binary is, as a document."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, cast

from airssys_wasm import _convert
from airssys_wasm._convert import Binary
from airssys_wasm._core import Frame
from airssys_wasm._library import lib


def inspect(wasm: Binary) -> Dict[str, Any]:
    """Tells what a component is: its interfaces, functions and types. Nothing of it runs.

    The names are those of the library's JSON: ``imports`` and ``exports`` (interfaces with
    ``functions`` and ``types``; those in no interface are in the one named ``""``), ``types`` (the
    table that the numbers in place of types refer to), ``needs`` (what it could ask for, such as
    ``"storage"``), ``lifecycle``, ``state``, ``producers``, ``size``, ``sha256`` and ``wit``, the
    text.

    :param wasm: the path of a file, or the binary.
    :raises InvalidComponent: it is not a component that an engine with default limits would load.
    :raises OSError: the file cannot be read.
    """
    if isinstance(wasm, (str, os.PathLike)):
        wasm = Path(wasm).read_bytes()
    data, size = _convert.c_buffer(wasm)
    frame = Frame()
    frame.check(lib.airssys_component_inspect(data, size, frame.reply_at, frame.error_at))
    return cast("Dict[str, Any]", json.loads(frame.take_reply() or b"null"))
