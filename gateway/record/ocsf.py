"""Entries of the journal as events of the Open Cybersecurity Schema Framework (OCSF 1.8.0), for a SIEM. Pure.

A call is one event, at its end or at its refusal: an API Activity with its decision. Changes by operators, and of policy, pins
and keys, are Entity Management. Start and stop are Application Lifecycle. Other entries are a Base Event with their own fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, cast

from gateway.model.wire import JsonObject
from gateway.record.journal.entry import WOULD

VERSION: Final = "1.8.0"
_BOOKKEEPING: Final = frozenset({"segment", "observed", "exposed", "reserved"})
"""Kinds of entries that say nothing to people beyond the events of their calls."""
_CHAIN: Final = frozenset({"seq", "time", "kind", "prev", "check"})
_ACTIVITIES: Final = {"mint": 1, "read": 2, "write": 3, "destructive": 4}
_OTHER: Final = 99
_ENTITIES: Final = {
    "policy": "policy",
    "pin": "definition",
    "key": "key",
    "switch": "stop",
    "configuration": "configuration",
}
_OUTCOMES: Final = {"completed": 1, "error": 2, "upstream-failed": 2, "refused": 2}
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = 1, 2, 3, 4
_SEVERITIES: Final = {"cut": _HIGH, "recovered": _MEDIUM, "flood": _LOW, "abandoned": _LOW, "resumed": _HIGH}
_PROFILES: Final = ["security_control"]


class OcsfEvents:
    """The events of a journal, entry by entry. `find` gives the `call` entry of an id from before the first entry.

    `gateway` names the gateway of the journal, if events of several are read together.
    """

    def __init__(
        self, version: str, find: Callable[[str], JsonObject | None] = lambda _id: None, gateway: str | None = None
    ) -> None:
        self._product = {"name": "opagate", "vendor_name": "opagate", "version": version}
        self._find = find
        self._source = {} if gateway is None else {"log_source": gateway}
        self._open: dict[str, dict[str, Any]] = {}

    def of(self, entry: JsonObject) -> Iterator[JsonObject]:
        """Yield the event of an entry, if the entry completes one."""
        fields = cast("dict[str, Any]", entry)
        kind = str(fields["kind"])
        if kind == "call" and fields.get("effect") == "allow":
            self._open[str(fields["id"])] = fields
        elif kind == "call":
            yield self._call(fields, fields)
        elif kind in {"settled", "abandoned"}:
            known = self._open.pop(str(fields["id"]), None) or self._find(str(fields["id"]))
            yield self._other(fields) if known is None else self._call(cast("dict[str, Any]", known), fields)
        elif kind == "refused":
            yield self._refused(fields)
        elif kind in {"start", "stop"}:
            yield self._lifecycle(fields)
        elif kind in _ENTITIES:
            yield self._entity(fields)
        elif kind not in _BOOKKEEPING:
            yield self._other(fields)

    def _call(self, call: dict[str, Any], last: dict[str, Any]) -> JsonObject:
        """Return the event of a decided call. `last` is the entry that completes it."""
        target, denied = call["target"], call["effect"] != "allow"
        outcome = str(last.get("outcome", "" if denied else "unknown"))
        would = {name: call[name] for name in WOULD.values() if name in call}
        event = self._base(last, "api_activity", _ACTIVITIES.get(target["effect"], _OTHER), _reason_severity(call))
        return event | {
            "actor": _actor(call["principal"], call["task"], call.get("client")),
            "api": {
                "operation": f"{call['action']} {target['id']}",
                "service": {"name": target["upstream"]},
                "request": {"uid": call["id"]},
            },
            "src_endpoint": _endpoint(call.get("client")),
            "resources": [_resource(target)],
            "policy": {"name": call["policy"]["name"], "version": call["policy"]["revision"], "is_applied": not would},
            **_verdict(call["reasons"], denied=denied),
            "status_id": 2 if denied else _OUTCOMES.get(outcome, 0),
            **({"status_detail": outcome} if outcome else {}),
            **({"duration": round(last["duration_ms"])} if "duration_ms" in last else {}),
            "unmapped": {
                "trace_id": call["trace_id"],
                "decision": call["effect"],
                "task_kind": call["task"]["kind"],
                **would,
            },
        }

    def _refused(self, entry: dict[str, Any]) -> JsonObject:
        """Return the event of a request that policy never saw."""
        operation = f"{entry.get('method') or 'unknown'} {entry.get('name') or ''}".rstrip()
        return self._base(entry, "api_activity", _OTHER, _LOW) | {
            "actor": _actor(entry.get("principal"), None, entry.get("client")),
            "api": {
                "operation": operation,
                "request": {"uid": entry["id"]},
                "response": {"code": entry["status"]},
            },
            "src_endpoint": _endpoint(entry.get("client")),
            **_verdict(entry["reasons"], denied=True),
            "status_id": 2,
        }

    def _lifecycle(self, entry: dict[str, Any]) -> JsonObject:
        return self._base(entry, "application_lifecycle", 3 if entry["kind"] == "start" else 4, _INFORMATIONAL) | {
            "app": self._product,
            "unmapped": own_fields(entry),
        }

    def _entity(self, entry: dict[str, Any]) -> JsonObject:
        by = entry.get("by")
        name = entry.get("target") or entry.get("name") or entry.get("event") or entry["kind"]
        return self._base(entry, "entity_management", 3, _LOW) | {
            "entity": {"name": str(name), "type": _ENTITIES[entry["kind"]]},
            **({"actor": {"user": {"uid": _person(by)}}} if by else {}),
            "unmapped": own_fields(entry),
        }

    def _other(self, entry: dict[str, Any]) -> JsonObject:
        severity = _SEVERITIES.get(entry["kind"], _INFORMATIONAL)
        return self._base(entry, "base_event", _OTHER, severity) | {"unmapped": own_fields(entry)}

    def _base(self, entry: dict[str, Any], name: str, activity: int, severity: int) -> dict[str, Any]:
        category, number = _CLASSES[name]
        return {
            "category_uid": category,
            "class_uid": number,
            "activity_id": activity,
            "type_uid": number * 100 + activity,
            "severity_id": severity,
            "time": milliseconds(entry["time"]),
            **({"activity_name": str(entry["kind"])} if activity == _OTHER else {}),
            "metadata": {
                "version": VERSION,
                "product": self._product,
                "profiles": _PROFILES,
                "log_name": "journal",
                **self._source,
                "event_code": str(entry["kind"]),
                "sequence": entry["seq"],
                "original_time": entry["time"],
                **({"correlation_uid": str(entry["id"])} if entry.get("id") else {}),
            },
        }


_CLASSES: Final = {
    "base_event": (0, 0),
    "entity_management": (3, 3004),
    "application_lifecycle": (6, 6002),
    "api_activity": (6, 6003),
}
"""The category and the number of each class."""


def _reason_severity(call: dict[str, Any]) -> int:
    return _MEDIUM if call["effect"] == "deny" else _LOW if call["effect"] == "ask" else _INFORMATIONAL


def _verdict(reasons: list[dict[str, Any]], *, denied: bool) -> dict[str, Any]:
    """Return the outcome of a request, with its first reason."""
    found: dict[str, Any] = {"action_id": 2 if denied else 1, "disposition_id": 2 if denied else 1}
    if reasons:
        found |= {"status_code": reasons[0]["code"], "message": reasons[0]["message"]}
    return found


def _actor(
    principal: dict[str, Any] | None, task: dict[str, Any] | None, client: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the agent, its user and its task. An unknown caller has only a name, which the schema requires."""
    name = (client or {}).get("name")
    if principal is None:
        return {"app_name": str(name or "unknown")}
    user = principal.get("user")
    session = {"issuer": principal["issuer"], **({} if task is None else {"uid": task["id"]})}
    shown = {"name": principal.get("known_as"), "groups": [{"name": group} for group in principal.get("groups", ())]}
    return {
        "app_uid": principal["id"],
        **({"app_name": str(name)} if name else {}),
        "session": session,
        **({"user": {"uid": user, **{name: value for name, value in shown.items() if value}}} if user else {}),
    }


def _endpoint(client: dict[str, Any] | None) -> dict[str, Any]:
    address = (client or {}).get("ip")
    return {"ip": str(address)} if address else {"name": "unknown"}


def _resource(target: dict[str, Any]) -> dict[str, Any]:
    labels = [f"{name}:{target[name]}" for name in ("effect", "sensitivity", "trust", "environment") if target[name]]
    return {"uid": target["id"], "type": target["type"], "namespace": target["audience"], "labels": labels}


def own_fields(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _CHAIN and name != "history"}


def _person(by: object) -> str:
    return str(cast("dict[str, Any]", by).get("id", "unknown")) if isinstance(by, dict) else str(by)


def milliseconds(time: str) -> int:
    """Return the time of an entry in milliseconds since the epoch."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
