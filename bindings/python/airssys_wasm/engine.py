"""The engine, which runs components."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
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

from airssys_wasm import _callbacks, _convert, _ffi, _storage_file, logs, request, security
from airssys_wasm._convert import Binary, Payload
from airssys_wasm._core import Core
from airssys_wasm._host_functions import Interface
from airssys_wasm._library import lib
from airssys_wasm._storage_file import StorageFile
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
from airssys_wasm.group import Group, Strategy
from airssys_wasm.request import Request
from airssys_wasm.router import Envelope, Router, c_envelope
from airssys_wasm.security import AuditRecord, Capabilities, Policies
from airssys_wasm.storage import Storage
from airssys_wasm.stored import StoredData

__all__ = ["Activation", "Engine", "WhenFull"]

#: The type of ``limits``, ``quotas``, ``mailbox``, ``supervision`` and ``health``:
#: ``{"max_memory_bytes": 1 << 20}``.
Options = Mapping[str, Any]

#: A default of the library, where ``None`` means something.
_DEFAULT: Any = object()

#: When the first instance is made: by the load, or by the first message.
Activation = Literal["at-load", "on-demand"]
#: How long the state of a component lasts.
State = Literal["volatile", "durable"]

#: What a full mailbox does: refuse the message, make the sender wait, drop the oldest message.
WhenFull = Literal["reject", "block", "drop-oldest"]


class Engine:
    """Runs WebAssembly components as actors.

    Use it as a context manager. A block that ends without an exception calls :meth:`shutdown` and
    :meth:`close`; a block that ends with an exception calls :meth:`close` alone.

    An engine closes in the background, with a :class:`ResourceWarning`, when only its own storage,
    logger, router or other callbacks refer to it. The end of the program closes all other engines,
    before those :mod:`atexit` handlers that were registered before the import of this package.
    Running callbacks then have 2 seconds.

    All methods may be called from any number of threads at once, and let other Python threads run.
    Callbacks may call all methods but :meth:`shutdown` and :meth:`close`.

    The child of a ``fork`` cannot use the engine (:class:`~airssys_wasm.Forked`).
    """

    def __init__(
        self,
        *,
        name: Optional[str] = None,
        workers: Optional[int] = None,
        cache_dir: Optional[Union[str, os.PathLike[str]]] = None,
        limits: Optional[Options] = None,
        quotas: Optional[Options] = None,
        supervision: Optional[Options] = None,
        max_live_instances: Optional[int] = None,
        trusted_keys: Optional[Iterable[str]] = None,
        require_signature: Optional[bool] = None,
        capabilities: Optional[Capabilities] = None,
        policies: Optional[Policies] = None,
        storage: Optional[Union[Storage, StorageFile]] = None,
        logger: Optional[logs.LogTarget] = None,
        log_level: Optional[int] = None,
        events: Optional[Callable[[Event], None]] = None,
        audit: Optional[Callable[[AuditRecord], None]] = None,
        audit_sample: int = 0,
        router: Optional[Router] = None,
        interfaces: Optional[Mapping[str, Any]] = None,
        host_error_texts: Optional[bool] = None,
        config: Optional[Options] = None,
    ) -> None:
        """Makes an engine.

        :param name: the name of the host: components see its messages as from ``host/<name>/0``.
        :param workers: the number of threads that handle mail; by default one for each core.
        :param cache_dir: a directory for compiled components, for faster starts later.
        :param limits: default limits of components, for example
            ``{"max_memory_bytes": 1 << 20, "max_execution_time_ms": 100, "max_fuel": None}``.
        :param quotas: default quotas of components, as for :meth:`load`.
        :param supervision: default supervision of components, as for :meth:`load`; by default none.
        :param max_live_instances: how many instances may be live of the components that
            :meth:`load` made with ``activation="on-demand"`` or an ``idle_timeout``. Beyond it, those
            that have handled nothing for longest become passive. By default there is no bound.
        :param trusted_keys: the Ed25519 public keys of those who may sign binaries, each as 64
            hexadecimal digits.
        :param require_signature: whether a load or a replacement needs a ``signature`` by one of them.
        :param capabilities: default capabilities of loads that name none; by default nothing.
        :param policies: rules for all components, as for :meth:`set_policies`.
        :param storage: the storage of components; by default in memory. A path keeps it in a file,
            which one engine at a time has open. A mapping sets more than the ``"path"``:
            ``{"path": "state.db", "durability": "interval", "interval_ms": 100}`` writes to the disk
            every 100 ms, and not before each change is acknowledged.
        :param logger: a :class:`logging.Logger` or a callable that takes a
            :class:`~airssys_wasm.LogEntry`, on any thread; by default the logger
            ``airssys_wasm.component``. A logger's records have the fields ``component`` (the id, or
            ``None`` for the engine itself), ``context`` (a dict) and ``text`` (the component's own
            words). The message is ``text`` with line breaks and control characters escaped. Without
            a configured handler the message begins with the id.
        :param log_level: the lowest level of :mod:`logging` that the engine builds records for. By
            default the logger's effective level at this moment, so configure logging first; for a
            callable all levels.
        :param events: the engine calls it with each :class:`~airssys_wasm.Event`, one at a time and
            in order, on a thread of its own, and does not wait for it.
        :param audit: the engine calls it with an :class:`~airssys_wasm.AuditRecord` of each refusal,
            one at a time and in order, on a thread of its own, and does not wait for it. Up to
            16,384 records queue for a slow callback; a record of losses counts the rest.
        :param audit_sample: records every Nth approval as well: 1 records all, 0 none.
        :param router: takes mail for components that are not loaded here.
        :param interfaces: functions of yours that components import, by interface:
            ``{"editor:api/buffer@1.0.0": Buffer()}``. The function ``get-line`` is the method
            ``get_line``, or ``"get-line"`` of a mapping; keywords have a ``_`` behind them. It gets
            and returns values as :meth:`Component.invoke` has them, on any thread; several run at
            once, for different components, and each may take its time. :func:`airssys_wasm.caller`
            tells who calls. The error of a ``result`` is ``raise ResultError(value)``. A coroutine
            runs in the event loop in which the engine was made; it and a
            :class:`concurrent.futures.Future` answer when they are done. Components need the right:
            ``capabilities={"host": ["editor:api/buffer#get-line"]}``.
        :param host_error_texts: whether a component sees type and text of exceptions of the storage,
            the router and the functions of ``interfaces``. Otherwise they go to the log, and the
            component sees only that the storage, the router or the function failed.
        :param config: further keys of the library's configuration, in the library's spelling.
        :raises InvalidOptions: an unknown key or an invalid value; the message names it.
        :raises IoError: the cache directory or the file of the storage is unusable, or the system
            refused a thread or a descriptor.
        """
        file, host_storage = _storage_file.separated(storage)
        document = _convert.json_document(
            config,
            {
                "name": name,
                "workers": workers,
                "cache-dir": None if cache_dir is None else os.fspath(cache_dir),
                "limits": None if limits is None else _convert.dashed(limits),
                "quotas": None if quotas is None else _convert.dashed(quotas),
                "supervision": None if supervision is None else _convert.supervision(supervision),
                "max-live-instances": max_live_instances,
                "trusted-keys": None if trusted_keys is None else list(trusted_keys),
                "require-signature": require_signature,
                "storage": file,
                "capabilities": (
                    None if capabilities is None else security.capabilities(capabilities)
                ),
                "policies": None if policies is None else security.policies(policies),
                "host-error-texts": host_error_texts,
            },
        )
        self._shows_errors = bool(host_error_texts or (config or {}).get("host-error-texts"))
        sink, min_level = logs.sink_for(logger, log_level)
        offered = [
            Interface(name, methods, self._shows_errors)
            for name, methods in (interfaces or {}).items()
        ]
        self._core = Core(
            document, host_storage, sink, min_level, events, router, audit, audit_sample, offered
        )

    def load(
        self,
        id: str,
        wasm: Binary,
        *,
        env: Optional[Mapping[str, str]] = None,
        config: Any = None,
        limits: Optional[Options] = None,
        quotas: Optional[Options] = None,
        supervision: Optional[Options] = None,
        group: Optional[Union[Group, str]] = None,
        capabilities: Optional[Capabilities] = None,
        mailbox: Optional[Options] = None,
        when_full: Optional[WhenFull] = None,
        instances: Optional[int] = None,
        codecs: Optional[Iterable[str]] = None,
        kept_versions: Optional[int] = None,
        require_lifecycle: Optional[bool] = None,
        expect: Optional[Mapping[str, str]] = None,
        sha256: Optional[str] = None,
        signature: Optional[str] = None,
        health: Optional[Options] = None,
        activation: Optional[Activation] = None,
        idle_timeout: Optional[float] = None,
        recycle_above_bytes: Optional[int] = None,
        recycle_after_messages: Optional[int] = None,
        state: Optional[State] = None,
        restore_after_crash: Optional[bool] = None,
        save_every: Optional[Options] = None,
        storage: Optional[Options] = None,
        options: Optional[Options] = None,
    ) -> Component:
        """Loads a component and initializes it.

        A component may do what its ``capabilities`` grant, and nothing else. They are one set of
        grants, or several sets, each with an optional expiry::

            {"messaging": {"send": ["app/log/0"], "request": ["app/db/*"]},  # ids of receivers
             "storage": ["read", "write", "delete"],                         # its own
             "filesystem": {"/srv/in": ["read", "list-dir"],
                            "/srv/out": {"actions": ["write"], "guest_path": "/out"}},
             "network": {"outbound": ["api.example.com:443"], "inbound": ["127.0.0.1:8080"]},
             "expires_in_ms": 60_000}                                        # or "expires_at_ms"

        In a pattern ``*`` stands for any characters between two ``/``, and ``**`` for any number
        of such parts.

        ``supervision`` says what follows when a crash or an exit ends an instance. ``{}`` has these
        defaults; without it, the next message gets a new instance::

            {"restart": "permanent",     # at once; or "transient", "temporary", "on-demand"
             "max_restarts": 10,         # in the window; the next crash makes the component `failed`
             "window_ms": 60_000,
             "backoff": {"growth": "exponential", "first_ms": 100, "max_ms": 30_000,  # the pauses
                         "jitter_percent": 20, "quiet_ms": 60_000}}

        ``"transient"`` stops the component after an exit with code 0. ``"temporary"`` does so too, and
        after anything else the component has failed. ``"on-demand"`` waits for the next message.
        ``growth`` may also be ``"fixed"`` or ``"none"``. Messages wait during a pause.

        ``health`` makes the engine check the component's health. ``{}`` has these defaults; without it,
        only the load and :meth:`Component.health` ask::

            {"interval_ms": 10_000,      # between two checks; none while messages come
             "timeout_ms": 1000,         # for one check; beyond it the instance is lost
             "unhealthy_after": 3}       # "unhealthy" checks in a row; then the instance is lost

        A lost instance has crashed: ``supervision`` says what follows. ``"unhealthy_after": None``
        leaves unhealthy instances alone. Each change of health is a ``health`` event.

        A passive component has no instance. Its next message makes one and waits for it. A component
        that exports ``component-state`` hands its state over to its next instance when it becomes
        passive, is recycled or replaced. Any other component begins anew.

        :param id: ``namespace/name/instance``. An id may be loaded more than once.
        :param wasm: the path of a file (``str`` or path-like), or the binary itself (bytes-like).
        :param env: the component's environment variables.
        :param config: the component's configuration: a ``str`` goes unchanged, anything else as JSON.
        :param limits: its limits, as for the engine: ``max_memory_bytes``, ``max_host_bytes`` (memory
            of this process that it occupies: mail, requests under way, entries stored in memory),
            ``max_message_bytes`` (payload of a message or a reply), ``max_execution_time_ms``,
            ``max_fuel``, ``max_instances``, ``max_table_elements``.
        :param quotas: its quotas: ``messages_per_second``, ``outstanding_requests``,
            ``storage_bytes``, ``storage_keys``, ``log_bytes_per_second``,
            ``random_bytes_per_second``, ``host_functions_per_second`` (functions of the host's own),
            ``host_call_data_bytes`` (in one call of a host function),
            ``wasi_resources`` (open at a time). ``None`` lifts a quota of the engine. A rate is a
            token bucket, one second deep.
        :param supervision: its supervision. ``options={"supervision": None}`` turns that of the engine
            off.
        :param group: its group, or the name of it; the component becomes the last member. A member
            has ``supervision`` in any case.
        :param capabilities: its capabilities; ``{}`` grants nothing and overrides the engine's.
        :param mailbox: its mailbox, for example ``{"capacity": 16, "max_bytes": 1 << 20}``.
        :param when_full: what a full mailbox does: ``"reject"`` (the default) raises
            :class:`~airssys_wasm.QueueFull` at the sender, ``"block"`` makes the sender wait for
            room, ``"drop-oldest"`` drops the message that has waited longest.
        :param instances: how many instances share the handle, the id, the storage and the work. Each
            has its own mailbox and memory; the least busy instance gets the next message.
        :param codecs: the codecs that self-describing payloads may have, by the names of
            :mod:`airssys_wasm.codec`. A payload that opens with the prefix of another codec raises
            :class:`~airssys_wasm.InvalidMessage` at the sender.
        :param kept_versions: how many versions before the current one :meth:`Component.rollback` can
            return to, 0 to 64; by default 2. Their compiled code stays in memory.
        :param require_lifecycle: whether a component that exports no ``component-lifecycle`` is refused;
            by default it loads, and handles no messages.
        :param expect: what the metadata must be: ``{"name": "counter", "version": "^1.2"}``. The version
            is a requirement of semantic versions.
        :param sha256: the SHA-256 that the binary must have, in hexadecimal digits.
        :param signature: an Ed25519 signature over the 32 bytes of the binary's SHA-256, in hexadecimal
            digits, by one of the ``trusted-keys`` of the engine's configuration.
        :param health: its health checks.
        :param activation: ``"on-demand"`` makes the component passive until its first message; by
            default the load makes the first instance.
        :param idle_timeout: seconds without a received message after which the component becomes
            passive, unless it waits for the outcome of a request. By default it never does.
        :param recycle_above_bytes: bytes of linear memory beyond which a new instance takes the place of
            the old one between two messages: the memory of an instance never shrinks.
        :param recycle_after_messages: messages and callbacks after which a new instance does so.
        :param state: ``"durable"`` keeps the state of a component that exports ``component-state`` beyond
            the process, in the engine's storage: it is saved when the component is stopped, unloaded, shut
            down with its engine or passive, and restored at the next start of a component with this id.
            :meth:`Component.restart` forgets it.
        :param restore_after_crash: with a durable state, whether it is restored after a crash of the
            component or the process, too.
        :param save_every: with a durable state, when a running component is saved:
            ``{"messages": 1000, "ms": 60_000}``.
        :param storage: ``{"scope": "name"}`` lets all components of the name (``namespace/name``)
            that are loaded so share their stored data. It takes a grant:
            ``capabilities={"storage": {"read": "app/db", "write": "app/db"}}``.
        :param options: further keys of the library's load options, in the library's spelling.
        :raises InvalidId: the id is malformed.
        :raises InvalidOptions: an unknown option, a pattern that can match nothing, or a directory or
            a group that does not exist; the message names it.
        :raises InvalidArgument: the group belongs to another engine.
        :raises InvalidComponent: the binary is not a component, has unknown imports, or is not the
            expected one.
        :raises InstantiationFailed: no instance could be made.
        :raises InitializationFailed: the component refused; the message carries its text.
        :raises IoError: the file is unreadable, or the system has no thread, mapping, memory or
            descriptor left.
        :raises EngineStopped: the engine was shut down or closed.
        """
        name = _convert.c_string("id", id)
        if isinstance(codecs, str):
            raise TypeError(f"codecs must be a list of names, not the str {codecs!r}")
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
                "supervision": None if supervision is None else _convert.supervision(supervision),
                "group": None if group is None else self._name_of(group),
                "capabilities": (
                    None if capabilities is None else security.capabilities(capabilities)
                ),
                "mailbox": mailbox_options or None,
                "instances": instances,
                "codecs": None if codecs is None else list(codecs),
                "kept-versions": kept_versions,
                "require-lifecycle": require_lifecycle,
                "expect": None if expect is None else dict(expect),
                "sha256": sha256,
                "signature": signature,
                "health": None if health is None else _convert.dashed(health),
                "activation": activation,
                "idle-timeout-ms": (
                    None if idle_timeout is None else _convert.milliseconds(idle_timeout)
                ),
                "recycle-above-bytes": recycle_above_bytes,
                "recycle-after-messages": recycle_after_messages,
                "state": state,
                "restore-after-crash": restore_after_crash,
                "save-every": None if save_every is None else dict(save_every),
                "storage": None if storage is None else dict(storage),
            },
        )
        if threading.current_thread() is threading.main_thread() and _compiles_long(wasm):
            # So that Ctrl-C ends the wait for the compiler. The load says what is wrong.
            with contextlib.suppress(AirssysError, OSError):
                self.precompile(wasm)
        handle = ctypes.c_uint64()
        out = ctypes.byref(handle)
        with self._core.imports.loading(id, wasm):
            if isinstance(wasm, (str, os.PathLike)):
                path = _convert.c_string("path", os.fsencode(wasm))
                self._core.run(lib.airssys_engine_load_file, name, path, document, out)
            else:
                data, size = _convert.c_buffer(wasm)
                self._core.run(lib.airssys_engine_load, name, data, size, document, out)
        return Component(self, self._core, handle.value, id)

    def precompile(self, wasm: Binary) -> None:
        """Compiles a component without loading it, so that a later :meth:`load` does not wait.

        The engine keeps the code, and so does its ``cache_dir``, for later processes too. Ctrl-C on
        the main thread ends the wait; the compilation then continues in the background.

        :param wasm: the path of a file, or the binary itself, as of :meth:`load`.
        :raises InvalidComponent: it is not a component, or exceeds a limit on its shape.
        :raises ResourceLimitExceeded: it exceeds a limit of the compiler.
        :raises Timeout: the compilation takes longer than ``max-time-ms``.
        :raises OSError: the file cannot be read.
        """
        if isinstance(wasm, (str, os.PathLike)):
            with open(wasm, "rb") as file:
                wasm = file.read()
        data, size = _convert.c_buffer(wasm)
        is_main = threading.current_thread() is threading.main_thread()
        progress = _callbacks.progress if is_main else _ffi.ProgressFn()
        self._core.run(lib.airssys_engine_precompile, data, size, progress, None)

    def add_group(
        self,
        name: str,
        *,
        strategy: Strategy = "one-for-one",
        max_restarts: Optional[int] = _DEFAULT,
        window: Optional[float] = None,
        group: Optional[Union[Group, str]] = None,
        options: Optional[Options] = None,
    ) -> Group:
        """Adds a group, whose members are restarted together.

        :meth:`load` makes a component a member::

            engine.add_group("pipeline", strategy="rest-for-one")
            engine.load("app/reader/0", "reader.wasm", group="pipeline")
            engine.load("app/parser/0", "parser.wasm", group="pipeline")

        A component that loses its instance is restarted by its own ``supervision``, within its own
        budget. The group adds a strategy and a budget of its own, which counts the restarts that the
        group makes: of a member whose own budget is exhausted, which then begins a new one, and, with
        the other strategies than ``"one-for-one"``, all. If it is exhausted, the group gives up: the
        group around it restarts it as a whole, within the budget of that group. If there is none, the
        members that would have been restarted are ``failed``; all others go on.

        In a restart, the members that take part finish their current message, end in reverse order, and
        begin in order. Messages wait meanwhile. Members that are stopped or have failed take no part. What
        the host does to a member does not concern the others; after :meth:`Component.interrupt` the group
        restarts as after a crash, and no budget is charged. Calls for all components and :meth:`shutdown`
        keep the members of a group together, at the place where the group was made.

        :param name: without ``/``, ``*`` and control characters. No other group of the engine may have
            it.
        :param strategy: which members the loss of one takes along: ``"one-for-one"``, none;
            ``"one-for-all"``, all; ``"rest-for-one"``, those that came into the group after it.
        :param max_restarts: the budget, restarts in ``window``; by default 10. ``None`` is no limit.
        :param window: seconds, by default 60. The window slides.
        :param group: the group around it, or the name of it.
        :param options: further keys of the library's group options, in the library's spelling.
        :raises InvalidArgument: the name is invalid or in use, groups would be nested more than 32 deep,
            or ``group`` belongs to another engine.
        :raises InvalidOptions: an option is invalid, or there is no such ``group``; the message names it.
        :raises EngineStopped: the engine was shut down or closed.
        """
        base = dict(options or {})
        if max_restarts is None:
            if "max-restarts" in base:
                raise InvalidOptions(
                    "'max-restarts' is given twice, as an argument and in the options"
                )
            base["max-restarts"] = None
        document = _convert.json_document(
            base,
            {
                "strategy": strategy,
                "max-restarts": None if max_restarts is _DEFAULT else max_restarts,
                "window-ms": None if window is None else _convert.milliseconds(window),
                "group": None if group is None else self._name_of(group),
            },
        )
        handle = ctypes.c_uint64()
        c_name = _convert.c_string("name", name)
        self._core.run(lib.airssys_engine_add_group, c_name, document, ctypes.byref(handle))
        return Group(self, self._core, handle.value, name)

    @property
    def groups(self) -> Dict[str, Group]:
        """All groups by name, as of now, in the order in which they were made.

        :raises EngineStopped: the engine was closed.
        """
        return {
            entry["group"]: Group(self, self._core, entry["handle"], entry["group"])
            for entry in self._core.ask_json(lib.airssys_engine_groups)
        }

    def _name_of(self, group: Union[Group, str]) -> str:
        """The name of a group of this engine."""
        if isinstance(group, str):
            return group
        if not isinstance(group, Group):
            raise TypeError(f"group must be a Group or a str, not {type(group).__name__}")
        if group._core is not self._core:
            raise InvalidArgument(f"{group!r} belongs to another engine")
        return group.name

    @property
    def storage(self) -> StoredData:
        """What components have stored, whether they are loaded or not."""
        return StoredData(self._core)

    def find(self, id: str) -> Component:
        """The component with this id.

        :raises ComponentNotFound: no component has this id.
        :raises InvalidId: the id is malformed.
        """
        handle = ctypes.c_uint64()
        name = _convert.c_string("id", id)
        self._core.run(lib.airssys_engine_find, name, ctypes.byref(handle))
        return Component(self, self._core, handle.value, id)

    def components(self) -> List[Component]:
        """All loaded components."""
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
        """Sends one message to several components, as :meth:`Component.send` does.

        It tries all components.

        :param components: any number of components of this engine.
        :param timeout: seconds to wait for room in mailboxes that block their senders, in total.
        :raises DeliveryFailed: some components did not accept the message; ``failed`` of the error
            lists them with the reasons.
        :raises InvalidArgument: a component belongs to another engine.
        :raises InvalidId: the ``sender`` is malformed.
        :raises EngineStopped: the engine was shut down or closed.
        """
        targets = {}
        handles = []
        for component in components:
            if not isinstance(component, Component):
                name = type(component).__name__
                raise TypeError(f"the target of a broadcast must be a Component, not {name}")
            if component._core is not self._core:
                raise InvalidArgument(f"{component!r} belongs to another engine")
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
        """Delivers mail that the router of another engine took.

        The target must be a component of this engine: this engine's own router gets none of this
        mail. ``token`` is ignored.

        :returns: for a request, the :class:`~airssys_wasm.Request`: pass its outcome to
            :meth:`complete` of the engine that it came from. It ends with
            :class:`~airssys_wasm.Timeout` at the envelope's deadline. ``None`` for a message.
        :raises ComponentNotFound: the target is not loaded here.
        :raises QueueFull: its mailbox is full.
        :raises InvalidMessage: the payload is none of its ``codecs``.
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
        """Answers a request that this engine's router took. ``route`` may call it too.

        :param token: the token of the request's envelope.
        :param reply: the reply; ``None`` is no reply, ``b""`` an empty one.
        :param error: why there is no reply. The component gets status and message of an
            :class:`~airssys_wasm.AirssysError`. The logger ``airssys_wasm`` records any other
            exception as an error, with its traceback; the component sees that the host's router
            failed, and type and text only if the engine has ``host_error_texts``.
        :raises RequestNotFound: the deadline has passed, or the request was cancelled or answered.
        :raises EngineClosed: the engine was closed.
        """
        status: int = Status.OK
        data: Any = None
        size = 0
        text = None
        if error is not None:
            if reply is not None:
                raise TypeError("give a reply or an error, not both")
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
            # Untrusted text: C would stop at a NUL.
            text = text.replace(b"\0", b"\\0")
        elif reply is not None:
            data, size = _convert.c_buffer(reply)
            # NULL would mean "no reply".
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
        """Replaces all policies, from the next decision on.

        Rules apply to all components, loaded ones included. The engine tries them in order, and the
        first match decides. ``"deny"`` refuses, regardless of grants. ``"allow"`` exempts from the
        later rules, and grants nothing itself::

            engine.set_policies([
                {"effect": "deny", "component": "plugins/*/*", "action": "messaging.*",
                 "resource": "app/billing/*", "reason": "plugins must not write to billing"},
            ])

        Actions are ``messaging.send``, ``.request``, ``.broadcast`` and ``.cancel``,
        ``directory.list``, ``storage.read``, ``.write`` and ``.delete``, ``filesystem.read``,
        ``.write``, ``.delete`` and ``.list-dir``, ``network.outbound`` and ``.inbound``,
        ``environment.read``, ``random.read``, ``clock.read``, ``log.write``, a group of these
        (``storage.*``), or ``*``. Only ``effect`` is required. A missing ``component``, ``action`` or
        ``resource`` matches all.

        :param policies: the rules, or a document ``{"rules": [...]}``; ``[]`` removes all rules.
        :raises InvalidOptions: a rule is malformed. The message names it; nothing has changed.
        :raises EngineClosed: the engine was closed.
        """
        document = _convert.json_document(security.policies(policies), {})
        self._core.run(lib.airssys_engine_set_policies, document)

    def stop_all(self, timeout: Optional[float] = None) -> None:
        """Stops all components, the one that was loaded last first, as by :meth:`Component.stop`.

        An error for some does not keep the others from stopping. Its class is that of the first;
        ``failed`` of its ``detail`` lists them with ``handle``, ``status`` and ``message``.

        :param timeout: as for :meth:`Component.stop`, for all together.
        :raises AirssysError: the errors of :meth:`Component.stop`.
        """
        within = _convert.stop_timeout(timeout)
        self._core.run(lib.airssys_engine_stop, _ffi.ALL_COMPONENTS, within)

    def start_all(self) -> None:
        """Starts all components that are stopped or have failed, in the order of loading.

        :raises AirssysError: the errors of :meth:`Component.start`, with ``detail`` as for
            :meth:`stop_all`. All other components are started.
        """
        self._core.run(lib.airssys_engine_start, _ffi.ALL_COMPONENTS)

    def restart_all(self, timeout: Optional[float] = None) -> None:
        """Gives all components new instances, in the order of loading, as by :meth:`Component.restart`.

        :param timeout: as for :meth:`Component.restart`, for all together.
        :raises AirssysError: the errors of :meth:`Component.restart`, with ``detail`` as for
            :meth:`stop_all`. All other components are restarted.
        """
        within = _convert.stop_timeout(timeout)
        self._core.run(lib.airssys_engine_restart, _ffi.ALL_COMPONENTS, within)

    def status(self) -> List[Dict[str, Any]]:
        """The :meth:`Component.status` of all components, in the order of loading."""
        document = self._core.ask_json(lib.airssys_engine_status, _ffi.ALL_COMPONENTS)
        return cast("List[Dict[str, Any]]", document)

    def health(self) -> Dict[str, Any]:
        """Tells whether the engine works, without asking any component.

        The names are those of the library's JSON. ``live``: its threads take a new job within a
        second. ``ready``: they do, and every component is running, passive or stopped, and was not
        unhealthy when it was last asked. ``components``: their number. ``not-ready``: the first 1,000
        that are not, with ``handle``, ``id``, ``state`` and ``health``.

        :raises EngineStopped: the engine was shut down or closed.
        """
        document = self._core.ask_json(lib.airssys_engine_health, _ffi.ALL_COMPONENTS)
        return cast("Dict[str, Any]", document)

    def stats(self) -> Dict[str, Any]:
        """The engine's counters, with the names of the library's JSON."""
        return cast("Dict[str, Any]", self._core.ask_json(lib.airssys_engine_stats))

    def compact_storage(self) -> None:
        """Gives the room that removed and replaced values leave in the storage's file back to the
        system. Components that use the storage wait meanwhile. Without a file it does nothing.

        ``storage`` of :meth:`stats` shows the size of the file, and of what is in it.

        :raises IoError: the disk failed, or has no room.
        """
        self._core.run(lib.airssys_engine_storage_compact)

    def shutdown(self, timeout: Optional[float] = 10.0) -> None:
        """Ends the engine gracefully: handles waiting mail, shuts components down, then stops.

        The component that was loaded last is shut down first. You must still close the engine. Messages
        and loads raise :class:`~airssys_wasm.EngineStopped` from now on.

        :param timeout: the most seconds that this may take; ``None`` sets no limit.
        :raises Timeout: the time ran out; the engine is stopped nevertheless. ``unfinished`` of
            ``detail`` is the number of components that had not finished; ``components`` lists the
            first 1,000 with ``handle``, ``id``, ``state`` and ``depth`` of the mailbox.
        :raises ShutdownFailed: a component failed in its ``shutdown``.
        :raises WouldDeadlock: one of the engine's callbacks made the call.
        """
        self._core.shutdown(_convert.FOREVER if timeout is None else _convert.milliseconds(timeout))

    def close(self, timeout: Optional[float] = None) -> None:
        """Stops everything at once and frees the engine. Does nothing if the engine is closed.

        Guests end at their next turn. Calls under way in other threads raise
        :class:`~airssys_wasm.EngineStopped`, new calls :class:`~airssys_wasm.EngineClosed`. The
        method waits for running callbacks, such as a method of the storage, because it cannot stop
        them. It drops waiting mail; call :meth:`shutdown` first to handle it.

        :param timeout: seconds to wait for callbacks. By default there is no limit for callbacks of
            calls, and a limit of 10 seconds for callbacks on threads of the engine.
        :raises Timeout: callbacks ran longer. The engine is stopped and closed nevertheless; its
            objects are freed when the callbacks end.
        :raises WouldDeadlock: the call came from one of the engine's callbacks, or from a callback
            that a component of the engine waits for.
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
            # The block may have closed the engine, or shut it down with a timeout of its own.
            with contextlib.suppress(EngineStopped):
                if kind is None:
                    self.shutdown()
        finally:
            self.close()

    def __del__(self) -> None:
        # Missing if the constructor failed.
        core = getattr(self, "_core", None)
        if core is not None and not core.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self)
            core.abandon()

    def __repr__(self) -> str:
        return f"<Engine {'closed' if self.closed else 'open'} at {id(self):#x}>"


#: Bytes of a binary that may take the compiler longer than people wait gladly.
_LARGE = 256 << 10


def _compiles_long(wasm: Binary) -> bool:
    if isinstance(wasm, (str, os.PathLike)):
        # A pipe must not be opened.
        return os.path.isfile(wasm) and os.path.getsize(wasm) >= _LARGE
    return memoryview(wasm).nbytes >= _LARGE
