"""An overlay can only add, whatever its rules say: on both engines, for every fixture."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model.errors import PolicyBroken, PolicyError
from gateway.policy import authoring
from gateway.policy.folder import folders
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.plan.program import CompiledPolicy
from tests import tiny_policy
from tests.compiled_policy import compiled
from tests.compiled_policy import opa as opa_program
from tests.policy.conftest import FAILED, Case, Engines, Opa, cases, connected
from tests.policy.test_agreement import ANYTHING

CASES = [case for case in cases() if case.policy == "shipped"]
ANYTHING_SAID: Final = """package overlay.anything

denials contains finding if some finding in input.arguments.own.denials

asks contains finding if some finding in input.arguments.own.asks

obligations contains obligation if some obligation in input.arguments.own.obligations

hides(resource) if resource.id in input.arguments.own.hidden
"""
"""A family that says whatever the input gives it."""
SILENT: Final[dict[str, Any]] = {"denials": [], "asks": [], "obligations": [], "hidden": []}
ASSURANCES: Final = ("chat", "peer", "login", "mfa", "passkey")
_RANKS: Final = ("allow", "ask", "deny", "failed")

CODES = st.sampled_from(["budget/calls", "tool/not-granted", "approval/grant", "acme/x", "policy/undefined", "", "x"])
FINDINGS = st.lists(
    ANYTHING
    | st.fixed_dictionaries(
        {"code": CODES | ANYTHING, "facts": st.lists(st.sampled_from(["/a", "/session/calls"]), max_size=2) | ANYTHING},
        optional={"approvable": ANYTHING, "message": ANYTHING, "effect": st.just("allow")},
    ),
    max_size=3,
)
LOOSE: Final[list[dict[str, Any]]] = [
    {
        "count": 1,
        "exclude": [],
        "assurance": "chat",
        "expires_seconds": 10**6,
        "scopes": ["once", "destination", "limit"],
    },
    {"count": 3, "group": "sre"},
    {"count": "3"},
]
OBLIGATIONS = st.lists(
    ANYTHING
    | st.fixed_dictionaries(
        {
            "id": st.sampled_from(["limit", "label", "conceal_credentials", "redact", "require_approvers"]) | ANYTHING,
            "properties": st.sampled_from([{}, {"max_bytes": 10**9}, {"confidentiality": "public"}, *LOOSE]) | ANYTHING,
        }
    ),
    max_size=2,
)
OWN = st.fixed_dictionaries(
    {
        "denials": FINDINGS,
        "asks": FINDINGS,
        "obligations": OBLIGATIONS,
        "hidden": st.lists(st.sampled_from(["files/read_file", "mail/send_message"]), max_size=2),
    }
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> PolicyFolders:
    own = tiny_policy.write(tmp_path_factory.mktemp("own"), {"anything/anything.rego": ANYTHING_SAID})
    return PolicyFolders(find_shipped(), None, own)


@pytest.fixture(scope="module")
def with_overlay(places: PolicyFolders) -> CompiledPolicy:
    return compiled(folders.read_policy(places))


@pytest.fixture(scope="module")
def opa(places: PolicyFolders, opa_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opa]:
    """A real OPA with the folder that `opagate policy build` writes."""
    folder = tmp_path_factory.mktemp("built")
    folders.write(folders.read_policy(places), folder)
    address = tmp_path_factory.mktemp("socket") / "opa.sock"
    command = [opa_path, "run", "--server", "--addr", f"unix://{address}", "--log-level", "error", "--bundle", folder]
    process = subprocess.Popen(command)
    connection = connected(address)
    yield Opa(connection)
    connection.close()
    process.kill()
    process.wait()


def _saying(case: Case, own: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a case with words for the overlay among the arguments, the one place that may hold anything."""
    arguments = case.input.get("arguments")
    return {
        **copy.deepcopy(case.input),
        "arguments": {**(arguments if isinstance(arguments, dict) else {}), "own": own},
    }


def _answer(engine: CompiledPolicy, case: Case, document: dict[str, Any]) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", engine.answer(case.entrypoint, document))
    except PolicyError:
        return FAILED


def _require_no_less(before: dict[str, Any], after: dict[str, Any]) -> None:
    """An answer with the overlay refuses all that the answer without it does, for the same reasons, and shows no more."""
    if FAILED in (before, after):
        assert after == FAILED
    elif "visible" in before:
        assert set(after["visible"]) <= set(before["visible"])
    else:
        assert _RANKS.index(after["effect"]) >= _RANKS.index(before["effect"])
        # A denial of the overlay takes the place of a question that nobody is asked any more.
        is_unasked = any(reason["code"] == "budget/approvals" for reason in before["reasons"])
        if before["effect"] == after["effect"] and not is_unasked:
            assert _texts(before) <= _texts(after)
        if after["effect"] != "deny":
            assert all(item in after["obligations"] for item in _others(before))
            _require_no_looser(_approvers(before), _approvers(after))
        assert bool(_approvers(after)) == (after["effect"] == "ask")


def _others(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in answer["obligations"] if not _names_approvers(item)]


