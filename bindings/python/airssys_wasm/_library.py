"""Finds the shared library at the import of the package."""

from __future__ import annotations

import ctypes.util
import os
import sys
from typing import Any, Iterator, List, Tuple

from airssys_wasm import _ffi

ENVIRONMENT_VARIABLE = "AIRSSYS_WASM_LIBRARY"


def _file_names() -> Tuple[str, ...]:
    """The file names of the library on this platform, the name with the ABI number first."""
    if sys.platform == "win32":
        return ("airssys_wasm.dll",)
    if sys.platform == "darwin":
        return (f"libairssys_wasm.{_ffi.ABI_VERSION}.dylib", "libairssys_wasm.dylib")
    return (f"libairssys_wasm.so.{_ffi.ABI_VERSION}", "libairssys_wasm.so")


def _candidates() -> Iterator[str]:
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        # A named library is the only candidate.
        yield chosen
        return
    here = os.path.dirname(os.path.abspath(__file__))
    for name in _file_names():
        bundled = os.path.join(here, name)
        if os.path.exists(bundled):
            yield bundled
    yield _file_names()[0]
    # Last, because the search may start a compiler.
    found = ctypes.util.find_library("airssys_wasm")
    if found:
        yield found


def _open() -> Any:
    tried: List[str] = []
    for name in _candidates():
        try:
            library = _ffi.bind(name)
        except (OSError, AttributeError) as error:
            tried.append(f"{name}: {error}")
            continue
        version = library.airssys_abi_version()
        if version == _ffi.ABI_VERSION:
            return library
        tried.append(
            f"{name}: its ABI version is {version}, this package needs {_ffi.ABI_VERSION}"
        )
    raise ImportError(
        "cannot load the library libairssys_wasm. Install it, or set "
        f"{ENVIRONMENT_VARIABLE} to its path. Tried:\n  " + "\n  ".join(tried)
    )


#: The functions of the library, by their C names.
lib: Any = _open()
