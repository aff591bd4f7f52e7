"""What the tests share: the package of this checkout, the guests, and engines that are closed."""

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Callable, List, Optional

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_PARENT = ROOT / "bindings" / "python"
sys.path.insert(0, str(PACKAGE_PARENT))

from airssys_wasm import Component, DictStorage, Engine  # noqa: E402

# Without a handler, Python would print every deliberate crash of a component.
logging.getLogger("airssys_wasm.component").addHandler(logging.NullHandler())

#: The rights of components in tests that are not about rights.
RIGHTS = {
    "messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]},
    "storage": ["read", "write", "delete"],
}

#: The component of :meth:`EngineTest.held_up`.
USER = "test/user/0"

# How long a test waits for something that must happen.
PATIENCE = 60.0


def guest(name: str) -> Path:
    """The path of a guest."""
    directory = os.environ.get("AIRSSYS_GUESTS_DIR")
    if not directory:
        raise RuntimeError("set AIRSSYS_GUESTS_DIR to the directory of the guest components")
    return Path(directory) / f"{name}.wasm"


def run_python(*lines: str, imports: bool = True) -> "subprocess.CompletedProcess[str]":
    """Runs a program in another process, with the package and the paths of some guests."""
    head = [
        "import os, sys",
        # Runs first in a child, before the package's own handlers.
        "born = os.pipe()",
        "os.register_at_fork(after_in_child=lambda: os.write(born[1], b'x'))",
        f"sys.path.insert(0, {str(PACKAGE_PARENT)!r})",
        f"ECHO = {str(guest('echo'))!r}",
        f"USER = {str(guest('storage-user'))!r}",
        f"CHATTY = {str(guest('chatty'))!r}",
        f"REQUESTER = {str(guest('requester'))!r}",
        f"TRAPPER = {str(guest('trapper'))!r}",
    ]
    if imports:
        head += [
            "import airssys_wasm",
            "import functools, logging",
            # The library's own output on stderr counts, not the log of losses.
            "logging.getLogger('airssys_wasm').addHandler(logging.NullHandler())",
            f"Engine = functools.partial(airssys_wasm.Engine, capabilities={RIGHTS!r})",
        ]
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join([*head, *lines])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )


class EngineTest(unittest.TestCase):
    """A test whose engines are closed at its end."""

    def engine(self, **options: Any) -> Engine:
        engine = Engine(**{"capabilities": RIGHTS, **options})
        self.addCleanup(engine.close)
        return engine

    def bare_engine(self, **options: Any) -> Engine:
        """An engine whose components have only the rights that a test grants."""
        return self.engine(**{"capabilities": {}, **options})

    def load(self, name: str, **options: Any) -> Component:
        """A guest in its own engine."""
        return self.engine().load(f"test/{name}/0", guest(name), **options)

    def directory(self) -> Path:
        """An empty directory, without symbolic links in its path."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return Path(directory.name).resolve()

    def held_up(self, engine_options: Any = None, **options: Any) -> Any:
        """A component that is busy until the gate opens, and its running request."""
        gate, engine_options = Gate(), dict(engine_options or {})
        if "events" in engine_options:
            engine_options["events"] = without_states(engine_options["events"])
        engine = self.engine(storage=gate, **engine_options)
        # Runs before the engine is closed, which would wait for the component.
        self.addCleanup(gate.open)
        user = engine.load(USER, guest("storage-user"), limits=Gate.LIMITS, **options)
        busy = user.request("set gate v")
        gate.wait_for_arrival()
        return gate, user, busy

    def eventually(self, condition: Callable[[], Any]) -> Any:
        """Waits for something that happens on another thread, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.001)
        return found

    def in_thread(
        self, function: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Callable[[], Optional[Exception]]:
        """Runs a function on another thread; returns a function that waits for it, and its error."""
        errors: List[Exception] = []

        def run() -> None:
            try:
                function(*arguments, **options)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def end() -> Optional[Exception]:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), "it does not end")
            return errors[0] if errors else None

        return end


def without_states(take: Callable[[Any], None]) -> Callable[[Any], None]:
    """A sink of all events but the changes of states."""
    return lambda event: None if event.kind == "state" else take(event)


class Hooked(DictStorage):
    """A storage that runs a hook of the test inside its callbacks.

    `hook(operation, namespace, key)` runs before each read and write of a component.
    """

    def __init__(self, hook: Any) -> None:
        super().__init__()
        self._hook = hook

    #: Reads without the hook.
    peek = DictStorage.get

    def get(self, namespace: str, key: str) -> Any:
        self._hook("get", namespace, key)
        return super().get(namespace, key)

    def set(self, namespace: str, key: str, value: bytes) -> None:
        self._hook("set", namespace, key)
        super().set(namespace, key, value)


class Gate(Hooked):
    """A storage that blocks each access to the key `gate` until it is opened."""

    #: Load options for a component that may block for the whole test.
    LIMITS = {"max_execution_time_ms": 3_600_000}

    def __init__(self) -> None:
        super().__init__(self._pass)
        self._arrived = threading.Semaphore(0)
        self._open = threading.Event()

    def _pass(self, operation: str, namespace: str, key: str) -> None:
        if key == "gate":
            self._arrived.release()
            if not self._open.wait(PATIENCE):
                raise TimeoutError("nobody opened the gate")

    def wait_for_arrival(self) -> None:
        """Waits until one more component is blocked."""
        if not self._arrived.acquire(timeout=PATIENCE):
            raise TimeoutError("no component came to the gate")

    def open(self) -> None:
        """Releases all accesses, now and later."""
        self._open.set()
