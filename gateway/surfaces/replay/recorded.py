"""Traces from a journal: each of its tasks, as far as its calls are recorded. A trace needs arguments
(`journal.arguments: full`) and results (`journal.results: full`), kept by a journal only if configured. Neither holds
credentials. Each credential has a place for a made-up credential of its kind, the same for the same original. So a
replay finds the same chains without any secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.base.json.walk import child
from gateway.history.events import end_of
from gateway.identity import anonymous, development
from gateway.model.errors import JournalError
from gateway.record.journal.entry import find_unenforced
from gateway.surfaces.replay.secrets import escape_braces
from gateway.surfaces.replay.trace import LATEST

if TYPE_CHECKING:
    from gateway.model.wire import Json, JsonObject
    from gateway.record.journal.index import Index

_MARK: Final = re.compile(r"fp:(?:(?P<rule>[a-z0-9-]{1,64}):)?(?P<name>[0-9a-f]{24})(?![0-9a-f])")
_KINDS: Final = {
    "aws-access-key-id": "aws",
    "gcp-access-token": "google",
    "github-pat": "github",
    "jwt": "jwt",
    "npm-token": "npm",
    "one-time-code": "otp",
    "openai-key": "openai",
    "private-key": "pem",
    "pypi-token": "pypi",
    "slack-token": "slack",
    "stripe-secret-key": "stripe",
}
"""Rule → the kind of made-up value that it finds. For a rule without one a GitHub token stands in."""
_BY_CONTEXT: Final = re.compile(r"named-|basic|bearer|userinfo|presigned-url|seen")
"""Rules that find a value by what is around it, so that any will do."""
_FORMS: Final = frozenset({"base64", "base64url", "percent", "hex"})
_LABELS: Final = ("effect", "egress", "sensitivity", "roles")
_DEFAULTS: Final[dict[str, object]] = {"effect": "write", "egress": True, "sensitivity": "internal", "roles": {}}


@dataclass(slots=True)
class Omitted:
    """The missing parts of a trace, in calls."""

    arguments: int = 0
    results: int = 0
    undecided: int = 0
    """Calls on which policy gave no valid verdict: a replay that decides them has another history than was."""
    others: int = 0
    """Reads of resources and prompts, and completions, which traces have none of."""
    readings: int = 0
    """What was read outside of calls, which traces have none of either; in entries."""
    beside: int = 0
    """Calls with parts beside their arguments, such as added headers. Traces have none."""
    carried: int = 0
    """Calls that were decided with what an earlier task of the caller had read too."""

    def remarks(self) -> Iterator[str]:
        """Yield the missing parts in words, with the settings to record these."""
        if self.arguments:
            yield f"{_count(self.arguments)} without recorded arguments: set journal.arguments: full"
        if self.results:
            yield f"{_count(self.results)} without a recorded result: set journal.results: full"
        if self.undecided:
            yield f"{_count(self.undecided)} without a verdict, because the policy engine failed: left out"
        if self.others:
            yield f"{self.others} reads and completions of resources and prompts are left out, for traces have none"
        if self.beside:
            yield f"{_count(self.beside)} with headers or params that policy saw beside the arguments: left out of the trace"
        if self.carried:
            yield (
                f"{_count(self.carried)} decided with readings of an earlier task of the caller: a trace does not have them,"
                " so a call may pass there"
            )
        if self.readings:
            yield f"{_count(self.readings, 'reading')} outside of calls: left out, since traces have none"


def _count(number: int, noun: str = "call") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def write_task(index: Index, task: str, write: Callable[[str], object], omitted: Omitted) -> int:
    """Write the trace of a task, in pieces, with a newline at its end. Returns the number of its steps; a task without
    steps is not written. Raises `JournalError` for a damaged entry."""
    head = _head(index, task)
    if head is None:
        return 0
    omitted.readings += index.readings(task)
    write(json.dumps(head, separators=(",", ":"))[:-1] + ',"steps":[')
    count = 0
    for step in _RecordedSteps(omitted, head["upstreams"]).of(index, task):
        write("," * (count > 0) + json.dumps(step, separators=(",", ":")))
        count += 1
    write("]}\n")
    return count


def _head(index: Index, task: str) -> dict[str, Any] | None:
    """Return all members but the steps."""
    who: dict[str, Any] = {}
    sites: dict[str, Any] = {}
    for entry, _ in index.calls(task):
        caller, target, action = _fields(
            entry, lambda fields: (_caller(fields["principal"]), fields["target"], fields["action"])
        )
        who = who or caller
        if action == "tools/call" and not entry.get("undecided"):
            _describe(sites, target, entry)
    if not sites:
        return None
    declared = index.declared(task)
    stated: dict[str, Any] = (
        {} if declared is None else _fields(declared, lambda fields: _declaration(fields["declared"]))
    )
    return {"id": task, "task": {**stated, **who}, "upstreams": sites}


class _RecordedSteps:
    """The steps of a task. A credential has the same name in every step, for any finder."""

    def __init__(self, omitted: Omitted, sites: Mapping[str, Any]) -> None:
        self._omitted = omitted
        self._sites = sites
        self._names: dict[str, str] = {}

    def of(self, index: Index, task: str) -> Iterator[dict[str, Any]]:
        first = last = None
        for entry, end in index.calls(task):
            if entry.get("action") != "tools/call":
                self._omitted.others += 1
                continue
            if entry.get("undecided"):
                self._omitted.undecided += 1
                continue
            step, at = _fields(entry, lambda fields, end=end: self._step(fields, end))
            if (approval := entry.get("approval")) is not None:
                step["approve"] = _approval(index, cast("str", approval))
            if (endorsement := entry.get("endorsement")) is not None:
                step["endorsed"] = _fields(entry, lambda _, told=endorsement: _endorsement(told))
            if "signals" in entry:
                step["signals"] = _fields(entry, _signals)
            first = at if first is None else first
            last = min(max(round(at - first, 3), last or 0.0), LATEST)
            yield {**step, "at": last}

    def _step(self, fields: Mapping[str, Any], end: JsonObject | None) -> tuple[dict[str, Any], float]:
        arguments = cast("Mapping[str, Any]", fields["arguments"])
        step: dict[str, Any] = {"upstream": fields["target"]["upstream"], "tool": _tool(fields["target"])}
        if "value" in arguments:
            step["arguments"] = self._fill(arguments["value"], "", _forms(fields))
        else:
            self._omitted.arguments += arguments.get("bytes", 3) > len("{}")
        if end is not None and "content" in end:
            step["result"] = self._fill(end["content"], "", {})
        else:
            self._omitted.results += fields["effect"] == "allow"
        if end is not None and (ended := end_of(str(end.get("outcome", "")))) != "done":
            step["end"] = ended
        unenforced = find_unenforced(fields)
        expect = {"effect": fields["effect"] if unenforced is None else unenforced[0]}
        if fields["reasons"]:
            expect["code"] = fields["reasons"][0]["code"]
        self._omitted.carried += "carried" in fields["history"]
        self._omitted.beside += "beside" in fields
        labels, site = _read_labels(fields["target"]), self._sites[fields["target"]["upstream"]]
        if _DEFAULTS | labels != _DEFAULTS | site.get("tools", {}).get(step["tool"], {}):
            step["labels"] = labels
        return {**step, "expect": expect}, float(fields["history"]["at"])

    def _fill(self, value: Json, pointer: str, forms: Mapping[str, str]) -> Json:
        """Return a recorded value with places for credentials. `forms` has the credentials in other encodings, by
        pointer."""
        if isinstance(value, str):
            form = forms.get(pointer) if _MARK.fullmatch(value) else None
            return _MARK.sub(lambda mark: self._place(mark, form), escape_braces(value))
        if isinstance(value, Mapping):
            return {
                _MARK.sub(r"field-\g<name>", name): self._fill(item, child(pointer, name), forms)
                for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._fill(item, f"{pointer}/{number}", forms) for number, item in enumerate(value)]
        return value

    def _place(self, mark: re.Match[str], form: str | None) -> str:
        name = self._names.setdefault(mark["name"], f"{_kind(mark['rule'])}-{mark['name'][:16]}")
        return f"{{{{secret:{name}{f':{form}' if form else ''}}}}}"


def _approval(index: Index, approval: str) -> dict[str, Any]:
    """Return the approval of a step: the persons, and the scopes chosen by all."""
    votes = [_fields(entry, lambda fields: fields["vote"]) for entry in index.votes(approval)]
    people = [_approver(vote) for vote in votes]
    scopes = [
        scope
        for scope in ("once", "destination", "limit", "recurring")
        if all(scope in vote["scopes"] for vote in votes)
    ]
    return {"approvers": people, "scopes": scopes}


def _signals(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the open signals of a step, each with its age at the call."""
    return [
        {"type": told["type"], "age_seconds": max(0.0, round(entry["history"]["at"] - told["at"], 3))}
        | ({} if told.get("level") is None else {"level": told["level"]})
        for told in entry["signals"]
    ]


