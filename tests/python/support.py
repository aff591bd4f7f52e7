"""What the tests share: the package of this checkout, the guests, and engines that end."""

import logging
import os
import sys
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_PARENT = ROOT / "bindings" / "python"
sys.path.insert(0, str(PACKAGE_PARENT))

from airssys_wasm import Component, DictStorage, Engine  # noqa: E402

# Without a handler, Python prints the crash of every component that a test makes crash.
logging.getLogger("airssys_wasm.component").addHandler(logging.NullHandler())

# How long a test waits for what must happen; only a failing test waits as long.
PATIENCE = 60.0


def guest(name: str) -> Path:
    """The path of a guest."""
    directory = os.environ.get("AIRSSYS_GUESTS_DIR")
    if not directory:
        raise RuntimeError("set AIRSSYS_GUESTS_DIR to the directory of the guest components")
    return Path(directory) / f"{name}.wasm"


class EngineTest(unittest.TestCase):
    """A test with engines that are closed when it ends."""

    def engine(self, **options: Any) -> Engine:
        engine = Engine(**options)
        self.addCleanup(engine.close)
        return engine

    def load(self, name: str, **options: Any) -> Component:
        """A guest in an engine of its own."""
        return self.engine().load(f"test/{name}/0", guest(name), **options)


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
