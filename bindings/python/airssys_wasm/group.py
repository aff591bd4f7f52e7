"""A group of components."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Optional, Tuple, Union, cast

from airssys_wasm import _convert
from airssys_wasm._core import Core
from airssys_wasm._library import lib
from airssys_wasm.component import Component, wait_for_state
from airssys_wasm.errors import EngineClosed

if TYPE_CHECKING:
    from airssys_wasm.engine import Engine

__all__ = ["Group", "Strategy"]

#: Which members the loss of one takes along: none, all, or those that came into the group after it.
Strategy = Literal["one-for-one", "one-for-all", "rest-for-one"]


class Group:
    """A group of components, returned by :meth:`Engine.add_group <airssys_wasm.Engine.add_group>`.

    The engine owns the group. It stays without this object, until :meth:`unload` or the end of the
    engine. The methods apply to all members, and to those of the groups in it. All may be called
    from any number of threads at once, and from callbacks.
    """

    __slots__ = ("_core", "_engine", "_handle", "_name")

    def __init__(self, engine: Engine, core: Core, handle: int, name: str) -> None:
        # Keeps the engine alive: an engine without references closes.
        self._engine = engine
        self._core = core
        self._handle = handle
        self._name = name

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def handle(self) -> int:
        """Its number within the engine, never reused, and no component's."""
        return self._handle

    @property
    def engine(self) -> Engine:
        """Its engine."""
        return self._engine

    @property
    def members(self) -> List[Union[Component, Group]]:
        """Its members in order, as of now; those of the groups in it are theirs.

        :raises ComponentNotFound: the group is unloaded.
        :raises EngineStopped: the engine was shut down or closed.
        """
        return [
            Group(self._engine, self._core, entry["handle"], entry["group"])
            if "group" in entry
            else Component(self._engine, self._core, entry["handle"], entry["id"])
            for entry in self.status()["members"]
        ]

    def status(self) -> Dict[str, Any]:
        """State, restarts and members, known without asking.

        The names are those of the library's JSON: ``state``, ``strategy``, ``max-restarts``,
        ``window-ms``, ``restarts`` (those that the group has made), ``restarts-in-window``,
        ``within`` (the name of the group around it) and ``members``. ``state`` is ``"running"``,
        ``"restarting"``, ``"failing"`` once the group has given up, or ``"failed"`` when its members
        have failed, until :meth:`start`.

        :raises ComponentNotFound: the group is unloaded.
        :raises EngineStopped: the engine was shut down or closed.
        """
        document = self._core.ask_json(lib.airssys_engine_status, self._handle)
        return cast("Dict[str, Any]", document)

    def stop(self, timeout: Optional[float] = None) -> None:
        """Stops the members, the last first, as by :meth:`Component.stop`.

        An error for some does not keep the others from stopping.

        :param timeout: as for :meth:`Component.stop`, for all together.
        :raises ComponentNotFound: the group is unloaded.
        :raises AirssysError: the errors of :meth:`Component.stop`.
        """
        self._core.run(lib.airssys_engine_stop, self._handle, _convert.stop_timeout(timeout))

    def start(self) -> None:
        """Starts the members that are stopped or have failed, in order.

        The group and the groups in it forget earlier restarts; one that has failed is running.

        :raises ComponentNotFound: the group is unloaded.
        :raises AirssysError: the errors of :meth:`Component.start`. All other members are started.
        """
        self._core.run(lib.airssys_engine_start, self._handle)

    def restart(self, timeout: Optional[float] = None) -> None:
        """Gives the members new instances, one after another in order.

        Each is restarted as by :meth:`Component.restart`. The budget of the group is not charged.

        :param timeout: as for :meth:`Component.restart`, for all together.
        :raises ComponentNotFound: the group is unloaded.
        :raises AirssysError: the errors of :meth:`Component.restart`. All other members are
            restarted.
        """
        self._core.run(lib.airssys_engine_restart, self._handle, _convert.stop_timeout(timeout))

    def wait(self, state: str, timeout: Optional[float] = None) -> None:
        """Waits until all instances of all members are in a state.

        :param state: a state of components, as for :meth:`Component.wait`. The state of the group
            itself is in :meth:`status`, and its changes are ``group`` events.
        :param timeout: seconds, 0 or more; without it, as long as needed.
        :raises Timeout: a member is in another state; the message names both.
        :raises ComponentNotFound: the group is unloaded, and ``state`` is not ``"unloaded"``.
        """
        wait_for_state(self._core, self._handle, state, timeout)

    def unload(self, timeout: Optional[float] = None) -> None:
        """Unloads the members, the last first, and removes the group and the groups in it.

        Does nothing if the group is already unloaded.

        :param timeout: as for :meth:`Component.unload`, for each member.
        :raises AirssysError: the errors of :meth:`Component.unload`. All members are unloaded
            nevertheless.
        """
        with contextlib.suppress(EngineClosed):
            if timeout is None:
                self._core.run(lib.airssys_engine_unload, self._handle)
            else:
                within = _convert.milliseconds(timeout, zero=True)
                self._core.run(lib.airssys_engine_unload_within, self._handle, within)

    def _key(self) -> Tuple[int, int]:
        return (id(self._core), self._handle)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Group):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"<Group {self._name} handle={self._handle}>"
