"""A loaded component."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple, Type, Union, cast

from airssys_wasm import _callbacks, _convert, _program, _typed, request, security
from airssys_wasm._convert import Binary, Payload
from airssys_wasm._core import Core
from airssys_wasm._library import lib
from airssys_wasm._program import CompletedRun
from airssys_wasm.errors import EngineClosed, Timeout
from airssys_wasm.exports import Exports
from airssys_wasm.request import Request, TypedRequest
from airssys_wasm.security import Explanation, Grants

if TYPE_CHECKING:
    from airssys_wasm.engine import Engine

__all__ = ["Component"]


_get_ident = threading.get_ident

#: Seconds: how long a wait lets signals be.
_PIECE = 0.1

#: A configuration that stays. ``None`` is a component without one.
_KEEP: Any = object()


class _Main:
    """The main thread. A fork changes it."""

    __slots__ = ("ident",)

    def __init__(self) -> None:
        self.note()

    def note(self) -> None:
        self.ident = threading.main_thread().ident


_main = _Main()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_main.note)
#: Options of a main-thread call without arguments: they only let signals be handled.
_watched = _convert.message_options(None, None, None, False, _callbacks.progress)


class Component:
    """A loaded component, returned by :meth:`Engine.load <airssys_wasm.Engine.load>`.

    The engine owns the component. It stays loaded without this object, until :meth:`unload` or the
    end of the engine. As a context manager the object unloads the component at the end of the
    block. All methods may be called from any number of threads at once, and from callbacks.
    """

    __slots__ = ("_core", "_engine", "_handle", "_id")

    def __init__(self, engine: Engine, core: Core, handle: int, id: str) -> None:
        # Keeps the engine alive: an engine without references closes.
        self._engine = engine
        self._core = core
        self._handle = handle
        self._id = id

    @property
    def id(self) -> str:
        """Its id, ``namespace/name/instance``."""
        return self._id

    @property
    def handle(self) -> int:
        """Its number within the engine, never reused."""
        return self._handle

    @property
    def engine(self) -> Engine:
        """Its engine."""
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
        """Sends a message and waits for the reply. Other Python threads run meanwhile.

        On the main thread, signal handlers run during the call. An exception of a handler, such as
        ``KeyboardInterrupt`` on Ctrl-C, interrupts the message; the call raises it.

        :param payload: the message; a ``str`` is sent as UTF-8. The payload must not change before
            the call returns.
        :param timeout: seconds to wait, more than 0. The component's own time limit applies as well.
        :param sender: the id of the sender that the component sees, instead of the host's.
        :param content_type: travels with the message; the library does not interpret it.
        :param interrupts: whether the ``timeout`` interrupts a message being handled, as
            :meth:`interrupt` does. Otherwise the component handles the message to its end.
        :returns: the reply; ``b""`` is an empty reply, ``None`` is no reply.
        :raises ComponentError: the component answered with an error of its own.
        :raises Trap: the component crashed; the next message gets a new instance.
        :raises ResourceLimitExceeded: the component exceeded a limit.
        :raises Timeout: the ``timeout`` or the component's time limit passed. A message whose turn
            has not come by the ``timeout`` is never handled; ``started`` of ``detail`` says so.
        :raises Interrupted: :meth:`interrupt` ended the message.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises ComponentStopped: the component is stopped, or was stopped before it answered.
        :raises ComponentFailed: the component has failed.
        :raises ExportNotFound: the component handles no messages.
        :raises InvalidMessage: the payload is none of the component's ``codecs``.
        :raises QueueFull: its mailbox is full.
        :raises WouldDeadlock: the call came from a callback that the same component waits for.
        :raises EngineStopped: the engine was shut down or closed.
        """
        # The common case first: Python's own work costs about as much as the message.
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
        """Sends a message and returns a future of the reply at once.

        The parameters are those of :meth:`call`, with these differences. The method copies the
        payload. The ``timeout`` is the request's deadline: the request ends then, even if nobody
        waits for it. ``interrupts`` applies to :meth:`Request.cancel` too. If the mailbox blocks
        its senders, the method waits for room.

        :returns: a :class:`concurrent.futures.Future` with the outcome that :meth:`call` would have
            returned or raised.
        :raises QueueFull: the mailbox is full. It is the outcome of an accepted message that the
            mailbox dropped for a newer one.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises ComponentStopped: the component is stopped.
        :raises ComponentFailed: the component has failed.
        :raises InvalidMessage: the payload is none of the component's ``codecs``.
        :raises WouldDeadlock: the call came from a callback that the component waits for, and would
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
        """Queues a message in the component's mailbox and returns. A reply is dropped.

        The parameters are those of :meth:`call`, with these differences. The method copies the
        payload. The ``timeout`` is the number of seconds to wait for room in a mailbox that blocks
        its senders; by default there is no limit.

        :raises QueueFull: the mailbox is full, or stayed full for the ``timeout``.
        :raises ExportNotFound: the component handles no messages.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises ComponentStopped: the component is stopped.
        :raises ComponentFailed: the component has failed.
        :raises InvalidMessage: the payload is none of the component's ``codecs``.
        :raises WouldDeadlock: as for :meth:`request`.
        :raises EngineStopped: the engine was shut down or closed.
        """
        data, size = _convert.c_buffer(payload)
        options = _convert.message_options(timeout, sender, content_type)
        self._core.run(lib.airssys_engine_send, self._handle, data, size, options)

    def invoke(
        self,
        function: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
        interrupts: bool = False,
        **named: Any,
    ) -> Any:
        """Calls an exported function with Python values, and waits for the result.

        It works for every component, and is a message like that of :meth:`call`: mailbox, order,
        limits and supervision apply.

        Values: ``record`` is a dict by the names of WIT (as an argument also any mapping or
        dataclass, with ``_`` for ``-``), ``variant`` a :class:`Variant`, ``enum`` a ``str``,
        ``flags`` a set of names, ``list<u8>`` bytes, ``option`` the value or ``None``, an ``option``
        in an ``option`` :class:`Some`, ``result`` inside of a value :class:`Ok` or :class:`Err`. A
        resource is a :class:`Resource`. Lists of numbers may be passed as ``array.array``, or as
        anything with a buffer of such elements, which is fast.

        :param function: ``"add"`` is a function of the component itself,
            ``"docs:calc/ops@0.1.0#add"`` one of an exported interface, whose version may be left out.
        :param args: the arguments.
        :param named: arguments by name, with ``_`` for ``-``. A parameter with the name of an option
            of this method has a ``_`` behind it: ``timeout_``.
        :param timeout: as of :meth:`call`; so are ``sender`` and ``interrupts``.
        :returns: the result; of a ``result`` the value in it.
        :raises ResultError: the function returned the error of a ``result``.
        :raises ExportNotFound: there is no such function. The message names near ones.
        :raises InvalidArgument: an argument does not fit. The message says which and why.
        :raises TypeError: an argument has no JSON, or there is no parameter of its name.
        :raises Unsupported: the function is asynchronous.

        Other errors are those of :meth:`call`.
        """
        watched = _get_ident() == _main.ident
        return _typed.call(self, function, args, named, timeout, sender, interrupts, watched)

    def invoke_request(
        self,
        function: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
        interrupts: bool = False,
        **named: Any,
    ) -> TypedRequest:
        """Calls an exported function with Python values, and returns a future of the result at once.

        The parameters are those of :meth:`invoke`; ``timeout`` and ``interrupts`` are as of
        :meth:`request`, as are the errors.

        :returns: a future with the outcome that :meth:`invoke` would have returned or raised.
        """
        decode, symbol, text = _typed.prepared(self, function, args, named)
        return request.submit(
            TypedRequest(self._engine, self._core, decode),
            self._core,
            lib.airssys_engine_invoke_request,
            self._handle,
            symbol,
            text,
            _typed.options(False, timeout, sender, interrupts),
        )

    def run(
        self,
        *args: str,
        stdin: Union[bytes, str] = b"",
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
    ) -> CompletedRun:
        """Runs the component as a command-line program (``wasi:cli/run``), and waits for its end.

        Each run has an instance of its own that begins anew. It is a message like any other.

        :param args: the arguments after the program's name, which is the component's.
        :param stdin: what the program reads from standard input; text is encoded as UTF-8.
        :param timeout: as of :meth:`call`; so is ``sender``.
        :returns: the exit status and the output, whatever the status is.
        :raises ExportNotFound: the component is no program.
        :raises Trap: the program trapped.

        Other errors are those of :meth:`call`.
        """
        watched = _get_ident() == _main.ident
        return _program.run(self, args, stdin, timeout, sender, watched)

    @property
    def exports(self) -> Exports:
        """Its functions, interfaces and resources as Python objects.

        ``component.exports.add(1, 2)`` calls a function of the component itself,
        ``component.exports.ops.add(1, 2)`` one of the interface ``docs:calc/ops@0.1.0``. ``dir`` and
        ``help`` list what there is.

        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineClosed: the engine was closed.
        """
        return Exports(self, _typed.types_of(self))

    def inspect(self) -> Dict[str, Any]:
        """What the component imports and exports, as :func:`airssys_wasm.inspect` tells it.

        :raises ComponentNotFound: the component is not loaded any more.
        """
        document = self._core.ask_json(lib.airssys_engine_inspect, self._handle)
        return cast("Dict[str, Any]", document)

    def _drop_later(self, symbol: bytes, handle: int) -> None:
        """Drops a resource; nobody waits for it."""
        request.make(
            self._engine,
            self._core,
            lib.airssys_engine_invoke_request,
            self._handle,
            symbol,
            b"[%d]" % handle,
            None,
        )

    def grant(self, grants: Grants) -> None:
        """Grants the component more rights, from the next decision on.

        A new directory appears to the component with its next instance, as does the right to
        change a directory that it could only read.

        :param grants: one set of grants, as for :meth:`Engine.load <airssys_wasm.Engine.load>`. A
            grant that the component already holds takes the expiry of the new one.
        :raises InvalidOptions: a grant is malformed. The message names it; nothing has changed.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = _convert.json_document(security.grants(grants), {})
        self._core.run(lib.airssys_engine_grant, self._handle, document)

    def revoke(self, grants: Optional[Grants] = None) -> None:
        """Takes grants away from the component, from the next decision on.

        Accepted messages are still delivered. Open files and connections can no longer be read or
        written. To take away a part of a pattern, use a policy.

        :param grants: the grants as they were made, by action and pattern; ``None`` takes all away.
        :raises InvalidOptions: the component does not hold one of the grants. The message names it;
            nothing has changed.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = None
        if grants is not None:
            document = _convert.json_document(security.grants(grants), {})
        self._core.run(lib.airssys_engine_revoke, self._handle, document)

    def explain(self, action: str, resource: str = "") -> Explanation:
        """Says whether the component may do something now, and which grant or rule decides.

        It ignores quotas and makes no audit record.

        :param action: an action of :meth:`Engine.set_policies <airssys_wasm.Engine.set_policies>`,
            such as ``"messaging.send"``.
        :param resource: the resource of the action: an id, a path of the host, a host with a port;
            ``""`` for the component's own, such as its clock.
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
        """State, metadata, limits, mailbox and counters, with the names of the library's JSON.

        :raises ComponentNotFound: the component is not loaded any more.
        """
        document = self._core.ask_json(lib.airssys_engine_describe, self._handle)
        return cast("Dict[str, Any]", document)

    def status(self) -> Dict[str, Any]:
        """State, supervision, and restarts and last failure of each instance, known without asking.

        The names are those of the library's JSON: ``state``, ``health``, ``supervision``, ``group``
        (its name, or ``None``), and ``instances`` with ``version``, ``restarts``, ``restarts-in-window`` and ``last-failure``.

        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = self._core.ask_json(lib.airssys_engine_status, self._handle)
        return cast("Dict[str, Any]", document)

    def health(self) -> str:
        """Asks the component for its health: ``healthy``, ``degraded``, ``unhealthy``, ``unknown``.

        :raises Trap: the component crashed in ``health``. Other errors are those of :meth:`call`.
        """
        document = self._core.ask_json(lib.airssys_engine_health, self._handle)
        return cast(str, document["health"])

    def interrupt(self) -> None:
        """Ends whatever the component is running; callers that wait get :class:`Interrupted`.

        The component loses its instance; a new instance handles the waiting messages. An idle
        component does not change. The method returns at once.

        :raises ComponentNotFound: the component is not loaded any more.
        :raises EngineStopped: the engine was shut down or closed.
        """
        self._core.run(lib.airssys_engine_interrupt, self._handle)

    def stop(self, timeout: Optional[float] = None) -> None:
        """Stops the component, which stays loaded. Does nothing if it is stopped or has failed.

        New messages raise :class:`ComponentStopped`. The component handles those that wait; then its
        ``shutdown`` is called and the instance released. Of a pool, all instances stop. Id, handle,
        rights and storage stay. :meth:`start` makes a new instance. Outcomes of the component's own
        requests that arrive after ``shutdown`` are dropped.

        :param timeout: seconds, 0 or more, after which the messages that still wait become dead
            letters, and the current one is interrupted. Without it, the stop waits for all of them.
        :raises ShutdownFailed: ``shutdown`` failed or was interrupted. The component is stopped
            nevertheless.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises Timeout: a callback of the host, running for the component, has not returned. The
            stop follows it.
        :raises WouldDeadlock: the call came from a callback that the component waits for. Nothing is
            stopped.
        :raises EngineStopped: the engine was shut down or closed.
        """
        self._core.run(lib.airssys_engine_stop, self._handle, _convert.stop_timeout(timeout))

    def start(self) -> None:
        """Starts a component that is stopped or has failed; any other stays as it is.

        A new instance is made and its ``initialize`` called; then the component takes messages. Its
        supervision forgets earlier restarts. If a stop is under way, the start follows it.

        :raises InstantiationFailed: there is no new instance. The component has failed.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises WouldDeadlock: the call came from a callback that the component waits for. Nothing is
            started.
        :raises EngineStopped: the engine was shut down or closed.
        """
        self._core.run(lib.airssys_engine_start, self._handle)

    def restart(self, timeout: Optional[float] = None) -> None:
        """Gives the component a new instance. Id, rights, storage and mailbox stay.

        The old instance finishes its current message, and its ``shutdown`` is called. The new one
        handles the waiting messages. Of a pool, one instance at a time is replaced.

        :param timeout: seconds, 0 or more, after which the current message is interrupted. Without
            it, that runs up to the component's own time limit.
        :raises InstantiationFailed: there is no new instance; the ``supervision`` or the next message
            tries once more.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises ComponentStopped: the component is stopped; :meth:`start` starts it.
        :raises ComponentFailed: the component has failed; :meth:`start` starts it.
        :raises Timeout: a callback of the host, running for the component, has not returned. The
            restart follows it.
        """
        self._core.run(lib.airssys_engine_restart, self._handle, _convert.stop_timeout(timeout))

    def replace(
        self,
        wasm: Optional[Binary] = None,
        *,
        env: Optional[Mapping[str, str]] = None,
        config: Any = _KEEP,
        health_gate: Optional[float] = None,
        timeout: Optional[float] = None,
        expect: Optional[Mapping[str, str]] = None,
        newer: bool = False,
        sha256: Optional[str] = None,
        signature: Optional[str] = None,
        canary: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Gives the component another binary, another configuration, or both, while it runs.

        A new instance is made and initialized beside the old one, and takes over between two
        messages. Then ``shutdown`` of the old one is called. Id, handle, rights, limits, storage,
        mailbox and open requests stay. If both export ``component-state``, the new instance gets the
        state of the old one. If the replacement fails, the old instance stays as it was, and
        ``version`` of the error's ``detail`` is its version. A component that is stopped, has crashed
        or has failed runs again. Of a pool, one instance at a time is replaced; after a failure, all
        have the old version. Replacements of one component take turns.

        On the main thread, signal handlers run during the call. An exception of a handler, such as
        ``KeyboardInterrupt`` on Ctrl-C, ends the wait; the replacement goes on, or fails, without it.
        So do :meth:`rollback`, :meth:`promote` and :meth:`abort`.

        With ``canary`` the new version is tried first: it handles a share of the messages, beside the
        old one, until it is promoted or aborted. ``{}`` has these defaults::

            {"share_percent": 10,        # of the messages, exact for each instance
             "messages": 100,            # that it handles until it is promoted
             "time_ms": ...,             # until it is promoted; by default there is no limit
             "max_error_percent": 0,     # with more errors it is aborted; None: any
             "promote": "automatic"}     # or "by-call": only by promote()

        The call returns as soon as the messages are shared. :meth:`status` has the counts so far, and
        ``canary`` events tell of the begin and the end.

        :param wasm: the path of a file or the binary itself, as for :meth:`Engine.load
            <airssys_wasm.Engine.load>`. Without it, the binary stays.
        :param env: all environment variables of the new instance. Without it, they stay.
        :param config: the component's configuration, as for :meth:`Engine.load
            <airssys_wasm.Engine.load>`; ``None`` takes it away. Without it, it stays.
        :param health_gate: seconds, 0 or more, within which the new instance must report itself
            ``healthy``. Without it, its health does not matter.
        :param timeout: seconds, 0 or more, that the new instance waits for the message under way, which
            is not interrupted. Without it, as long as needed.
        :param expect: what the metadata must be, as for :meth:`Engine.load <airssys_wasm.Engine.load>`.
        :param newer: whether the version in the metadata must be newer than the one before, in the
            order of semantic versions.
        :param sha256: the SHA-256 of the binary, as for :meth:`Engine.load
            <airssys_wasm.Engine.load>`.
        :param signature: its signature, as for :meth:`Engine.load <airssys_wasm.Engine.load>`.
        :param canary: how the new version is tried. Without it, the new version takes over at once.
        :raises InvalidComponent: the binary is not a component, has unknown imports, is not the expected
            one, or only one of the versions exports ``component-lifecycle``.
        :raises ComponentError: ``save`` of the old instance or ``restore`` of the new one returned an
            error.
        :raises InstantiationFailed: the new instance could not be made.
        :raises InitializationFailed: the new instance refused; the message carries its text.
        :raises Trap: the new instance crashed while it was made or initialized.
        :raises ResourceLimitExceeded: the new instance exceeded a limit.
        :raises Timeout: the ``timeout``, the ``health_gate`` or the component's time limit passed.
        :raises CanaryUnderWay: the component has a canary.
        :raises ComponentStopped: the component is stopped, and cannot try a ``canary``.
        :raises ComponentFailed: it has failed, likewise.
        :raises InvalidOptions: an option is malformed; the message names it.
        :raises IoError: the file is unreadable, or the system has no thread, mapping, memory or
            descriptor left.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises WouldDeadlock: the call came from a callback that the component, or a replacement of it,
            waits for.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = _convert.json_document(
            {} if config is _KEEP else {"config": config},
            {
                "env": None if env is None else dict(env),
                "health-gate-ms": _milliseconds(health_gate),
                "timeout-ms": _milliseconds(timeout),
                "expect": None if expect is None else dict(expect),
                "newer": newer or None,
                "sha256": sha256,
                "signature": signature,
                "canary": None if canary is None else _convert.dashed(canary),
            },
        )
        with self._core.imports.replacing(self._id, self._handle, wasm):
            self._replace(wasm, document)

    def _replace(self, wasm: Optional[Binary], document: Optional[bytes]) -> None:
        if isinstance(wasm, (str, os.PathLike)):
            path = _convert.c_string("path", os.fsencode(wasm))
            self._change(lib.airssys_engine_replace_file, path, document)
            return
        data, size = (None, 0) if wasm is None else _convert.c_buffer(wasm)
        if data is None and wasm is not None:
            # NULL would keep the binary.
            data = b""
        self._change(lib.airssys_engine_replace, data, size, document)

    def rollback(self) -> None:
        """Returns the component to the version before its current one, as :meth:`replace` does.

        The current version is forgotten: the next rollback returns to the version before that.
        ``kept_versions`` of :meth:`Engine.load <airssys_wasm.Engine.load>` bounds how many are kept.

        :raises InvalidArgument: no version before the current one is kept.
        :raises AirssysError: the errors of :meth:`replace`.
        """
        self._change(lib.airssys_engine_rollback)

    def promote(self, timeout: Optional[float] = None) -> None:
        """Promotes the component's canary: the new version takes over, as by :meth:`replace`.

        If both versions export ``component-state``, a new instance gets the state of the old version.
        Otherwise the canary itself goes on.

        :param timeout: seconds, 0 or more, to wait for messages under way, which are not interrupted.
            Without it, as long as needed.
        :raises InvalidArgument: the component has no canary, or it was aborted.
        :raises Timeout: a message under way has not ended. The promotion follows it.
        :raises ComponentNotFound: the component is not loaded any more.
        :raises WouldDeadlock: the call came from a callback that the component waits for.
        :raises EngineStopped: the engine was shut down or closed.
        """
        within = _convert.stop_timeout(timeout)
        self._change(lib.airssys_engine_promote, within)

    def abort(self, timeout: Optional[float] = None) -> None:
        """Aborts the component's canary: the old version goes on with its state.

        The canary's open requests are cancelled.

        :param timeout: as for :meth:`promote`.
        :raises InvalidArgument: the component has no canary, or it was promoted.
        :raises AirssysError: the other errors of :meth:`promote`.
        """
        self._change(lib.airssys_engine_abort, _convert.stop_timeout(timeout))

    def _change(self, function: Any, *arguments: Any) -> None:
        """Calls a function after which another version may get the messages."""
        try:
            self._core.run_watched(function, self._handle, *arguments)
        finally:
            _typed.forget_types(self)

    def wait(self, state: str, timeout: Optional[float] = None) -> None:
        """Waits until the component is in a state; of a pool, until all instances are.

        :param state: ``"initializing"`` (a start makes an instance), ``"running"``, ``"passive"`` (the
            next message makes an instance), ``"activating"`` (it is being made), ``"crashed"`` (the next
            message or the ``supervision`` makes a new instance), ``"restarting"``,
            ``"replacing"`` (a new version takes over), ``"stopping"``, ``"stopped"`` (until
            :meth:`start`), ``"failed"`` (too many restarts, or a start that failed; until
            :meth:`start`), ``"unloading"`` or ``"unloaded"``.
        :param timeout: seconds, 0 or more; without it, as long as needed.
        :raises Timeout: the component is in another state, which the message names.
        :raises ComponentNotFound: the component is unloaded, and ``state`` is not ``"unloaded"``.
        """
        wait_for_state(self._core, self._handle, state, timeout)

    def unload(self, timeout: Optional[float] = None) -> None:
        """Unloads the component. Does nothing if it is already unloaded.

        :param timeout: seconds, 0 or more, after which the component is interrupted. Without it the
            message under way and ``shutdown`` run up to the component's own time limit.
        :raises ShutdownFailed: ``shutdown`` failed or did not finish within the ``timeout``. The
            component is unloaded nevertheless.
        :raises Timeout: a callback of the host, running for the component, has not returned. The
            component is unloaded; its memory is freed when the callback returns.
        """
        _typed.forget_types(self)
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


def wait_for_state(core: Core, handle: int, state: str, timeout: Optional[float]) -> None:
    """Waits until all instances that a handle stands for are in a state."""
    name = _convert.c_string("state", state)
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        # In pieces, so that signals are handled meanwhile.
        piece = _PIECE if end is None else max(0.0, min(_PIECE, end - time.monotonic()))
        within = _convert.milliseconds(piece, zero=True)
        try:
            core.run(lib.airssys_engine_wait, handle, name, within)
            return
        except Timeout:
            if end is not None and time.monotonic() >= end:
                raise


def _milliseconds(timeout: Optional[float]) -> Optional[int]:
    """Milliseconds of an option; ``None`` leaves it out."""
    return None if timeout is None else _convert.milliseconds(timeout, zero=True)
