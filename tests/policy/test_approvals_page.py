"""The examples of docs/policy/approvals.md: each decides as the page says."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.model.decision import Decision
from gateway.model.errors import PolicyBroken
from gateway.model.wire import JsonObject
from gateway.policy import verdict
from gateway.policy.folder import bundle, folders
from gateway.policy.folder.data_files import SETTINGS
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.plan.program import CompiledPolicy
from gateway.surfaces.replay.engine import replay
from gateway.surfaces.replay.reader import read_traces
from tests import tiny_policy
from tests.compiled_policy import compiled
from tests.policy.conftest import FIXTURES, ROOT, put

PAGE: Final = (ROOT / "docs/policy/approvals.md").read_text("utf-8")
CALL: Final[dict[str, Any]] = yaml.safe_load((FIXTURES / "bases.yaml").read_text("utf-8"))["read"]
PLACES: Final = {"agent": "/subject/id", "approval": "/context/approval", "tool": "/resource/id"}
GRANT: Final[dict[str, Any]] = {
    "id": "all",
    "agents": ["*"],
    "issuers": ["*"],
    "tools": ["*"],
    "effects": ["read", "write", "destructive", "mint", "exec"],
    "sensitivity": "restricted",
    "approval": True,
}
GRANTS: Final = json.dumps({"upstreams": {"*": [GRANT]}})


def block(language: str, part: str) -> str:
    """Return the block of the page that holds a text."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return next(text for text in found if part in text)


def call(**places: object) -> dict[str, Any]:
    """Return a call of the development agent for alice. A name stands for a property of the target or in `PLACES`."""
    made = copy.deepcopy(CALL)
    for name, item in places.items():
        put(made, PLACES.get(name, f"/resource/properties/{name}"), item)
    return made


def decide(engine: CompiledPolicy, document: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", engine.answer("decision", document))


def rules_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [item["properties"] for item in answer["obligations"] if item["id"] == "require_approvers"]


def fact(*names: str, codes: tuple[str, ...] = ("approval/grant",), **fields: object) -> dict[str, Any]:
    """Return the approval of the page, by some persons."""
    shown = json.loads(block("json", '"approval-1"'))
    person = shown["approvers"][0]
    return {**shown, "answers": list(codes), "approvers": [{**person, "id": name, **fields} for name in names]}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> CompiledPolicy:
    """The policy with the settings of the page."""
    folder = tmp_path_factory.mktemp("policy") / "rego"
    shutil.copytree(ROOT / "rego", folder)
    data = folder / "gateway/settings/data.yaml"
    settings = yaml.safe_load(data.read_text("utf-8")) | yaml.safe_load(block("text", "own_calls:"))
    data.write_text(yaml.safe_dump(settings), "utf-8")
    (folder / bundle.GRANTS).write_text(GRANTS, "utf-8")
    return compiled(bundle.read_folder(folder))


@pytest.fixture(scope="module")
def overlaid(tmp_path_factory: pytest.TempPathFactory) -> CompiledPolicy:
    """The policy with the overlay of the page."""
    own = tiny_policy.write(
        tmp_path_factory.mktemp("own"), {"refunds/refunds.rego": block("rego", "package overlay.refunds")}
    )
    grants = tmp_path_factory.mktemp("grants") / "grants.yaml"
    grants.write_text(json.dumps({"upstreams": {"*": [{**GRANT, "approval": False}]}}), "utf-8")
    return compiled(folders.read_policy(PolicyFolders(find_shipped(), grants, own)))


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> CompiledPolicy:
    """The policy with the grants of the page."""
    grants = tmp_path_factory.mktemp("grants") / "grants.yaml"
    grants.write_text(block("yaml", "triage-closes-tickets"), "utf-8")
    return compiled(folders.read_policy(PolicyFolders(find_shipped(), grants)))


def test_the_settings_of_the_page_have_no_problems(configured: CompiledPolicy):
    assert configured.problems(SETTINGS) == []


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        ({}, {"assurance": "peer", "count": 1, "exclude": ["requester", "user", "delegates"]}),
        ({"environment": "test"}, {"exclude": ["requester"], "scopes": ["once", "destination", "limit"]}),
        ({"environment": "test", "effect": "write"}, {"exclude": ["requester", "user", "delegates"]}),
        ({"environment": "test", "effect": "destructive"}, {"scopes": ["once"]}),
        ({"environment": "production"}, {"group": "sre"}),
        ({"environment": "prod-eu"}, {"group": "sre"}),
        ({"sensitivity": "restricted"}, {"count": 2, "assurance": "mfa"}),
    ],
)
def test_the_settings_of_the_page_hold_by_class(
    configured: CompiledPolicy, places: dict[str, Any], wanted: dict[str, Any]
):
    answer = decide(configured, call(**places))

    (rule,) = rules_of(answer)
    assert answer["effect"] == "ask"
    assert {name: rule[name] for name in wanted} == wanted


def test_each_group_of_several_classes_is_asked_for(configured: CompiledPolicy):
    document = call(environment="production", effect="mint")
    document["subject"]["properties"]["bound"] = True
    rules = rules_of(decide(configured, document))

    assert [rule["group"] for rule in rules] == ["security", "sre"]
    assert all(rule["scopes"] == ["once"] for rule in rules)


