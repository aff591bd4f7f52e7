"""Events of an engine."""

from __future__ import annotations

import ctypes
import dataclasses
import json
from typing import Any, Dict

__all__ = ["Event"]


@dataclasses.dataclass(frozen=True)
class Event:
    """An event, as an engine's ``events`` callback receives it.

    ``dead-letter``: a message was accepted and will never be handled. Its receiver was stopped, was
    unloaded or has failed, the mailbox dropped it for newer mail, its sender's time ran out before its
    turn, or the engine was stopped. The data has ``component`` (the receiver), ``source``,
    ``correlation`` (for a request, its id in hexadecimal digits), ``content-type``, ``payload-bytes``,
    ``time``, and the cause in ``code`` and ``reason``.

    ``state``: an instance of ``component`` changed ``from`` a state ``to`` another one. ``handle`` and
    ``instance`` (its number in a pool) tell which, ``cause`` and ``code`` why, ``version`` what it runs,
    and ``restarts`` how many new instances there have been. :meth:`Component.wait
    <airssys_wasm.Component.wait>` has the states. Causes are ``loaded``, ``registered`` (loaded, and the
    first message makes the first instance), ``idle`` (it has become passive), ``activated`` (the instance
    for the message that waits is ready), ``crash``, ``exit``, ``mail`` (a message for a crashed or passive
    component), ``supervisor`` (its supervision restarts it), ``give-up`` (or does not any more),
    ``restart``, ``group`` (its group restarts it, or gives up), ``recycle`` (a new instance is to take the place of this one), ``restarted``, ``replace``
    (an instance of another version is ready), ``replaced`` (it has taken over), ``kept`` (it has not, or
    the instance was not recycled), ``stop``, ``stopped``, ``start``, ``close`` and ``end``.

    ``health``: an instance of ``component`` reports another health than before. ``from`` and ``to`` are
    ``healthy``, ``degraded``, ``unhealthy`` or ``unknown``; ``handle`` and ``instance`` tell which.

    ``group``: the group with the name ``group`` changed ``from`` a state ``to`` another one, see
    :meth:`Group.status <airssys_wasm.Group.status>`. ``handle`` is its number, ``component`` the one whose
    loss made it act, or ``None``, and ``restarts`` how many it has made.

    ``canary``: a version of ``component`` is tried, or has been. ``change`` is ``begun``, ``promoted`` or
    ``aborted``; ``reason`` is ``call``, ``messages``, ``time``, ``errors``, ``stop``, ``restart``, ``close``
    or ``None``. ``version``, ``messages`` and ``errors`` are the canary's, those in ``stable`` the old
    version's.

    ``events-lost``: ``count`` events were not delivered, because the callback was too slow.
    """

    #: The kind of event; a newer library may have more.
    kind: str
    #: The details.
    data: Dict[str, Any]
    #: The payload of a dead letter.
    payload: bytes = b""


def read_event(event: Any) -> Event:
    """Copies a borrowed ``airssys_event_t``."""
    size = event.payload_len
    return Event(
        event.kind.decode(),
        json.loads(event.json),
        ctypes.string_at(event.payload, size) if size else b"",
    )
