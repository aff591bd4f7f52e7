"""The engines that are not freed yet: those that nobody refers to, and the end of the program."""

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

#: How long the end of the program waits for what is under way, in seconds.
_PATIENCE = 2.0

_engines: Dict[int, Callable[[], Optional[Core]]] = {}

#: Those that no thread could be had for.
_left: List[Core] = []


def add(core: Core) -> None:
    """Has the engine closed at the end of the program."""
    _engines[id(core)] = weakref.ref(core)
    if _left:
        abandon(_left.pop())


def discard(core: Core) -> None:
    """The engine is freed."""
    _engines.pop(id(core), None)


def abandon(core: Core) -> None:
    """Closes an engine on a thread of its own."""
    # Strong, since the collector has cleared the weak one of what it has found to be garbage.
    _engines[id(core)] = lambda: core
    try:
        _thread.start_new_thread(_close, (core,))
    except RuntimeError:
        # Until the next engine comes, or the program ends.
        _left.append(core)


def _close(core: Core) -> None:
    try:
        core.close()
    except AirssysError:
        # A fault of the library: there is nobody to tell.
        pass


@atexit.register
def _close_all() -> None:
    """Ends all engines while their threads can still call into the interpreter."""
    _hush_threads()
    deadline = time.monotonic() + _PATIENCE
    cores = [core for core in (find() for find in tuple(_engines.values())) if core is not None]
    for core in cores:
        core.stop_at_exit()
    for core in cores:
        core.close_at_exit(deadline)
    _registry.end()


def _hush_threads() -> None:
    """Daemon threads end with the program, and so do their calls: that is no error to be shown."""
    otherwise = threading.excepthook

    def hook(arguments: Any) -> None:
        daemon = arguments.thread is None or arguments.thread.daemon
        if not (daemon and issubclass(arguments.exc_type, EngineStopped)):
            otherwise(arguments)

    threading.excepthook = hook
