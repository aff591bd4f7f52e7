"""Runs of a component as a program."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, NamedTuple, Optional, Tuple, Union

from airssys_wasm import _typed
from airssys_wasm._library import lib

if TYPE_CHECKING:
    from airssys_wasm.component import Component

_RUN = b"wasi:cli/run"


class CompletedRun(NamedTuple):
    """How a program ended, and what it wrote."""

    #: The exit status; 0 is success.
    status: int
    #: What it wrote to standard output.
    stdout: bytes
    #: What it wrote to standard error.
    stderr: bytes


def run(
    component: Component,
    args: Tuple[str, ...],
    stdin: Union[bytes, str],
    timeout: Optional[float],
    sender: Optional[str],
    watched: bool,
) -> CompletedRun:
    """Runs the program and waits for its end."""
    for arg in args:
        if not isinstance(arg, str):
            raise TypeError(f"an argument must be a str, got {arg!r}")
    data = stdin.encode() if isinstance(stdin, str) else bytes(stdin)
    request = {"args": args, "stdin": base64.b64encode(data).decode()}
    how = _typed.options(watched, timeout, sender, False)
    text = json.dumps(request).encode()
    reply = component._core.ask(lib.airssys_engine_invoke, component._handle, _RUN, text, how)
    result = json.loads(reply or b"{}")
    stdout, stderr = (base64.b64decode(result[stream]) for stream in ("stdout", "stderr"))
    return CompletedRun(result["status"], stdout, stderr)
