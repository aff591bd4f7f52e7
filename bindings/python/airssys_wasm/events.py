"""What happens in an engine, for a host that wants to know."""

from __future__ import annotations

import ctypes
import dataclasses
import json
from typing import Any, Dict

__all__ = ["Event"]


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened, as an engine's ``events`` gets it.

    ``dead-letter``: a message was accepted and will never be handled, because its receiver was
    unloaded, made room for newer mail, its sender's time was over before its turn came, or its engine
    was stopped. The data has ``component`` (the receiver), ``source``, ``correlation`` (of a request,
    its id in hexadecimal digits), ``content-type``, ``payload-bytes``, ``time``, and why, in ``code``
    and ``reason``.

    ``events-lost``: so many (``count``) were not delivered, because the callback was too slow.
    """

    #: What kind; a newer library may know more.
    kind: str
    #: All about it.
    data: Dict[str, Any]
    #: The message, of a dead letter.
    payload: bytes = b""


def read_event(event: Any) -> Event:
    """Copies an ``airssys_event_t``, which is only lent."""
    size = event.payload_len
    return Event(
        event.kind.decode(),
        json.loads(event.json),
        ctypes.string_at(event.payload, size) if size else b"",
    )
