"""What components may do, who decided that they may, and the record of it."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Dict, Iterable, List, Literal, Mapping, Optional, Union

from airssys_wasm import _convert, _ffi

__all__ = ["AuditRecord", "Capabilities", "Explanation", "Grants", "Policies", "Decision"]

#: One set of grants: ``{"messaging": {"send": ["app/log/*"]}, "storage": ["read"]}``.
Grants = Mapping[str, Any]

#: What a component may do: one set of grants, or several, which may expire at different times.
Capabilities = Union[Grants, Iterable[Grants]]

#: Rules in the order in which they are tried, or a document ``{"rules": [...]}`` of them.
Policies = Union[Mapping[str, Any], Iterable[Mapping[str, Any]]]

#: What an audit record says.
Decision = Literal["allowed", "denied", "lost"]

_DECISIONS: Dict[int, Decision] = {
    _ffi.AUDIT_ALLOWED: "allowed",
    _ffi.AUDIT_DENIED: "denied",
    _ffi.AUDIT_LOST: "lost",
}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Whether a component may do something, as
    :meth:`Component.explain <airssys_wasm.Component.explain>` finds it."""

    #: Whether it may.
    allowed: bool
    #: What decides: ``grant``, ``policy``, ``ambient`` (open to every component) or
    #: ``not-granted``.
    by: str
    #: Which grant or rule: ``grant app/db/*``, ``policy rules[2] deny: the reason``.
    rule: str
    #: When the grant expires, in seconds of Unix time; ``None`` if it does not.
    until: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class AuditRecord:
    """One decision on what a component may do, as an engine's ``audit`` gets it.

    A record whose decision is ``lost`` is about decisions that it is the only trace of, because
    the callback was too slow: it has ``lost_allowed`` and ``lost_denied``, and nothing else.
    """

    #: When it was made, in seconds of Unix time, to a few milliseconds.
    time: float
    #: What was decided.
    decision: Decision
    #: About whom: an id.
    component: str = ""
    #: What was to be done, such as ``messaging.send``.
    action: str = ""
    #: On what, such as the receiver's id; up to 4,096 bytes of a text that the component chose.
    resource: str = ""
    #: What decided: ``grant``, ``policy``, ``ambient``, ``not-granted``, ``quota`` or ``never``.
    by: str = ""
    #: Which: ``grant app/db/*``, ``policy rules[2] deny: the reason``,
    #: ``quota messages-per-second 100``.
    rule: str = ""
    #: In a record of losses: how many that allowed something.
    lost_allowed: int = 0
    #: In a record of losses: how many that refused something.
    lost_denied: int = 0


def capabilities(value: Capabilities) -> Union[Dict[str, Any], List[Dict[str, Any]]]:
    """Capabilities as the library spells them."""
    return grants(value) if isinstance(value, Mapping) else [grants(each) for each in value]


def grants(value: Grants) -> Dict[str, Any]:
    """A set of grants as the library spells it: ``_`` for ``-``, but not in paths and patterns."""
    if not isinstance(value, Mapping):
        raise TypeError(f"a set of grants is a dict, not a {type(value).__name__}")
    found = _convert.dashed(value)
    for group, content in found.items():
        if isinstance(content, Mapping) and group == "filesystem":
            found[group] = {os.fsdecode(path): _entry(entry) for path, entry in content.items()}
        elif isinstance(content, (list, tuple)):
            found[group] = [_entry(entry) for entry in content]
    return found


def _entry(entry: Any) -> Any:
    return _convert.dashed(entry) if isinstance(entry, Mapping) else entry


def policies(value: Policies) -> Dict[str, Any]:
    """Policies as a document of the library's."""
    if isinstance(value, Mapping):
        return dict(value)
    rules = list(value)
    for rule in rules:
        if not isinstance(rule, Mapping):
            raise TypeError(f"a rule is a dict, not a {type(rule).__name__}")
    return {"rules": rules}


def read_explanation(document: Mapping[str, Any]) -> Explanation:
    """What ``airssys_engine_explain`` answers."""
    until = document["until-ms"]
    return Explanation(
        document["allowed"],
        document["by"],
        document["rule"],
        None if until is None else until / 1000,
    )


def read_record(record: Any) -> AuditRecord:
    """Copies an ``airssys_audit_record_t``, which is only lent."""
    return AuditRecord(
        record.seconds + record.nanoseconds / 1e9,
        _DECISIONS[record.decision],
        _text(record.component),
        _text(record.action),
        _text(record.resource),
        _text(record.by),
        _text(record.rule),
        record.lost_allowed,
        record.lost_denied,
    )


def _text(value: Optional[bytes]) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