def _approvers(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [item["properties"] for item in answer["obligations"] if _names_approvers(item)]


def _names_approvers(item: object) -> bool:
    return isinstance(item, dict) and cast("dict[str, Any]", item).get("id") == "require_approvers"


def _require_no_looser(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """Whoever may approve with the overlay could approve without it."""
    if not before or not after:
        return
    looser, stricter = before[0], after[0]
    assert stricter["count"] >= looser["count"]
    assert {item.get("group") for item in after} >= {item["group"] for item in before if "group" in item}
    assert set(stricter["exclude"]) >= set(looser["exclude"])
    assert ASSURANCES.index(stricter["assurance"]) >= ASSURANCES.index(looser["assurance"])
    assert stricter["expires_seconds"] <= looser["expires_seconds"]
    assert set(stricter["scopes"]) <= set(looser["scopes"])


def _texts(answer: dict[str, Any]) -> set[str]:
    return {json.dumps([reason["code"], reason["message"], reason["remedy"]]) for reason in answer["reasons"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_silent_overlay_changes_no_decision(case: Case, embedded: dict[str, Engines], with_overlay: CompiledPolicy):
    without = embedded["shipped"].policy

    for document in (case.input, _saying(case, SILENT)):
        assert _answer(with_overlay, case, document) == _answer(without, case, document)


_SETTINGS = settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@_SETTINGS
@given(case=st.sampled_from(CASES), own=OWN)
def test_an_overlay_takes_nothing_away(
    embedded: dict[str, Engines], with_overlay: CompiledPolicy, case: Case, own: dict[str, Any]
):
    document = _saying(case, own)
    before = _answer(embedded["shipped"].policy, case, document)

    _require_no_less(before, _answer(with_overlay, case, document))


@pytest.mark.opa
@settings(_SETTINGS, max_examples=300)
@given(case=st.sampled_from(CASES), own=OWN)
def test_an_overlay_takes_nothing_away_in_opa(
    embedded: dict[str, Engines], with_overlay: CompiledPolicy, opa: Opa, case: Case, own: dict[str, Any]
):
    document = _saying(case, own)
    before = _answer(embedded["shipped"].policy, case, document)
    after = cast("dict[str, Any]", opa.evaluate(case.entrypoint, json.dumps(document).encode()))

    _require_no_less(before, after)
    if FAILED not in (after, embedded_after := _answer(with_overlay, case, document)):
        assert after == embedded_after


def test_what_an_overlay_adds_is_there(with_overlay: CompiledPolicy):
    case = next(case for case in CASES if case.name == "allow: the agent reads a file")
    finding = {"code": "acme/x", "facts": ["/a"]}
    limit = {"id": "limit", "properties": {"max_bytes": 1}}

    def answer(**own: object) -> dict[str, Any]:
        return _answer(with_overlay, case, _saying(case, {**SILENT, **own}))

    assert answer()["effect"] == "allow"
    assert answer(denials=[finding])["effect"] == "deny"
    assert answer(denials=[finding])["reasons"][0]["code"] == "acme/x"
    assert answer(asks=[finding])["effect"] == "ask"
    assert limit in answer(obligations=[limit])["obligations"]
    three = {"id": "require_approvers", "properties": {"count": 3, "group": "sre"}}
    assert answer(obligations=[three])["obligations"] == []
    asked = answer(asks=[finding], obligations=[three])
    assert [(item["count"], item["group"]) for item in _approvers(asked)] == [(3, "sre")]
    nobody = answer(asks=[finding], obligations=[{"id": "require_approvers", "properties": {"count": "3"}}])
    assert [reason["code"] for reason in nobody["reasons"]] == ["acme/x", "approval/no-approver"]

    listed = next(case for case in CASES if case.entrypoint == "visibility" and case.expected["visible"])
    first = listed.expected["visible"][0]
    hidden = _answer(with_overlay, listed, _saying(listed, {**SILENT, "hidden": [first]}))
    assert hidden["visible"] == [name for name in listed.expected["visible"] if name != first]


PACKAGES = sorted(
    {
        found
        for _, text in folders.read_policy(PolicyFolders(find_shipped())).modules
        for found in re.findall(r"^package (\S+)", text, re.MULTILINE)
    }
)
"""Every package of the shipped policy."""


@pytest.mark.parametrize(
    "head", ["package {}", "\n# package overlay.x\npackage {}", "package\t{} # overlay.x", "package overlay.x\n.{}"]
)
def test_no_package_of_the_policy_is_extended(head: str, tmp_path: Path):
    for package in PACKAGES:
        own = tiny_policy.write(tmp_path / "own", {"x/x.rego": f"{head.format(package)}\n\ndenials contains 1\n"})
        with pytest.raises(PolicyBroken, match=r"is no package of an overlay|does not begin with its package"):
            folders.read_policy(PolicyFolders(find_shipped(), None, own))

    assert len(PACKAGES) > 30


@pytest.mark.opa
def test_a_rule_of_an_overlay_that_depends_on_itself_is_refused(tmp_path: Path):
    head = "package overlay.x\n\n# METADATA\n# title: X\n# custom: {code: acme/x, message: X., remedy: None., controls: []}\n"
    text = head + 'denials contains {"code": "acme/x", "facts": []} if data.gateway.decision.result\n'
    own = tiny_policy.write(tmp_path / "own", {"x/x.rego": text})
    policy = folders.read_policy(PolicyFolders(find_shipped(), None, own))

    assert "recursive" in authoring.check_rules(policy, opa_program())[0]
