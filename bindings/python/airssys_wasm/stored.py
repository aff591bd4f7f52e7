"""The stored data of components, for the host."""

from __future__ import annotations

import ctypes
import time
from typing import (
    Any,
    BinaryIO,
    Dict,
    Iterable,
    Iterator,
    List,
    Literal,
    Mapping,
    MutableMapping,
    NamedTuple,
    Optional,
    cast,
)

from airssys_wasm import _callbacks, _convert, _ffi
from airssys_wasm._convert import Payload
from airssys_wasm._core import Core
from airssys_wasm._library import lib
from airssys_wasm.errors import AirssysError, InvalidArgument

__all__ = ["StoredData", "StoredKeys", "Usage"]

#: What an import does with a key that exists.
Existing = Literal["refuse", "replace", "keep"]

_MODES = {
    "refuse": _ffi.IMPORT_REFUSE,
    "replace": _ffi.IMPORT_REPLACE,
    "keep": _ffi.IMPORT_KEEP,
}

#: Keys that an iteration asks for at once.
_PAGE = 1000

#: Bytes that an import reads at once.
_PIECE = 64 << 10


class Usage(NamedTuple):
    """The stored data of a component in numbers."""

    #: Bytes of all keys and values.
    bytes: int
    #: The number of keys.
    keys: int


class StoredKeys(MutableMapping[str, bytes]):
    """The keys and values of one component: a mapping, and a few methods.

    Each operation sees and changes at once what the component sees. What the host stores counts
    against the quotas of the component; the host itself is not refused.

    All operations raise :class:`~airssys_wasm.InvalidId` for a malformed id,
    :class:`~airssys_wasm.IoError` for a storage that fails, and :class:`~airssys_wasm.EngineClosed`.
    """

    def __init__(self, core: Core, id: str) -> None:
        self._core = core
        self._id = _convert.c_string("id", id)

    @property
    def id(self) -> str:
        """The id of the component, or the ``namespace/name`` that components share."""
        return self._id.decode()

    def __getitem__(self, key: str) -> bytes:
        value = self._core.ask(lib.airssys_engine_storage_get, self._id, _key(key))
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Payload) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self.delete(key)

    def __iter__(self) -> Iterator[str]:
        after: Optional[str] = None
        while True:
            page = self._page("", after, _PAGE)
            yield from page["keys"]
            if not page["more"]:
                return
            after = page["keys"][-1]

    def __len__(self) -> int:
        """The number of keys. Expired keys may still count."""
        return self.usage().keys

    def set(self, key: str, value: Payload, *, ttl: Optional[float] = None) -> None:
        """Stores a value, in place of an older one.

        :param value: bytes, or text, which is stored as UTF-8.
        :param ttl: seconds after which the key is missing; by default it stays.
        :raises Unsupported: a ``ttl``, and the engine has a ``storage`` of the program.
        """
        data, size = _convert.c_buffer(value)
        millis = 0 if ttl is None else _convert.milliseconds(ttl)
        self._core.run(lib.airssys_engine_storage_set, self._id, _key(key), data, size, millis)

    def delete(self, key: str) -> None:
        """Removes a key. A missing key is not an error."""
        self._core.run(lib.airssys_engine_storage_delete, self._id, _key(key))

    def list(self, prefix: str = "", *, after: str = "", limit: Optional[int] = None) -> List[str]:
        """The keys with a prefix, in the order of their bytes.

        :param after: only keys after this one.
        :param limit: the most keys; by default all.
        """
        if limit == 0:
            return []
        return cast("List[str]", self._page(prefix, after, limit or 0)["keys"])

    def _page(self, prefix: str, after: Optional[str], limit: int) -> Any:
        return self._core.ask_json(
            lib.airssys_engine_storage_list,
            self._id,
            _convert.c_string("prefix", prefix),
            _convert.c_string("after", after) if after else None,
            _convert.unsigned("limit", limit),
        )

    def usage(self) -> Usage:
        """Bytes and keys, as the quotas of the component count them."""
        used, keys = ctypes.c_uint64(), ctypes.c_uint64()
        self._core.run(
            lib.airssys_engine_storage_usage, self._id, ctypes.byref(used), ctypes.byref(keys)
        )
        return Usage(used.value, keys.value)

    def batch(
        self, changes: Mapping[str, Optional[Payload]], *, ttl: Optional[float] = None
    ) -> None:
        """Changes several keys at once: all, or none.

        :param changes: values by key; ``None`` removes the key.
        :param ttl: seconds after which the stored keys are missing; by default they stay.
        :raises Unsupported: the storage of the program has no ``batch``, or there is a ``ttl``.
        """
        expires = 0 if ttl is None else int(time.time() * 1000) + _convert.milliseconds(ttl)
        array = (_ffi.StorageChange * len(changes))()
        kept = []
        for change, (key, value) in zip(array, changes.items()):
            change.size = ctypes.sizeof(_ffi.StorageChange)
            change.key = _key(key)
            if value is not None:
                # An empty value must not be NULL.
                data = value.encode() if isinstance(value, str) else bytes(value)
                buffer = ctypes.create_string_buffer(data, len(data) + 1)
                kept.append(buffer)
                change.value = ctypes.addressof(buffer)
                change.value_len = len(data)
                change.expires_ms = expires
        self._core.run(lib.airssys_engine_storage_batch, self._id, array, len(array))

    def __repr__(self) -> str:
        return f"<StoredKeys of {self.id}>"