def _endorsement(told: Any) -> dict[str, Any]:
    """Return the values of a step approved in an earlier task."""
    return {name: told[name] for name in ("approvers", "facts", "age_seconds")}


def _approver(vote: Mapping[str, Any]) -> dict[str, Any]:
    """Return the person of a vote. Entries of older gateways lack the time of the login."""
    person = vote["person"]
    stated = {name: person[name] for name in ("id", "issuer", "groups", "assurance")}
    if (logged_in := person.get("logged_in")) is not None and logged_in <= vote["at"]:
        stated["login_age_seconds"] = round(vote["at"] - logged_in, 3)
    return stated


def _forms(fields: Mapping[str, Any]) -> dict[str, str]:
    found = cast("Mapping[str, Any]", fields.get("found") or {})
    held = cast("list[Mapping[str, str]]", found.get("credentials") or [])
    return {item["pointer"]: item["form"] for item in held if item["form"] in _FORMS}


def _kind(rule: str | None) -> str:
    return "secret" if rule is None or _BY_CONTEXT.match(rule) else _KINDS.get(rule, "github")


def _tool(target: Mapping[str, Any]) -> str:
    return str(target["id"]).removeprefix(f"{target['upstream']}/")


def _caller(principal: Mapping[str, Any]) -> dict[str, Any]:
    who = {"agent": principal["id"], "user": principal["user"], "delegation": principal["delegation"]}
    who |= {name: principal.get(name) for name in ("scopes", "groups")}
    if principal["issuer"] not in {development.ISSUER, anonymous.ISSUER} and principal["method"] != "spiffe-x509":
        who["issuer"] = principal["issuer"]
    return {name: value for name, value in who.items() if value}


