"""Where components keep their data, when the host wants to decide that itself."""

from __future__ import annotations

import threading
from typing import Dict, Iterable, Optional, Protocol, Tuple, runtime_checkable

__all__ = ["DictStorage", "InvalidKey", "Storage", "StorageQuotaExceeded"]


class StorageQuotaExceeded(Exception):
    """Raise it in a storage: the component gets ``quota-exceeded``."""


class InvalidKey(Exception):
    """Raise it in a storage: the component gets ``invalid-key``."""


@runtime_checkable
class Storage(Protocol):
    """What an engine needs of a storage; any object with these four methods will do.

    ``namespace`` is the id of the component that asks, ``namespace/name/instance``; keys of
    different namespaces have nothing to do with each other. Keys are text, values are bytes.

    The methods are called from the thread that calls a component and from threads of the engine,
    several at once for different components. They may use the engine (call other components,
    load and unload), but not close it or shut it down; a call that would have to wait for the
    component that asks raises :class:`~airssys_wasm.WouldDeadlock`.

    An exception becomes the component's storage error: :class:`StorageQuotaExceeded` and
    :class:`InvalidKey` those of that name, any other an ``io-error``. The component sees the
    exception's text only if the engine has ``host_error_texts``; otherwise it goes to the log.
    The others are also logged, with their traceback, as errors of the logger ``airssys_wasm``,
    20 in a second at most.

    Two more methods are used if the object has them when the engine is made, and are otherwise
    worked out from ``get`` and ``list``::

        def exists(self, namespace: str, key: str) -> bool: ...

        # bytes of all keys and values, and number of keys
        def usage(self, namespace: str) -> Tuple[int, int]: ...
    """

    def get(self, namespace: str, key: str) -> Optional[bytes]:
        """The value, or ``None`` if there is no such key."""

    def set(self, namespace: str, key: str, value: bytes) -> None:
        """Writes the value, over an older one if there is one."""

    def delete(self, namespace: str, key: str) -> None:
        """Takes the key away; not an error if there is no such key."""

    def list(self, namespace: str, prefix: str) -> Iterable[str]:
        """The keys that start with ``prefix`` (all, if it is empty), in any order."""


class DictStorage:
    """A :class:`Storage` in memory that the host can look into, for tests and as an example.

    Without any storage an engine keeps the data in memory as well, and faster.
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
        """Whether there is such a key."""
        with self._lock:
            return key in self._namespaces.get(namespace, {})

    def usage(self, namespace: str) -> Tuple[int, int]:
        """Bytes of all keys and values of the namespace, and the number of its keys."""
        with self._lock:
            keys = self._namespaces.get(namespace, {})
            return sum(len(key.encode()) + len(value) for key, value in keys.items()), len(keys)
