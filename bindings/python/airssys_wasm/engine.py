"""The engine: the place where components run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import warnings
from types import TracebackType
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Literal,
    Mapping,
    Optional,
    Type,
    Union,
    cast,
)

from airssys_wasm import _callbacks, _convert, logs, request, security
from airssys_wasm._convert import Payload
from airssys_wasm._core import Core
from airssys_wasm._library import lib
from airssys_wasm.component import Component
from airssys_wasm.errors import (
    AirssysError,
    DeliveryFailed,
    EngineClosed,
    EngineStopped,
    InvalidArgument,
    InvalidOptions,
    Status,
    from_status,
)
from airssys_wasm.events import Event
from airssys_wasm.request import Request
from airssys_wasm.router import Envelope, Router, c_envelope
from airssys_wasm.security import AuditRecord, Capabilities, Policies
from airssys_wasm.storage import Storage

__all__ = ["Engine", "WhenFull"]

#: What ``limits``, ``quotas`` and ``mailbox`` look like: ``{"max_memory_bytes": 1 << 20}``.
Options = Mapping[str, Any]

#: What becomes of a message too many: its sender is told, its sender waits, the oldest makes room.
WhenFull = Literal["reject", "block", "drop-oldest"]

_NO_TIMEOUT_MS = 2**64 - 1


class Engine:
    """Runs WebAssembly components as actors.

    Use it as a context manager: a block that ends without an exception ends with
    :meth:`shutdown` and :meth:`close`, one that ends with an exception with :meth:`close` alone.
    An engine that is neither closed nor referred to any more, except by its own storage, logger,
    router and the like, is closed in the background, with a :class:`ResourceWarning`. Those that
    are left at the end of the program are closed then, before handlers of :mod:`atexit` that were
    registered before this package was imported; callbacks that are under way have 2 seconds.

    All methods may be called from any number of threads at once. They let other Python threads
    run meanwhile. All but :meth:`shutdown` and :meth:`close` may be called from callbacks too.

    An engine can not be used in the child of a ``fork`` (:class:`~airssys_wasm.Forked`).
    """

    def __init__(
        self,
        *,
        name: Optional[str] = None,
        workers: Optional[int] = None,
        cache_dir: Optional[Union[str, os.PathLike[str]]] = None,
        limits: Optional[Options] = None,
        quotas: Optional[Options] = None,
        capabilities: Optional[Capabilities] = None,
        policies: Optional[Policies] = None,
        storage: Optional[Storage] = None,
        logger: Optional[logs.LogTarget] = None,
        log_level: Optional[int] = None,
        events: Optional[Callable[[Event], None]] = None,
        audit: Optional[Callable[[AuditRecord], None]] = None,
        audit_sample: int = 0,
        router: Optional[Router] = None,
        host_error_texts: Optional[bool] = None,
        config: Optional[Options] = None,
    ) -> None:
        """Makes an engine.

        :param name: components see messages of the host as sent by ``host/<name>/0``.
        :param workers: how many threads handle mail; by default one for each core.
        :param cache_dir: a directory for compiled components, which makes a later start faster.
        :param limits: limits of all components that have none of their own, for example
            ``{"max_memory_bytes": 1 << 20, "max_execution_time_ms": 100, "max_fuel": None}``.
        :param quotas: quotas of all components that have none of their own, as for :meth:`load`.
        :param capabilities: what components may do whose load does not say; by default nothing.
        :param policies: rules that hold for all components, as for :meth:`set_policies`.
        :param storage: where components keep their data; in memory by default.
        :param logger: a :class:`logging.Logger` or a callable that takes a
            :class:`~airssys_wasm.LogEntry`, on any thread; by default the logger
            ``airssys_wasm.component``. The records of a logger have the fields ``component`` (the
            id, or ``None`` for the engine itself), ``context`` (a dict) and ``text`` (the message
            as the component wrote it; in the message itself line breaks and control characters
            are escaped). Where no handler is configured, the message begins with the id.
        :param log_level: records below this level of :mod:`logging` are not even built. By default
            the logger's effective level at this moment, so configure logging first; for a callable
            everything.
        :param events: is called with each :class:`~airssys_wasm.Event`, on a thread of the engine,
            one at a time and in order; nothing waits for it.
        :param audit: is called with an :class:`~airssys_wasm.AuditRecord` of each decision that
            refuses a component something, on a thread of the engine, one at a time and in order;
            nothing waits for it. If it is slow, up to 16,384 records wait for it, and it is told
            how many more were lost.
        :param audit_sample: which decisions that allow something are recorded, too: each
            so-manieth, so 1 is all of them and 0 none.
        :param router: takes mail for components that are not loaded here.
        :param host_error_texts: whether a component sees type and text of what a storage or a router
            raises; otherwise the log has them, and the component learns that something failed.
        :param config: further keys of the library's configuration, spelled as there.
        :raises InvalidOptions: a key or value that the library does not know; it says which.
        :raises IoError: the cache directory can not be used.
        """
        document = _convert.json_document(
            config,
            {
                "name": name,
                "workers": workers,
                "cache-dir": None if cache_dir is None else os.fspath(cache_dir),
                "limits": None if limits is None else _convert.dashed(limits),
                "quotas": None if quotas is None else _convert.dashed(quotas),
                "capabilities": (
                    None if capabilities is None else security.capabilities(capabilities)
                ),
                "policies": None if policies is None else security.policies(policies),
                "host-error-texts": host_error_texts,
            },
        )
        self._shows_errors = bool(host_error_texts or (config or {}).get("host-error-texts"))
        sink, min_level = logs.sink_for(logger, log_level)
        self._core = Core(document, storage, sink, min_level, events, router, audit, audit_sample)

    def load(
        self,
        id: str,
        wasm: Union[str, os.PathLike[str], bytes, bytearray, memoryview],
        *,
        env: Optional[Mapping[str, str]] = None,
        config: Any = None,
        limits: Optional[Options] = None,
        quotas: Optional[Options] = None,
        capabilities: Optional[Capabilities] = None,
        mailbox: Optional[Options] = None,
        when_full: Optional[WhenFull] = None,
        instances: Optional[int] = None,
        codecs: Optional[Iterable[str]] = None,
        options: Optional[Options] = None,
    ) -> Component:
        """Loads a component and initializes it.

        A component may do what its ``capabilities`` grant, and nothing else: one set of grants, or
        several, of which each may have a time of its own at which it expires::

            {"messaging": {"send": ["app/log/0"], "request": ["app/db/*"]},  # ids of receivers
             "storage": ["read", "write", "delete"],                         # its own
             "filesystem": {"/srv/in": ["read", "list-dir"],
                            "/srv/out": {"actions": ["write"], "guest_path": "/out"}},
             "network": {"outbound": ["api.example.com:443"], "inbound": ["127.0.0.1:8080"]},
             "expires_in_ms": 60_000}                                        # or "expires_at_ms"

        In a pattern ``*`` stands for any characters between two ``/``, and ``**`` for any number
        of such parts.

        :param id: ``namespace/name/instance``. An id may be loaded more than once.
        :param wasm: the path of a file (``str`` or path-like), or the binary itself (bytes-like).
        :param env: what the component gets as environment variables.
        :param config: what it gets as configuration: a ``str`` as it is, anything else as JSON.
        :param limits: its limits, as for the engine: ``max_memory_bytes``, ``max_host_bytes`` (memory
            of this process that it occupies: mail, requests under way, what it stores in memory),
            ``max_message_bytes`` (payload of a message or a reply), ``max_execution_time_ms``,
            ``max_fuel``, ``max_instances``, ``max_table_elements``.
        :param quotas: how much it may do of what it may: ``messages_per_second``,
            ``outstanding_requests``, ``storage_bytes``, ``storage_keys``,
            ``log_bytes_per_second``, ``random_bytes_per_second``, ``host_call_data_bytes`` (in one
            call of a host function), ``wasi_resources`` (open at a time). ``None`` lifts one that
            the engine has. Of a rate, one second's worth may come at once.
        :param capabilities: what it may do; ``{}`` is nothing, where the engine grants something.
        :param mailbox: its mailbox, for example ``{"capacity": 16, "max_bytes": 1 << 20}``.
        :param when_full: what becomes of a message too many: ``"reject"`` (the default) has its
            sender get :class:`~airssys_wasm.QueueFull`, ``"block"`` has its sender wait for room,
            ``"drop-oldest"`` drops the one that waits longest.
        :param instances: how many share the handle, the id, the storage and the work. Each has a
            mailbox and a memory of its own; the least busy gets the next message.
        :param codecs: what self-describing payloads may be, by the names of
            :mod:`airssys_wasm.codec`; a payload that says to be another is refused when it is
            sent, with :class:`~airssys_wasm.InvalidMessage`.
        :param options: further keys of the library's load options, spelled as there.
        :raises InvalidId: the id is malformed.
        :raises InvalidOptions: an option that the library does not know, a pattern that can match
            nothing, a directory that does not exist; it says which.
        :raises InvalidComponent: the binary is no component, or wants unknown imports.
        :raises InstantiationFailed: no instance could be made.
        :raises InitializationFailed: the component refused; the message is its own text.
        :raises IoError: the file can not be read.
        :raises EngineStopped: the engine was shut down or closed.
        """
        name = _convert.c_string("id", id)
        if isinstance(codecs, str):
            raise TypeError(f"codecs are a list of names, not the text {codecs!r}")
        mailbox_options = {} if mailbox is None else _convert.dashed(mailbox)
        if when_full is not None:
            if "when-full" in mailbox_options:
                raise InvalidOptions(
                    "'when-full' is given twice, as an argument and in the mailbox"
                )
            mailbox_options["when-full"] = when_full
        document = _convert.json_document(
            options,
            {
                "env": None if env is None else dict(env),
                "config": config,
                "limits": None if limits is None else _convert.dashed(limits),
                "quotas": None if quotas is None else _convert.dashed(quotas),
                "capabilities": (
                    None if capabilities is None else security.capabilities(capabilities)
                ),
                "mailbox": mailbox_options or None,
                "instances": instances,
                "codecs": None if codecs is None else list(codecs),
            },
        )
        handle = ctypes.c_uint64()
        out = ctypes.byref(handle)
        if isinstance(wasm, (str, os.PathLike)):
            path = _convert.c_string("path", os.fsencode(wasm))
            self._core.run(lib.airssys_engine_load_file, name, path, document, out)
        else:
            data, size = _convert.c_buffer(wasm)
            self._core.run(lib.airssys_engine_load, name, data, size, document, out)
        return Component(self, self._core, handle.value, id)

    def find(self, id: str) -> Component:
        """The component of that id.

        :raises ComponentNotFound: there is none.
        :raises InvalidId: the id is malformed.
        """
        handle = ctypes.c_uint64()
        name = _convert.c_string("id", id)
        self._core.run(lib.airssys_engine_find, name, ctypes.byref(handle))
        return Component(self, self._core, handle.value, id)

    def components(self) -> List[Component]:
        """All components that are loaded at the moment."""
        return [
            Component(self, self._core, entry["handle"], entry["id"])
            for entry in self._core.ask_json(lib.airssys_engine_list)
        ]

    def broadcast(
        self,
        components: Iterable[Component],
        payload: Payload,
        *,
        timeout: Optional[float] = None,
        sender: Optional[str] = None,
        content_type: Optional[str] = None,
    ) -> None:
        """Sends one message to several components, as :meth:`Component.send` does; all are tried.

        :param components: of this engine, any number.
        :param timeout: seconds to wait, for all together, where mailboxes block their senders.
        :raises DeliveryFailed: some have not accepted it; the error's ``failed`` has them, and why.
        :raises InvalidArgument: a component of another engine.
        :raises InvalidId: the ``sender`` is malformed.
        :raises EngineStopped: the engine was shut down or closed.
        """
        targets = {}
        handles = []
        for component in components:
            if not isinstance(component, Component):
                name = type(component).__name__
                raise TypeError(f"what is broadcast to must be a Component, not {name}")
            if component._core is not self._core:
                raise InvalidArgument(f"{component!r} is not one of this engine")
            targets[component.handle] = component
            handles.append(component.handle)
        data, size = _convert.c_buffer(payload)
        options = _convert.message_options(timeout, sender, content_type)
        array = (ctypes.c_uint64 * len(handles))(*handles)
        try:
            self._core.run(lib.airssys_engine_broadcast, array, len(handles), data, size, options)
        except DeliveryFailed as error:
            error.failed = [
                (targets[entry["handle"]], from_status(entry["status"], entry["message"], {}))
                for entry in error.detail.get("failed", ())
            ]
            raise

    def deliver(self, envelope: Envelope) -> Optional[Request]:
        """Brings in mail that the router of another engine took.

        It is for a component of this engine: what is not loaded here is not given to this engine's
        own router. ``token`` means nothing here.

        :returns: of a request, its outcome: pass it on with :meth:`complete` of the engine that it
            comes from. It ends with :class:`~airssys_wasm.Timeout` at the envelope's deadline. A
            message has none (``None``).
        :raises ComponentNotFound: the target is not loaded here.
        :raises QueueFull: its mailbox is full.
        :raises InvalidMessage: it does not take such payloads.
        :raises InvalidId: the source or the target is malformed.
        :raises EngineStopped: the engine was shut down or closed.
        """
        mail = ctypes.byref(c_envelope(envelope))
        if envelope.request:
            return request.make(self, self._core, lib.airssys_engine_deliver, mail)
        self._core.run(lib.airssys_engine_deliver, mail, None, None, None)
        return None

    def complete(
        self,
        token: int,
        reply: Optional[Payload] = None,
        error: Optional[BaseException] = None,
    ) -> None:
        """Answers a request that this engine's router took; may be called in ``route``, too.

        :param token: from the request's envelope.
        :param reply: ``None`` is no reply, and not an empty one.
        :param error: why there is no reply; of an :class:`~airssys_wasm.AirssysError` the status
            and the message are passed on. Any other is logged, with its traceback, as an error of
            the logger ``airssys_wasm``; the component learns that the host's router failed, and
            its type and text only where the engine has ``host_error_texts``.
        :raises RequestNotFound: it is too late, or the request was cancelled or answered before.
        :raises EngineClosed: the engine was closed.
        """
        status: int = Status.OK
        data: Any = None
        size = 0
        text = None
        if error is not None:
            if reply is not None:
                raise TypeError("a request has a reply or an error, not both")
            if isinstance(error, AirssysError):
                status = error.status or Status.DELIVERY_FAILED
                text = error.message.encode("utf-8", "replace")
            else:
                status = Status.DELIVERY_FAILED
                if self._shows_errors:
                    text = _callbacks.describe(error)
                else:
                    _callbacks.keep(error, "a request that was routed failed")
                    text = b"the host's router failed"
            # Text of strangers; C would use the part before a NUL.
            text = text.replace(b"\0", b"\\0")
        elif reply is not None:
            data, size = _convert.c_buffer(reply)
            # NULL would be no reply.
            data = b"" if data is None else data
        self._core.run(
            lib.airssys_engine_complete,
            _convert.unsigned("token", token),
            status,
            data,
            size,
            text,
        )

    def set_policies(self, policies: Policies) -> None:
        """Puts policies in the place of all others, in force from the next decision on.

        Rules hold for all components, those that are loaded already included. They are tried in
        their order, and the first that applies decides: ``"deny"`` refuses, whatever is granted;
        ``"allow"`` lets no later rule refuse, and grants nothing itself::

            engine.set_policies([
                {"effect": "deny", "component": "plugins/*/*", "action": "messaging.*",
                 "resource": "app/billing/*", "reason": "plugins must not write to billing"},
            ])

        Actions are ``messaging.send``, ``.request``, ``.broadcast`` and ``.cancel``,
        ``directory.list``, ``storage.read``, ``.write`` and ``.delete``, ``filesystem.read``,
        ``.write``, ``.delete`` and ``.list-dir``, ``network.outbound`` and ``.inbound``,
        ``environment.read``, ``random.read``, ``clock.read``, ``log.write``, a group of these
        (``storage.*``), or ``*``. All keys but ``effect`` may be left out, which means all.

        :param policies: the rules, or a document ``{"rules": [...]}``; none (``[]``) lifts all.
        :raises InvalidOptions: a rule is malformed; it says which, and nothing has changed.
        :raises EngineClosed: the engine was closed.
        """
        document = _convert.json_document(security.policies(policies), {})
        self._core.run(lib.airssys_engine_set_policies, document)

    def stats(self) -> Dict[str, Any]:
        """Counters of the engine, as the library's JSON has them."""
        return cast("Dict[str, Any]", self._core.ask_json(lib.airssys_engine_stats))

    def shutdown(self, timeout: Optional[float] = 10.0) -> None:
        """Ends the engine's work: mail is handled, components shut down, then all is stopped.

        The engine still has to be closed. Messages and loads raise
        :class:`~airssys_wasm.EngineStopped` from now on.

        :param timeout: seconds that this may take; ``None`` for as long as it takes.
        :raises Timeout: it took longer; the engine is stopped all the same.
        :raises ShutdownFailed: a component failed in its ``shutdown``.
        :raises WouldDeadlock: this is one of the engine's callbacks.
        """
        self._core.shutdown(_NO_TIMEOUT_MS if timeout is None else _convert.milliseconds(timeout))

    def close(self, timeout: Optional[float] = None) -> None:
        """Stops everything at once and frees the engine; nothing happens if it is closed.

        Guests end at their next turn. Calls that are under way in other threads raise
        :class:`~airssys_wasm.EngineStopped`, new ones :class:`~airssys_wasm.EngineClosed`. What
        can not be stopped is waited for: callbacks that are under way, such as a method of the
        storage. Mail that nobody has handled yet is lost; use :meth:`shutdown` first to have it
        handled.

        :param timeout: seconds to wait for callbacks; by default as long as it takes for those of
            calls, and 10 seconds for those on threads of the engine.
        :raises Timeout: some were under way for longer. The engine is stopped and closed all the
            same; what it holds goes when they end.
        :raises WouldDeadlock: this is one of the engine's callbacks, or one that a component of the
            engine waits for.
        """
        self._core.close(None if timeout is None else _convert.milliseconds(timeout) / 1000)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._core.closed

    def __enter__(self) -> Engine:
        if self.closed:
            raise EngineClosed()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            # Already closed, or already shut down with a timeout of the caller's choice.
            with contextlib.suppress(EngineStopped):
                if kind is None:
                    self.shutdown()
        finally:
            self.close()

    def __del__(self) -> None:
        # Absent if the constructor failed.
        core = getattr(self, "_core", None)
        if core is not None and not core.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self)
            core.abandon()

    def __repr__(self) -> str:
        return f"<Engine {'closed' if self.closed else 'open'} at {id(self):#x}>"
