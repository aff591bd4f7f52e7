"""The child of a fork in a callback on a thread of the library.

The child lacks the engine's other threads, so the callback cannot return there. The child ends
where the callback ends, like the child of a fork in a :class:`threading.Thread`.
"""

from __future__ import annotations

import os
import sys
import traceback
from types import CodeType
from typing import NoReturn, Optional, Set

_CALLBACKS = "airssys_wasm._callbacks"

#: The code of the functions that the library calls, also of those in other modules.
entries: Set[Optional[CodeType]] = set()

#: Whether this process is such a child.
is_orphan = False


def _look() -> None:
    global is_orphan
    outermost = sys._getframe()
    while outermost.f_back is not None:
        outermost = outermost.f_back
    is_orphan = (
        outermost.f_globals.get("__name__") == _CALLBACKS or outermost.f_code in entries
    )


def end(error: Optional[BaseException]) -> NoReturn:
    """Ends the child with the exit code of the callback's exception."""
    code = 0
    if isinstance(error, SystemExit):
        if isinstance(error.code, int):
            code = error.code & 0xFF
        elif error.code is not None:
            print(error.code, file=sys.stderr)
            code = 1
    elif error is not None:
        traceback.print_exception(type(error), error, error.__traceback__)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed or missing
    os._exit(code)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look)