@pytest.mark.parametrize(
    ("names", "fields", "effect"),
    [
        (("bob", "eve"), {}, "allow"),
        (("bob", "eve", "carol"), {}, "allow"),
        (("bob",), {}, "ask"),
        (("bob", "bob"), {}, "ask"),
        (("bob", " BOB "), {}, "ask"),
        (("bob", "eve"), {"groups": []}, "ask"),
        (("bob", "eve"), {"groups": ["SUPPORT"]}, "ask"),
        (("bob", "alice"), {}, "ask"),
        (("bob", "Alice"), {"issuer": "https://other.example"}, "ask"),
        (("bob", "eve", "spiffe://corp/agent/triage"), {}, "ask"),
    ],
)
def test_the_grant_of_the_page_needs_two_persons(
    granted: CompiledPolicy, names: tuple[str, ...], fields: Any, effect: str
):
    approval = fact(*names, codes=("approval/effect", "approval/grant"), **fields)
    document = call(
        agent="spiffe://corp/agent/triage",
        tool="tickets/close_ticket",
        upstream="tickets",
        effect="destructive",
        approval=approval,
    )
    put(
        document, "/subject/properties", {**document["subject"]["properties"], "issuer": "spiffe://corp", "bound": True}
    )
    answer = decide(granted, document)

    assert answer["effect"] == effect
    assert [(rule["count"], rule["group"], rule["expires_seconds"]) for rule in rules_of(answer)] in (
        [],
        [(2, "support", 600)],
    )


def test_the_demo_of_the_page_is_the_shipped_grant():
    (grant,) = yaml.safe_load(block("yaml", "development-closes-tickets"))["upstreams"]["tickets"]

    assert grant in yaml.safe_load((ROOT / "rego" / bundle.GRANTS).read_text("utf-8"))["upstreams"]["tickets"]


async def test_the_trace_of_the_page_needs_two_persons(tmp_path: Path):
    trace = tmp_path / "two.jsonl"
    trace.write_text(json.dumps(json.loads(block("json", '"two-persons"'))) + "\n", "utf-8")
    engine = compiled(folders.read_policy(PolicyFolders(find_shipped())))

    async def judge(document: JsonObject) -> Decision:
        return verdict.read_decision(engine.answer("decision", document), frozenset(SUPPORTED_OBLIGATIONS))

    outcomes = [outcome async for outcome in replay(read_traces(trace), judge)]

    assert [(outcome.decision.effect, outcome.met) for outcome in outcomes] == [
        ("ask", True),
        ("ask", True),
        ("allow", True),
    ]


def refund(amount: object, approval: object = None) -> dict[str, Any]:
    made = call(tool="billing/refund", upstream="billing", approval=approval, roles={})
    put(made, "/arguments", {"amount": amount})
    return made


def test_the_overlay_of_the_page_names_who_approves_a_large_refund(overlaid: CompiledPolicy):
    answer = decide(overlaid, refund(500))

    assert decide(overlaid, refund(100))["effect"] == "allow"
    assert (answer["effect"], answer["reasons"][0]["code"]) == ("ask", "acme-refunds/large")
    assert [(rule["count"], rule["group"], rule["assurance"]) for rule in rules_of(answer)] == [(2, "finance", "mfa")]
    assert decide(overlaid, refund("much"))["effect"] == "ask"


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({"groups": ["finance"], "assurance": "mfa"}, "allow"),
        ({"groups": ["finance"], "assurance": "passkey"}, "allow"),
        ({"groups": ["finance"], "assurance": "login"}, "ask"),
        ({"groups": ["support"], "assurance": "mfa"}, "ask"),
    ],
)
def test_the_overlay_of_the_page_judges_the_release(overlaid: CompiledPolicy, fields: dict[str, Any], effect: str):
    approval = fact("bob", "eve", codes=("acme-refunds/large",), **fields)

    assert decide(overlaid, refund(500, approval))["effect"] == effect


def with_approvers(folder: Path, approvers: object) -> CompiledPolicy:
    shutil.copytree(ROOT / "rego", folder / "rego")
    data = folder / "rego/gateway/settings/data.yaml"
    data.write_text(yaml.safe_dump(yaml.safe_load(data.read_text("utf-8")) | {"approvers": approvers}), "utf-8")
    (folder / "rego" / bundle.GRANTS).write_text(GRANTS, "utf-8")
    return compiled(bundle.read_folder(folder / "rego"))


NAMES: Final = ("every", "effects", "environments", "sensitivities", "families", "own_calls")


@pytest.mark.parametrize("lost", [None, [], "x", dict.fromkeys(NAMES)])
def test_settings_that_are_lost_let_nobody_approve(tmp_path: Path, lost: object):
    engine = with_approvers(tmp_path, lost)

    for document in (call(), call(approval=fact("bob", "eve"))):
        answer = decide(engine, document)
        assert answer["effect"] == "deny"
        assert "approval/no-approver" in [reason["code"] for reason in answer["reasons"]]
        assert rules_of(answer) == []
    assert any("approvers." in problem for problem in engine.problems(SETTINGS))


def test_settings_without_a_part_do_not_load(tmp_path: Path):
    with pytest.raises(PolicyBroken, match=r"there is no `data\.gateway\.settings\.approvers\.\w+`"):
        with_approvers(tmp_path, {})
