"""A loaded component."""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, Type, cast

from airssys_wasm import _callbacks, _convert, request, security
from airssys_wasm._convert import Payload
from airssys_wasm._core import Core
from airssys_wasm._library import lib
from airssys_wasm.errors import EngineClosed
from airssys_wasm.request import Request
from airssys_wasm.security import Explanation, Grants

if TYPE_CHECKING:
    from airssys_wasm.engine import Engine

__all__ = ["Component"]


_get_ident = threading.get_ident


class _Main:
    """The main thread, whichever that is after a fork."""

    __slots__ = ("ident",)

    def __init__(self) -> None:
        self.note()

    def note(self) -> None:
        self.ident = threading.main_thread().ident


_main = _Main()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_main.note)
#: Options of the main thread's calls, which have signals handled and nothing else.
_watched = _convert.message_options(None, None, None, False, _callbacks.progress)


class Component:
    """A component in an engine, as :meth:`Engine.load <airssys_wasm.Engine.load>` gives it.

    The engine owns the component: it stays loaded when this object goes away, until
    :meth:`unload` or the end of the engine. As a context manager it unloads at the end of the
    block. All methods may be called from any number of threads at once, and from callbacks.
    """

    __slots__ = ("_core", "_engine", "_handle", "_id")

    def __init__(self, engine: Engine, core: Core, handle: int, id: str) -> None:
        # The engine is here to be kept alive: it closes when nobody refers to it.
        self._engine = engine
        self._core = core
        self._handle = handle
        self._id = id

    @property
    def id(self) -> str:
        """Its identity, ``namespace/name/instance``."""
        return self._id

    @property
    def handle(self) -> int:
        """What names it within its engine; never used again for another."""
        return self._handle

    @property
    def engine(self) -> Engine:
        """The engine that it is loaded in."""
        return self._engine

    def call(
        self,
        payload: Payload,
        *,
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
        content_type: Optional[str] = None,
        interrupts: bool = False,
    ) -> Optional[bytes]:
        """Sends a message and waits for the reply; other Python threads run meanwhile.

        On the main thread signals are handled meanwhile. What their handler raises, as Ctrl-C does
        ``KeyboardInterrupt``, interrupts the message and is raised from here.

        :param payload: the message; a ``str`` is sent as UTF-8. It must not change before the
            call returns.
        :param timeout: seconds to wait, more than 0; the component's own time limit holds either
            way.
        :param sender: the id that the component sees as the sender, instead of the host's.
        :param content_type: goes with the message; the library does not look at it.
        :param interrupts: whether a message that is being handled when the ``timeout`` passes is
            interrupted, as by :meth:`interrupt`; else it is handled to its end.
        :returns: the reply; ``b""`` is an empty one, ``None`` is no reply at all.
        :raises ComponentError: the component answered with an error of its own.
        :raises Trap: it crashed; the next message gets a fresh instance.
        :raises ResourceLimitExceeded: it asked for more than its limits allow.
        :raises Timeout: the ``timeout`` passed, or the component's time limit. A message whose turn
            had not come by then is never handled; ``started`` of the error's details says so.
        :raises Interrupted: :meth:`interrupt` ended it.
        :raises ComponentNotFound: it is not loaded any more.
        :raises ExportNotFound: it answers no messages at all.
        :raises InvalidMessage: it does not take such payloads (``codecs``).
        :raises QueueFull: its mailbox is full.
        :raises WouldDeadlock: this is a callback that the same component waits for.
        :raises EngineStopped: the engine was shut down or closed.
        """
        # The usual case first: a message costs about as much as what Python does around it.
        watched = _get_ident() == _main.ident
        if timeout is None and sender is None and content_type is None:
            options = _watched if watched else None
        else:
            progress = _callbacks.progress if watched else None
            options = _convert.message_options(
                timeout, sender, content_type, interrupts, progress
            )
        if type(payload) is bytes:
            return self._core.call(self._handle, payload, len(payload), options)
        data, size = _convert.c_buffer(payload)
        return self._core.call(self._handle, data, size, options)

    def request(
        self,
        payload: Payload,
        *,
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
        content_type: Optional[str] = None,
        interrupts: bool = False,
    ) -> Request:
        """Sends a message and returns at once, with a future of the reply.

        The parameters are those of :meth:`call`, but for the payload, which is copied before this
        returns, and the ``timeout``, which is the request's own: it ends then, whether somebody
        waits for it or not. ``interrupts`` is for :meth:`Request.cancel` too. Where the mailbox blocks its senders, this waits for room.

        :returns: a :class:`concurrent.futures.Future` whose outcome is what :meth:`call` would
            have returned or raised.
        :raises QueueFull: the mailbox is full; a message that was accepted, and later dropped for
            a newer one, has this as its outcome.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises InvalidMessage: it does not take such payloads (``codecs``).
        :raises WouldDeadlock: this is a callback that the component waits for, and would have to
            wait for room in its mailbox.
        :raises EngineStopped: the engine was shut down or closed.
        """
        data, size = _convert.c_buffer(payload)
        options = _convert.message_options(timeout, sender, content_type, interrupts)
        return request.make(
            self._engine,
            self._core,
            lib.airssys_engine_request,
            self._handle,
            data,
            size,
            options,
        )

    def send(
        self,
        payload: Payload,
        *,
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
        content_type: Optional[str] = None,
    ) -> None:
        """Puts a message into the component's mailbox and returns; a reply is dropped.

        The parameters are those of :meth:`call`, but for the payload, which is copied before this
        returns, and the ``timeout``: seconds to wait for room, where the mailbox blocks its
        senders; by default as long as it takes.

        :raises QueueFull: the mailbox is full, or was for the whole ``timeout``.
        :raises ExportNotFound: the component answers no messages at all.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises InvalidMessage: it does not take such payloads (``codecs``).
        :raises WouldDeadlock: as for :meth:`request`.
        :raises EngineStopped: the engine was shut down or closed.
        """
        data, size = _convert.c_buffer(payload)
        options = _convert.message_options(timeout, sender, content_type)
        self._core.run(lib.airssys_engine_send, self._handle, data, size, options)

    def grant(self, grants: Grants) -> None:
        """Lets the component do more than it was loaded with, from the next decision on.

        A directory that it did not have before appears to it with its next instance.

        :param grants: one set of grants, as :meth:`Engine.load <airssys_wasm.Engine.load>` takes
            it. One that is held already is held as long as the new one says.
        :raises InvalidOptions: a grant is malformed; it says which, and nothing has changed.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = _convert.json_document(security.grants(grants), {})
        self._core.run(lib.airssys_engine_grant, self._handle, document)

    def revoke(self, grants: Optional[Grants] = None) -> None:
        """Takes grants away from the component, from the next decision on.

        What was accepted before is delivered, and connections stay; files that are open can not be
        read or written any more. A part of what a pattern covers is taken away by a policy.

        :param grants: the grants as they were made, by action and pattern; ``None`` takes all away.
        :raises InvalidOptions: the component does not hold one of them; it says which, and nothing
            has changed.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = None
        if grants is not None:
            document = _convert.json_document(security.grants(grants), {})
        self._core.run(lib.airssys_engine_revoke, self._handle, document)

    def explain(self, action: str, resource: str = "") -> Explanation:
        """Says whether the component may do something now, and by what.

        Quotas are not looked at, and no audit record is made.

        :param action: one of those of
            :meth:`Engine.set_policies <airssys_wasm.Engine.set_policies>`, such as
            ``"messaging.send"``.
        :param resource: what it would be done to: an id, a path of the host, a host with a port;
            ``""`` for what is the component's own, such as its clock.
        :raises InvalidOptions: there is no such action.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = self._core.ask_json(
            lib.airssys_engine_explain,
            self._handle,
            _convert.c_string("action", action),
            _convert.c_string("resource", resource),
        )
        return security.read_explanation(document)

    def describe(self) -> Dict[str, Any]:
        """State, metadata, limits, mailbox and counters, as the library's JSON has them.

        :raises ComponentNotFound: it is not loaded any more.
        """
        document = self._core.ask_json(lib.airssys_engine_describe, self._handle)
        return cast("Dict[str, Any]", document)

    def health(self) -> str:
        """Asks the component: ``healthy``, ``degraded``, ``unhealthy`` or ``unknown``.

        :raises Trap: it crashed over the question; the other errors are those of :meth:`call`.
        """
        document = self._core.ask_json(lib.airssys_engine_health, self._handle)
        return cast(str, document["health"])

    def interrupt(self) -> None:
        """Ends what the component runs now, with :class:`Interrupted` for who waits for it.

        Its instance is gone then; messages that wait are handled by a new one. A component that
        runs nothing is not changed. Returns at once.

        :raises ComponentNotFound: it is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        self._core.run(lib.airssys_engine_interrupt, self._handle)

    def unload(self, timeout: Optional[float] = None) -> None:
        """Takes the component out of the engine; nothing happens if that was done already.

        :param timeout: seconds, from 0 on, after which what the component still runs is
            interrupted; without it the message under way, and ``shutdown``, have their own limit.
        :raises ShutdownFailed: the component failed in its ``shutdown``, or did not come to it
            within ``timeout``; it is unloaded all the same.
        :raises Timeout: a callback of the host that runs for it has not returned; it is unloaded,
            and ends with that.
        """
        with contextlib.suppress(EngineClosed):
            if timeout is None:
                self._core.run(lib.airssys_engine_unload, self._handle)
            else:
                within = _convert.milliseconds(timeout, zero=True)
                self._core.run(lib.airssys_engine_unload_within, self._handle, within)

    def __enter__(self) -> Component:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.unload()

    def _key(self) -> Tuple[int, int]:
        return (id(self._core), self._handle)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Component):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"<Component {self._id} handle={self._handle}>"