class StoredData:
    """What the components of an engine have stored: ``engine.storage["app/db/0"]["key"]``.

    The component with the id may be loaded or not. ``"app/db"`` is what all components of the name
    share that were loaded with ``storage={"scope": "name"}``.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def __getitem__(self, id: str) -> StoredKeys:
        return StoredKeys(self._core, id)

    def export(self, file: BinaryIO, namespaces: Optional[Iterable[str]] = None) -> None:
        """Writes stored data to a binary file, as text in the format of ``docs/storage-format.md``.

        Components may run meanwhile. Each value is one that its key had during the export.

        :param file: anything with a method ``write`` for bytes.
        :param namespaces: ids of components, or ``namespace/name`` of shared data; by default all.
        :raises Unsupported: the engine's ``storage`` has no ``namespaces``, and none were given.
        """
        if isinstance(namespaces, str):
            raise TypeError("namespaces must be several ids, not a str")
        names = [_convert.c_string("a namespace", name) for name in namespaces or ()]
        if namespaces is not None and not names:
            raise InvalidArgument("namespaces is empty")
        array = (ctypes.c_char_p * len(names))(*names)

        def write(data: int, size: int, _out: int) -> None:
            file.write(ctypes.string_at(data, size))

        function, failures = _callbacks.transfer(self._core, _ffi.ExportFn, write)
        try:
            export = lib.airssys_engine_storage_export
            self._core.run(export, array, len(names), function, None)
        except AirssysError:
            _raise(failures)
            raise

    def import_(self, file: BinaryIO, *, existing: Existing = "refuse") -> Dict[str, int]:
        """Stores the data of an export.

        What precedes an error stays stored; :meth:`check` finds a damaged export beforehand.

        :param file: anything with a method ``read`` for bytes.
        :param existing: what happens to a key that exists: ``"refuse"`` ends the import with an error,
            ``"replace"`` takes the value of the export, ``"keep"`` keeps the value.
        :returns: the numbers of ``keys`` in the export, and of those ``stored``, ``kept`` and
            ``expired``.
        :raises InvalidArgument: the export is damaged or cut off, or a key exists; the message has the
            line.
        """
        if existing not in _MODES:
            raise InvalidArgument(f"existing must be one of {', '.join(_MODES)}, not {existing!r}")
        return self._read(file, _MODES[existing])

    def check(self, file: BinaryIO) -> Dict[str, int]:
        """Reads an export as :meth:`import_` does, and stores nothing."""
        return self._read(file, _ffi.IMPORT_CHECK)

    def _read(self, file: BinaryIO, mode: int) -> Dict[str, int]:
        def read(out: int) -> None:
            _callbacks.write_piece(out, file.read(_PIECE))

        function, failures = _callbacks.transfer(self._core, _ffi.ImportFn, read)
        try:
            done = self._core.ask_json(lib.airssys_engine_storage_import, mode, function, None)
        except AirssysError:
            _raise(failures)
            raise
        return cast("Dict[str, int]", done)


def _key(key: str) -> bytes:
    return _convert.c_string("a key", key)


def _raise(failures: List[BaseException]) -> None:
    """Raises the exception of the file, if that was the reason."""
    if failures:
        raise failures[0]