def _describe(sites: dict[str, Any], target: Mapping[str, Any], entry: JsonObject) -> None:
    """Add the record's words on a target. The first word on a tool stands."""
    described = _fields(
        entry, lambda _: {name: target[name] for name in ("audience", "trust", "tenant", "environment")}
    ) | {name: target.get(name) for name in ("aggregates", "agent")}
    if (credential := target.get("credential")) is not None:
        described["credential"] = _fields(entry, lambda _: credential["kind"])
    site = sites.setdefault(target["upstream"], {name: value for name, value in described.items() if value is not None})
    labels = _fields(entry, lambda _: _read_labels(target))
    if _DEFAULTS | labels != _DEFAULTS:
        site.setdefault("tools", {}).setdefault(_tool(target), labels)


def _read_labels(target: Mapping[str, Any]) -> dict[str, Any]:
    """Return the labels that were set for a recorded call, without assumed ones. Label cases may give each call its own."""
    assumed = target.get("assumed", ())
    return {name: target[name] for name in _LABELS if name not in assumed} | (
        {"sandbox": True} if target.get("sandbox") else {}
    )


def _declaration(task: Mapping[str, Any]) -> dict[str, Any]:
    stated = {name: task.get(name) for name in ("goal", "risk", "tenant", "environment")}
    stated["kind"] = task.get("declared_kind")
    if stated["goal"] is not None:
        stated["goal"] = escape_braces(stated["goal"])
    if (contract := task.get("contract")) is not None:
        stated["contract"] = {
            **{name: contract[name] for name in ("audiences", "tools") if contract.get(name) is not None},
            "credential_flows": [{"from": source, "to": to} for source, to in contract["credential_flows"]],
            "limits": contract["limits"],
            "effects": contract.get("effects") or {},
        }
        if (destinations := contract.get("destinations")) is not None:
            stated["contract"]["destinations"] = [escape_braces(destination) for destination in destinations]
    if approved_by := task.get("approved_by"):
        stated["approved_by"] = [
            {name: approver[name] for name in ("id", "issuer", "groups", "assurance")}
            | ({} if approver.get("login_age") is None else {"login_age_seconds": approver["login_age"]})
            for approver in approved_by
        ]
    return {name: value for name, value in stated.items() if value is not None}


def _fields(entry: JsonObject, read: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Return the result of `read` on an entry. Raises `JournalError` with the entry's place."""
    try:
        return read(cast("Mapping[str, Any]", entry))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JournalError(
            f"entry {entry.get('seq')} of the journal has not what a trace needs: {error}",
            "run `opagate journal verify`; a journal of an older opagate cannot be exported as traces",
        ) from error
