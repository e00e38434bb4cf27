"""An overlay beside the shipped policy: what it brings, and what it cannot change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy import verdict
from gateway.policy.folder import bundle, folders, overlay
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.folder.reload import PolicyFolder
from tests import tiny_policy
from tests.tiny_policy import OVERLAY

ROOT = Path(__file__).resolve().parents[4]
Own = Callable[[dict[str, str]], PolicyFolders]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Writes an overlay with one family, with files added or replaced, and gives it beside the shipped policy."""

    def written(changes: dict[str, str]) -> PolicyFolders:
        folder = tiny_policy.write(tmp_path / "own", {"tickets/tickets.rego": OVERLAY, **changes})
        return PolicyFolders(find_shipped(), None, folder)

    return written


def test_an_overlay_brings_its_rules_data_tests_and_reasons(own: Own):
    policy = bundle.read_folder(find_shipped())
    found = folders.read_policy(
        own({"tickets/data.yaml": "closed: [a]\n", "tickets/tickets_test.rego": "package overlay.t_test\n"})
    )
    data = json.loads(found.data)

    assert set(policy.modules) - set(found.modules) == {(overlay.SLOT, dict(policy.modules)[overlay.SLOT])}
    assert ("overlay/tickets/tickets.rego", OVERLAY) in found.modules
    assert data["overlay"] == {"tickets": {"closed": ["a"]}}
    assert data["gateway"]["reasons"].pop("acme/undeclared-task")["message"] == "Tickets are closed in declared tasks."
    assert data["gateway"] == json.loads(policy.data)["gateway"]
    assert found.roots == (*policy.roots, "overlay")
    assert found.tests == (*policy.tests, ("overlay/tickets/tickets_test.rego", "package overlay.t_test\n"))


def test_the_revision_is_that_of_the_policy_and_that_of_the_overlay(own: Own):
    before = folders.read_policy(own({})).revision

    assert re.fullmatch(rf"{re.escape(bundle.read_folder(find_shipped()).revision)}\+[0-9a-f]{{8}}", before)
    assert folders.read_policy(own({"tickets/tickets_test.rego": "package overlay.t_test\n"})).revision == before
    assert folders.read_policy(own({"tickets/data.yaml": "a: 1\n"})).revision != before


def test_a_policy_that_may_define_everything_may_have_an_overlay(own: Own, tmp_path: Path):
    place = own({})
    policy = tiny_policy.write(tmp_path / "policy", dict(bundle.read_folder(find_shipped()).modules))

    assert folders.read_policy(PolicyFolders(policy, None, place.overlay)).roots == ("",)


@pytest.mark.parametrize(
    "code",
    ["budget/calls", "budget/new", "policy/late", "request/own", "credential-chain/handle", "approval/grant", "tool/x"],
)
def test_a_code_of_a_family_of_opagates_own_is_refused(own: Own, code: str):
    text = OVERLAY.replace("acme/undeclared-task", code)

    with pytest.raises(PolicyBroken, match=rf"overlay/tickets/tickets\.rego:8: the family of the code '{code}'"):
        folders.read_policy(own({"tickets/tickets.rego": text}))


def test_the_families_of_the_gateways_own_codes_are_known():
    pages = [(ROOT / "docs" / name).read_text("utf-8") for name in ("refusals.md", "reference/reasons.md")]
    rows = [row for page in pages for row in page.splitlines() if row.startswith("| `")]
    found = {family for row in rows for family in re.findall(r"`([a-z-]+)/[a-z-]+`", row.split(" | ")[0])}
    shipped_families = {
        code.partition("/")[0] for code in json.loads(bundle.read_folder(find_shipped()).data)["gateway"]["reasons"]
    }

    assert found - shipped_families <= overlay.OWN_FAMILIES
    assert {code.partition("/")[0] for code in verdict.FAILURES} <= overlay.OWN_FAMILIES


def test_a_code_of_the_policy_cannot_be_given(own: Own):
    text = OVERLAY.replace('contains {"code": "acme/undeclared-task"', 'contains {"code": "budget/calls"')

    with pytest.raises(PolicyBroken, match="the code 'budget/calls' is used, and no rule's annotation has it"):
        folders.read_policy(own({"tickets/tickets.rego": text}))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({".manifest": '{"roots": [""]}'}, "has a .manifest"),
        ({"gateway/settings/data.yaml": "task_limits: {}\n"}, "stands in the folder gateway"),
        ({"gateway/decision/decision.rego": "package overlay.y\n"}, "stands in the folder gateway"),
        ({"system/log/mask.rego": "package overlay.y\n"}, "stands in the folder system"),
        ({"tickets/tickets.rego": ""}, "holds no Rego files"),
        ({"tickets/bad.rego": "package overlay.x\n\nx := \n"}, "overlay/tickets/bad.rego:"),
        ({"tickets/data.yaml": "a: [\n"}, "own/tickets/data.yaml:"),
        ({"tickets/data.yaml": "- a\n"}, "own/tickets/data.yaml is not a mapping"),
    ],
)
def test_an_overlay_that_cannot_be_taken_is_refused(own: Own, files: dict[str, str], problem: str):
    place = own({})
    for name, text in files.items():
        tiny_policy.write(place.overlay or Path(), {name: text})

    with pytest.raises(PolicyBroken, match=re.escape(problem)) as raised:
        folders.read_policy(place)
    assert raised.value.remedy


