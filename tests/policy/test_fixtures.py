"""Every fixture, on both engines: the same whole document, and what the fixture expects of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.policy.conftest import ROOT, Case, Engines, cases, take

CASES = cases()
SCHEMA = json.loads((ROOT / "rego/schemas/input.json").read_text(encoding="utf-8"))
OPTIONAL = {
    "/action": "no rule looks at it: what may be called is in the resource",
    "/arguments/content": "the grant says nothing about it",
    "/arguments/subject": "the grant says nothing about it",
    "/arguments/body": "the grant says nothing about it",
    "/context/approval": "absent is the same as null",
    "/context/client": "the client's own words",
    "/context/supported_obligations": "the gateway refuses what it cannot carry out",
    "/context/task/expires": "a task may have no end",
    "/context/task/goal": "a task may have no goal",
    "/context/task/opened": "only its end decides",
    "/context/trace_id": "for the record",
    "/resource/properties/annotations": "the upstream's own words",
    "/session/followed": "it only ever excuses",
    "/resource/properties/environment": "absent counts as production, where reading and writing are not refused",
    "/resource/properties/tenant": "absent is no tenant; grants for tenants do not hold",
    "/resource/properties/tool": "the id has the name",
    "/arguments/path": "the grant for reading says nothing about it",
    "/arguments/to/1": "a list may be shorter",
    "/resource/properties/roles/~1path": "a tool may have no labelled arguments",
    "/resource/properties/roles/~1content": "a tool may have no labelled arguments",
    "/resource/properties/roles/~1to": "a tool may have no labelled arguments",
    "/resource/properties/roles/~1cc": "a tool may have no labelled arguments",
    "/resource/properties/roles/~1subject": "a tool may have no labelled arguments",
    "/resource/properties/roles/~1body": "a tool may have no labelled arguments",
    "/session/audiences/0": "a set may be smaller",
    "/session/audiences_in_window/0": "a set may be smaller",
    "/session/call_destinations/0": "a set may be smaller",
    "/session/environments/0": "nobody has to declare the environment of an upstream",
    "/session/tenants/0": "nobody has to declare the tenant of an upstream",
    "/subject/properties/user/groups/0": "a user may be in no group",
    "/subject/properties/scopes/0": "a caller may have no scopes",
}
"""Places without which a call may pass, and why. Everything else is a fact that no call passes without."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_fixture_is_decided_as_expected(case: Case, embedded: dict[str, Engines]):
    _require(case, await embedded[case.policy].both(case.entrypoint, case.input))


@pytest.mark.opa
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_fixture_is_the_same_document_in_opa(case: Case, engines: dict[str, Engines]):
    _require(case, await engines[case.policy].both(case.entrypoint, case.input))


def test_the_fixtures_show_every_code():
    reasons = json.loads((ROOT / "rego/gateway/reasons/data.json").read_text(encoding="utf-8"))
    shown = {code for case in CASES for code in case.expected.get("codes", [])}

    # No input reaches these two: the default of the decision, and a rule on approvers that is lost, need a broken policy.
    assert shown == reasons.keys() - {"policy/undefined", "approval/no-approver"}
    assert len(CASES) >= 60


@pytest.mark.parametrize("base", ["read", "write", "mail"])
async def test_no_call_passes_without_a_fact_that_is_not_optional(base: str, embedded: dict[str, Engines]):
    (good,) = [case.input for case in CASES if case.name.startswith("allow") and is_base(case, base)][:1]
    assert (await embedded["shipped"].both("decision", good))["effect"] == "allow"
    for pointer in places(good):
        document = copy.deepcopy(good)
        take(document, pointer)
        answer = await embedded["shipped"].both("decision", document)
        optional = any(pointer == known or pointer.startswith(f"{known}/") for known in OPTIONAL)
        if not optional:
            assert answer["effect"] == "deny", f"a call passed without {pointer}"


async def test_every_optional_place_is_really_one(embedded: dict[str, Engines]):
    passed: set[str] = set()
    for case in CASES:
        if case.entrypoint == "decision" and case.policy == "shipped" and case.expected["effect"] == "allow":
            for pointer in set(places(case.input)) & OPTIONAL.keys() - passed:
                document = copy.deepcopy(case.input)
                take(document, pointer)
                if (await embedded["shipped"].both("decision", document))["effect"] == "allow":
                    passed.add(pointer)

    assert {known for known in OPTIONAL if known not in passed} == set()


def _require(case: Case, answer: dict[str, Any]) -> None:
    expected = case.expected
    if case.entrypoint == "visibility":
        assert answer == {"version": 1, "visible": expected["visible"]}
        return
    reasons = answer["reasons"]
    assert (answer["effect"], [reason["code"] for reason in reasons]) == (expected["effect"], expected.get("codes", []))
    asked = [item["properties"] for item in answer["obligations"] if item["id"] == "require_approvers"]
    assert asked == (expected.get("approvers", [_approvers(case)]) if answer["effect"] == "ask" else [])
    others = [item for item in answer["obligations"] if item["id"] != "require_approvers"]
    assert others == expected.get("obligations", [])
    assert all(reason["message"] and reason["remedy"] and reason["controls"] for reason in reasons)
    facts = {fact for reason in reasons for fact in reason["facts"]}
    assert facts >= set(expected.get("facts", []))
    assert all(reason["facts"] for reason in reasons)
    assert [fact for fact in facts if not _in_schema(fact)] == []
    assert answer["policy"] == {"name": "opagate"}


def _approvers(case: Case) -> dict[str, Any]:
    """Return the shipped rule on approvers for a call, as the documentation tells it."""
    resource = case.input["resource"]
    effect = resource["properties"]["effect"] if resource["type"] == "tool" else "read"
    is_final = effect in {"destructive", "mint", "exec"}
    is_harmless = resource["properties"].get("environment") in {"demo", "development", "test", "staging"}
    return {
        "count": 1,
        "exclude": ["requester"] if is_harmless and not is_final else ["requester", "user", "delegates"],
        "assurance": "chat",
        "expires_seconds": 900,
        "scopes": ["once"] if is_final else ["once", "destination", "limit"],
    }


def _in_schema(fact: str) -> bool:
    """Whether an input may have the place that a reason names. Arguments are the caller's."""
    schemas = [SCHEMA]
    for step in fact.removeprefix("/").split("/"):
        if step == "arguments":
            return True
        members = [schema.get("items") if step.isdigit() else _member(schema, step) for schema in schemas]
        schemas = [option for member in members if member for option in member.get("anyOf", [member])]
    return schemas != []


def _member(schema: dict[str, Any], name: str) -> dict[str, Any] | None:
    return schema.get("properties", {}).get(name, schema.get("additionalProperties"))


def is_base(case: Case, base: str) -> bool:
    tool = {"read": "files/read_file", "write": "files/write_file", "mail": "mail/send_message"}[base]
    return case.policy == "shipped" and case.input.get("resource", {}).get("id") == tool


def places(document: object, prefix: str = "") -> list[str]:
    """A pointer to every member, at every depth."""
    found: list[str] = []
    items: list[tuple[object, object]] = []
    if isinstance(document, dict):
        items = list(document.items())  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON
    elif isinstance(document, list):
        items = list(enumerate(document))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON
    for key, value in items:
        pointer = f"{prefix}/{str(key).replace('~', '~0').replace('/', '~1')}"
        found += [pointer, *places(value, pointer)]
    return found
