"""What the tests share: the package of this checkout, the guests, and engines that end."""

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_PARENT = ROOT / "bindings" / "python"
sys.path.insert(0, str(PACKAGE_PARENT))

from airssys_wasm import Component, DictStorage, Engine  # noqa: E402

# Without a handler, Python prints the crash of every component that a test makes crash.
logging.getLogger("airssys_wasm.component").addHandler(logging.NullHandler())

#: What the components of a test may do that is not about rights.
RIGHTS = {
    "messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]},
    "storage": ["read", "write", "delete"],
}

#: The component of :meth:`EngineTest.held_up`.
USER = "test/user/0"

# How long a test waits for what must happen; only a failing test waits as long.
PATIENCE = 60.0


def guest(name: str) -> Path:
    """The path of a guest."""
    directory = os.environ.get("AIRSSYS_GUESTS_DIR")
    if not directory:
        raise RuntimeError("set AIRSSYS_GUESTS_DIR to the directory of the guest components")
    return Path(directory) / f"{name}.wasm"


def run_python(*lines: str, imports: bool = True) -> "subprocess.CompletedProcess[str]":
    """Runs a program of its own, which has the paths of some guests, and imports the package."""
    head = [
        "import os, sys",
        # What a child does first: before all that the package does there.
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
            # What the library says itself on stderr is what counts, not the log of what is lost.
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
    """A test with engines that are closed when it ends."""

    def engine(self, **options: Any) -> Engine:
        engine = Engine(**{"capabilities": RIGHTS, **options})
        self.addCleanup(engine.close)
        return engine

    def bare_engine(self, **options: Any) -> Engine:
        """An engine whose components may do nothing that a test does not grant."""
        return self.engine(**{"capabilities": {}, **options})

    def load(self, name: str, **options: Any) -> Component:
        """A guest in an engine of its own."""
        return self.engine().load(f"test/{name}/0", guest(name), **options)

    def directory(self) -> Path:
        """An empty directory, without symbolic links in its path."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return Path(directory.name).resolve()

    def held_up(self, engine_options: Any = None, **options: Any) -> Any:
        """A component that is busy until the gate is opened, and the request that it works on."""
        gate = Gate()
        engine = self.engine(storage=gate, **(engine_options or {}))
        # Before the engine is closed, which would wait for the component.
        self.addCleanup(gate.open)
        user = engine.load(USER, guest("storage-user"), limits=Gate.LIMITS, **options)
        busy = user.request("set gate v")
        gate.wait_for_arrival()
        return gate, user, busy

    def eventually(self, condition: Callable[[], Any]) -> Any:
        """Waits for what happens on another thread, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.001)
        return found


class Hooked(DictStorage):
    """A storage that first does what a test wants done inside a callback.

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
    """A storage that holds a component up in each access to the key `gate`, until it is opened."""

    #: Loads a component that may be held up as long as a test takes.
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
        """Waits until one more component is held up."""
        if not self._arrived.acquire(timeout=PATIENCE):
            raise TimeoutError("no component came to the gate")

    def open(self) -> None:
        """Lets all go on, now and from now on."""
        self._open.set()