def test_an_overlay_that_is_gone_is_refused(own: Own, tmp_path: Path):
    own({})

    with pytest.raises(PolicyBroken, match="nowhere cannot be read"):
        folders.read_policy(PolicyFolders(find_shipped(), None, tmp_path / "nowhere"))


def test_a_policy_without_a_place_for_an_overlay_is_refused(own: Own, tmp_path: Path):
    place = own({})
    modules = dict(bundle.read_folder(find_shipped()).modules)
    without = tiny_policy.write(
        tmp_path / "without", {name: text for name, text in modules.items() if name != overlay.SLOT}
    )
    decision = "gateway/decision/decision.rego"
    deaf = tiny_policy.write(
        tmp_path / "deaf", {**modules, decision: modules[decision].replace("\tdata.gateway.overlay.asks,\n", "")}
    )

    for policy in (without, deaf):
        with pytest.raises(PolicyBroken, match="has no place for an overlay"):
            folders.read_policy(PolicyFolders(policy, None, place.overlay))


@pytest.mark.parametrize("files", [{"overlay/x.rego": "package gateway.x\n"}, {"data.yaml": "overlay: {}\n"}])
def test_a_policy_with_files_of_its_own_where_an_overlay_stands_is_refused(
    own: Own, tmp_path: Path, files: dict[str, str]
):
    place = own({})
    policy = tiny_policy.write(tmp_path / "policy", {**dict(bundle.read_folder(find_shipped()).modules), **files})

    with pytest.raises(PolicyBroken, match="stands where an overlay does"):
        folders.read_policy(PolicyFolders(policy, None, place.overlay))


def test_the_texts_of_rules_are_those_of_policy_and_overlay(own: Own):
    assert folders.texts(own({}))["overlay/tickets/tickets.rego"] == OVERLAY


def test_a_written_policy_is_the_same_policy(own: Own, tmp_path: Path):
    found = folders.read_policy(
        own({"tickets/data.yaml": "closed: [a]\n", "tickets/t_test.rego": "package overlay.t_test\n"})
    )
    folders.write(found, tmp_path / "out")
    again = bundle.read_folder(tmp_path / "out")

    assert sorted(again.modules) == sorted(found.modules)
    assert json.loads(again.data) == json.loads(found.data)
    assert again.roots == found.roots
    assert again.tests == ()


async def _codes(policy: PolicyFolder) -> list[str]:
    call = {"resource": {"id": "tickets/close_ticket"}, "context": {"task": {"kind": "implicit"}}}
    answer = verdict.read_decision(await policy.evaluate("decision", call), verdict.KNOWN)
    return [reason.code for reason in answer.reasons]


async def test_a_changed_overlay_comes_into_force_and_a_broken_one_does_not(own: Own):
    policy = PolicyFolder(own({}), deadline=60.0, monotonic=lambda: 0.0)
    await policy.open()
    assert "acme/undeclared-task" in await _codes(policy)

    own({"tickets/tickets.rego": OVERLAY.replace("undeclared-task", "not-declared")})
    assert not await policy.look()
    assert await policy.look()
    assert "acme/not-declared" in await _codes(policy)

    own({"tickets/tickets.rego": OVERLAY.replace("package overlay.tickets", "package gateway.decision")})
    await policy.look()
    assert not await policy.look()
    assert "gateway.decision is no package of an overlay" in str(policy.problem)
    assert "acme/not-declared" in await _codes(policy)


async def test_an_overlay_that_goes_away_stays_in_force(own: Own):
    place = own({})
    policy = PolicyFolder(place, deadline=60.0, monotonic=lambda: 0.0)
    await policy.open()
    (place.overlay or Path()).rename((place.overlay or Path()).with_name("gone"))

    for _ in range(3):
        assert not await policy.look()
    assert policy.problem is not None
    assert "acme/undeclared-task" in await _codes(policy)


async def test_an_emptied_overlay_stays_in_force(own: Own):
    policy = PolicyFolder(own({}), deadline=60.0, monotonic=lambda: 0.0)
    await policy.open()
    own({"tickets/tickets.rego": ""})

    for _ in range(3):
        assert not await policy.look()
    assert "holds no Rego files" in str(policy.problem)
    assert "acme/undeclared-task" in await _codes(policy)
