"""Engines that are not freed yet: closes them without references, or at the end of the program."""

from __future__ import annotations

import _thread
import atexit
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from airssys_wasm import _registry
from airssys_wasm.errors import AirssysError, EngineStopped

if TYPE_CHECKING:
    from airssys_wasm._core import Core

#: How long the end of the program waits for running calls and callbacks, in seconds.
_PATIENCE = 2.0

_engines: Dict[int, Callable[[], Optional[Core]]] = {}

#: Abandoned engines for which no thread could start.
_left: List[Core] = []


def add(core: Core) -> None:
    """Registers the engine, so that the end of the program closes it."""
    _engines[id(core)] = weakref.ref(core)
    if _left:
        abandon(_left.pop())


def discard(core: Core) -> None:
    """Removes a freed engine."""
    _engines.pop(id(core), None)


def abandon(core: Core) -> None:
    """Closes an engine on a thread of its own."""
    # A strong reference: the collector has cleared the weak references to its garbage.
    _engines[id(core)] = lambda: core
    try:
        _thread.start_new_thread(_close, (core,))
    except RuntimeError:
        # Retried with the next engine, or at the end of the program.
        _left.append(core)


def _close(core: Core) -> None:
    try:
        core.close()
    except AirssysError:
        # A defect of the library, and no caller to raise it to.
        pass


@atexit.register
def _close_all() -> None:
    """Closes all engines while their threads can still call the interpreter."""
    _hush_threads()
    deadline = time.monotonic() + _PATIENCE
    cores = [core for core in (find() for find in tuple(_engines.values())) if core is not None]
    for core in cores:
        core.stop_at_exit()
    for core in cores:
        core.close_at_exit(deadline)
    _registry.end()


def _hush_threads() -> None:
    """Silences `EngineStopped` in daemon threads: their calls end with the program."""
    otherwise = threading.excepthook

    def hook(arguments: Any) -> None:
        daemon = arguments.thread is None or arguments.thread.daemon
        if not (daemon and issubclass(arguments.exc_type, EngineStopped)):
            otherwise(arguments)

    threading.excepthook = hook
