"""Storage of components in a file."""

from __future__ import annotations

import os
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from airssys_wasm import _convert
from airssys_wasm.storage import Storage

#: The file of a storage: its path, or options with a ``path``.
StorageFile = Union[str, "os.PathLike[str]", Mapping[str, Any]]


def separated(
    storage: Optional[Union[Storage, StorageFile]],
) -> Tuple[Optional[Dict[str, Any]], Optional[Storage]]:
    """The options of a file, or the storage of the host."""
    if storage is None or isinstance(storage, Storage):
        return None, storage
    if isinstance(storage, (str, os.PathLike)):
        storage = {"path": storage}
    if not isinstance(storage, Mapping):
        # Not all methods are there, which the registration tells.
        return None, storage
    options = _convert.dashed(storage)
    if isinstance(options.get("path"), os.PathLike):
        options["path"] = os.fspath(options["path"])
    return options, None
