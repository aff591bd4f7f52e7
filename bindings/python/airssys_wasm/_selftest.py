"""The check of a storage."""

from __future__ import annotations

import ctypes
import json
from typing import Any, List, Optional

from airssys_wasm import _callbacks, _convert
from airssys_wasm._core import Frame
from airssys_wasm._library import lib
from airssys_wasm._registry import Host
from airssys_wasm.errors import Status
from airssys_wasm.storage import Storage


class _Check:
    """The owner of the callbacks of a check."""


#: Storages whose calls have not returned: they must live on.
_stuck: List[Host] = []


def run(storage: Storage, timeout: Optional[float]) -> Any:
    """The report; raises an exception if rules are broken."""
    host = Host(_Check(), storage)
    try:
        table = _callbacks.storage_table(host)
        frame = Frame()
        limit = 0 if timeout is None else _convert.milliseconds(timeout)
        status = lib.airssys_storage_selftest(
            ctypes.byref(table), limit, frame.reply_at, frame.error_at
        )
        if status == Status.TIMEOUT:
            host.hold()
            _stuck.append(host)
    finally:
        if host not in _stuck:
            host.forget()
    frame.check(status)
    return json.loads(frame.take_reply() or b"null")
