"""Storage of components in the host program."""

from __future__ import annotations

import threading
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Protocol,
    Tuple,
    cast,
    runtime_checkable,
)

__all__ = ["DictStorage", "InvalidKey", "Storage", "StorageQuotaExceeded", "selftest"]


class StorageQuotaExceeded(Exception):
    """A storage raises it; the component gets ``quota-exceeded``."""


class InvalidKey(Exception):
    """A storage raises it; the component gets ``invalid-key``."""


@runtime_checkable
class Storage(Protocol):
    """A storage for an engine: any object with these four methods.

    ``namespace`` is the id of the calling component, ``namespace/name/instance``, or the
    ``namespace/name`` that components share, or ``airssys.engine``. Each namespace has its own keys.
    Keys are text, values are bytes. :func:`selftest` checks a storage.

    The methods run on threads that call components and on threads of the engine, several at once
    for different components. They may use the engine (call other components, load and unload), but
    must not close it or shut it down. A call that would wait for the calling component raises
    :class:`~airssys_wasm.WouldDeadlock`.

    An exception becomes the component's storage error: :class:`StorageQuotaExceeded` and
    :class:`InvalidKey` become the error of that name, any other an ``io-error``. The component sees
    the text of the exception only if the engine has ``host_error_texts``; otherwise it goes to the
    log. The logger ``airssys_wasm`` records the other exceptions as errors, with the traceback, at most
    20 per second.

    A storage with the attribute ``serialize = True`` is called by one thread at a time.

    The engine uses more methods if the object has them when the engine is made. It derives the first
    two from ``get`` and ``list`` otherwise::

        def exists(self, namespace: str, key: str) -> bool: ...

        # bytes of all keys and values, and number of keys
        def usage(self, namespace: str) -> Tuple[int, int]: ...

        # all changes, or none; None removes a key
        def batch(self, namespace: str, changes: Mapping[str, Optional[bytes]]) -> None: ...

        # all namespaces that hold keys, for exports
        def namespaces(self) -> Iterable[str]: ...

        # what was written before is durable; called at a shutdown, and after an import
        def flush(self) -> None: ...
    """

    def get(self, namespace: str, key: str) -> Optional[bytes]:
        """The value, or ``None`` if there is no such key."""

    def set(self, namespace: str, key: str, value: bytes) -> None:
        """Writes the value and replaces an older one."""

    def delete(self, namespace: str, key: str) -> None:
        """Removes the key. A missing key is not an error."""

    def list(self, namespace: str, prefix: str) -> Iterable[str]:
        """The keys that start with ``prefix`` (all keys if it is empty), in any order."""


class DictStorage:
    """A :class:`Storage` in memory that the host can inspect, for tests and as an example.

    The default storage of an engine is in memory too, and faster.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._namespaces: Dict[str, Dict[str, bytes]] = {}

    def get(self, namespace: str, key: str) -> Optional[bytes]:
        """See :meth:`Storage.get`."""
        with self._lock:
            return self._namespaces.get(namespace, {}).get(key)

    def set(self, namespace: str, key: str, value: bytes) -> None:
        """See :meth:`Storage.set`."""
        with self._lock:
            self._namespaces.setdefault(namespace, {})[key] = value

    def delete(self, namespace: str, key: str) -> None:
        """See :meth:`Storage.delete`."""
        with self._lock:
            self._namespaces.get(namespace, {}).pop(key, None)

    def list(self, namespace: str, prefix: str) -> Iterable[str]:
        """See :meth:`Storage.list`."""
        with self._lock:
            keys = self._namespaces.get(namespace, {})
            return [key for key in keys if key.startswith(prefix)]

    def exists(self, namespace: str, key: str) -> bool:
        """Whether the key exists."""
        with self._lock:
            return key in self._namespaces.get(namespace, {})

    def usage(self, namespace: str) -> Tuple[int, int]:
        """Bytes of all keys and values of the namespace, and the number of its keys."""
        with self._lock:
            keys = self._namespaces.get(namespace, {})
            return sum(len(key.encode()) + len(value) for key, value in keys.items()), len(keys)

    def batch(self, namespace: str, changes: Mapping[str, Optional[bytes]]) -> None:
        """Makes all changes; ``None`` removes a key."""
        with self._lock:
            keys = self._namespaces.setdefault(namespace, {})
            for key, value in changes.items():
                if value is None:
                    keys.pop(key, None)
                else:
                    keys[key] = value

    def namespaces(self) -> Iterable[str]:
        """All namespaces that hold keys."""
        with self._lock:
            return [namespace for namespace, keys in self._namespaces.items() if keys]


def selftest(storage: Storage, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
    """Checks that a storage does what a storage must, without an engine.

    It stores keys in namespaces that begin with ``airssys-selftest-``, from several threads at once,
    and removes them again.

    :param timeout: the most seconds for one rule; by default 60.
    :returns: the rules, each with ``rule``, ``text`` and ``result``: ``"held"``, or ``"skipped"`` if
        the storage has no such method.
    :raises NotConforming: rules are broken; print the exception.
    :raises Timeout: a rule took longer. Its calls may still run.
    """
    from airssys_wasm import _selftest

    return cast("List[Dict[str, Any]]", _selftest.run(storage, timeout)["rules"])
