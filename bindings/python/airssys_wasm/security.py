"""Rights of components: grants, policies, decisions and their records."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Dict, Iterable, List, Literal, Mapping, Optional, Union

from airssys_wasm import _convert, _ffi

__all__ = ["AuditRecord", "Capabilities", "Explanation", "Grants", "Policies", "Decision"]

#: One set of grants: ``{"messaging": {"send": ["app/log/*"]}, "storage": ["read"]}``.
Grants = Mapping[str, Any]

#: The rights of a component: one set of grants, or several with different expiries.
Capabilities = Union[Grants, Iterable[Grants]]

#: Rules in order of evaluation, or a document ``{"rules": [...]}``.
Policies = Union[Mapping[str, Any], Iterable[Mapping[str, Any]]]

#: The decision of an audit record.
Decision = Literal["allowed", "denied", "lost"]

_DECISIONS: Dict[int, Decision] = {
    _ffi.AUDIT_ALLOWED: "allowed",
    _ffi.AUDIT_DENIED: "denied",
    _ffi.AUDIT_LOST: "lost",
}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The answer of :meth:`Component.explain <airssys_wasm.Component.explain>`."""

    #: Whether the component may do it.
    allowed: bool
    #: What decides: ``grant``, ``policy``, ``ambient`` (open to every component), ``not-granted``,
    #: or ``never`` (no component can do it).
    by: str
    #: The grant or rule: ``grant app/db/*``, ``policy rules[2] deny: the reason``.
    rule: str
    #: The expiry of the grant, in seconds of Unix time; ``None`` if it has none.
    until: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class AuditRecord:
    """A decision on the rights of a component, as an engine's ``audit`` receives it.

    A record with the decision ``lost`` replaces records that a slow callback missed. It has only
    ``time``, ``lost_allowed`` and ``lost_denied``.
    """

    #: The time of the decision, in seconds of Unix time, to a few milliseconds.
    time: float
    #: The decision.
    decision: Decision
    #: The id of the component.
    component: str = ""
    #: The action, such as ``messaging.send``.
    action: str = ""
    #: The resource, such as the receiver's id; up to 4,096 bytes of text that the component chose.
    resource: str = ""
    #: What decided: ``grant``, ``policy``, ``ambient``, ``not-granted``, ``quota`` or ``never``.
    by: str = ""
    #: The grant, rule or quota: ``grant app/db/*``, ``policy rules[2] deny: the reason``,
    #: ``quota messages-per-second 100``.
    rule: str = ""
    #: In a record of losses: the number of approvals.
    lost_allowed: int = 0
    #: In a record of losses: the number of refusals.
    lost_denied: int = 0


def capabilities(value: Capabilities) -> Union[Dict[str, Any], List[Dict[str, Any]]]:
    """Capabilities in the library's spelling."""
    return grants(value) if isinstance(value, Mapping) else [grants(each) for each in value]


def grants(value: Grants) -> Dict[str, Any]:
    """A set of grants in the library's spelling: ``-`` for ``_``, except in paths and patterns."""
    if not isinstance(value, Mapping):
        raise TypeError(f"a set of grants must be a dict, not {type(value).__name__}")
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
    """Policies as a document of the library."""
    if isinstance(value, Mapping):
        return dict(value)
    rules = list(value)
    for rule in rules:
        if not isinstance(rule, Mapping):
            raise TypeError(f"a rule must be a dict, not {type(rule).__name__}")
    return {"rules": rules}


def read_explanation(document: Mapping[str, Any]) -> Explanation:
    """Reads the document of ``airssys_engine_explain``."""
    until = document["until-ms"]
    return Explanation(
        document["allowed"],
        document["by"],
        document["rule"],
        None if until is None else until / 1000,
    )


def read_record(record: Any) -> AuditRecord:
    """Copies a borrowed ``airssys_audit_record_t``."""
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
