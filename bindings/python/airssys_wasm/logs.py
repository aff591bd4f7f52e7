"""Passes log records of components to :mod:`logging`."""

from __future__ import annotations

import ctypes
import logging
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple, Union

from airssys_wasm import _ffi
from airssys_wasm._text import printable

__all__ = ["TRACE", "LogEntry", "LogTarget"]

#: The level of a component's ``trace`` records, below :data:`logging.DEBUG`.
TRACE = 5

#: The default logger for the records of components.
DEFAULT_LOGGER = "airssys_wasm.component"

_LEVELS = (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)

if logging.getLevelName(TRACE) == f"Level {TRACE}":
    logging.addLevelName(TRACE, "TRACE")


class LogEntry(NamedTuple):
    """A log record, as an engine's logger callable receives it."""

    #: A level of :mod:`logging`, or :data:`TRACE`.
    level: int
    #: The id of the component; ``None`` for a record of the engine itself.
    component: Optional[str]
    #: The component's own text, which may contain line breaks and control characters.
    message: str
    #: Names and values that the component added.
    context: Dict[str, str]
    #: The time of writing, in seconds of Unix time.
    time: float


#: The type of an engine's logger.
LogTarget = Union[logging.Logger, Callable[[LogEntry], None]]


def sink_for(
    target: Optional[LogTarget], level: Optional[int]
) -> Tuple[Callable[[LogEntry], None], int]:
    """The function that takes the records, and its lowest level in the library's numbering.

    The level is fixed here, when the engine is made, so that the library does not build unwanted
    records. A query of the logger for each record would cost a switch of thread and language.
    """
    if target is None:
        target = logging.getLogger(DEFAULT_LOGGER)
    if isinstance(target, logging.Logger):
        sink: Callable[[LogEntry], None] = _LoggerSink(target)
        lowest = target.getEffectiveLevel() if level is None else level
    elif callable(target):
        sink = target
        lowest = TRACE if level is None else level
    else:
        raise TypeError(
            f"logger must be a logging.Logger or a callable, not {type(target).__name__}"
        )
    wanted = (native for native, known in enumerate(_LEVELS) if known >= lowest)
    return sink, next(wanted, _ffi.LOG_OFF)


class _LoggerSink:
    """Passes entries to a logger as records with ``component``, ``context`` and ``text``.

    The message is printable; ``text`` is the component's own text.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __call__(self, entry: LogEntry) -> None:
        logger = self._logger
        if not logger.isEnabledFor(entry.level):
            return
        record = logger.makeRecord(
            logger.name,
            entry.level,
            "",
            0,
            _line(entry) if not logger.hasHandlers() else printable(entry.message),
            (),
            None,
            extra={
                "component": entry.component,
                "context": entry.context,
                "text": entry.message,
            },
        )
        # A record may arrive late; its time is the time of writing.
        record.relativeCreated += (entry.time - record.created) * 1000
        record.created = entry.time
        record.msecs = float(int(entry.time * 1000) % 1000)
        logger.handle(record)


def _line(entry: LogEntry) -> str:
    """The whole entry on one line: unconfigured logging prints only the message."""
    words = [] if entry.component is None else [f"{printable(entry.component)}:"]
    words.append(printable(entry.message))
    words += [f"{printable(key)}={printable(value)!r}" for key, value in entry.context.items()]
    return " ".join(words)


def read_record(record: Any) -> LogEntry:
    """Copies a borrowed ``airssys_log_record_t``."""
    level = record.level
    component = record.component
    context = {
        _text(record.context_keys[i]): _text(record.context_values[i])
        for i in range(record.context_len)
    }
    return LogEntry(
        _LEVELS[level] if 0 <= level < len(_LEVELS) else logging.ERROR,
        None if component is None else _text(component),
        _text(ctypes.string_at(record.message, record.message_len)) if record.message_len else "",
        context,
        record.seconds + record.nanoseconds / 1e9,
    )


def _text(value: Optional[bytes]) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
