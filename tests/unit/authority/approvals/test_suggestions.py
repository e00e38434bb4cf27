"""Settings against questions: each file takes its suggestion as it stands, and none has a text of a call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.authority.approvals.model import ShownReason
from gateway.authority.approvals.suggestions import Suggestion, suggest_settings
from gateway.history.tasks.contract import read_declaration
from gateway.model.decision import Reason
from tests.unit.authority.approvals.making import question

CREDENTIAL = {"pointer": "/token", "audience": "crm"}
DESCRIPTION = {"labels": {"effect": "mint"}, "audience": "billing", "credentials": [CREDENTIAL]}


def suggested(code: str, *, description: dict[str, Any] = DESCRIPTION, **changes: Any) -> list[Suggestion]:
    limits: dict[str, int] = changes.pop("limits", {})
    reasons = (ShownReason(code, "Because.", "", ("/arguments/to",), limits),)
    return suggest_settings(question(reasons=reasons, **changes), description)


@pytest.mark.parametrize(
    ("code", "limits"),
    [("approval/effect", {}), ("credential-chain/presentation", {}), ("fan-out/audiences", {"audiences": 6})],
)
def test_a_contract_takes_its_suggestion(code: str, limits: dict[str, int]):
    (one,) = suggested(code, limits=limits)
    declared = read_declaration(json.dumps({"contract": yaml.safe_load(one.yaml)}).encode())

    assert "contract" in one.where
    assert not isinstance(declared, Reason), declared


def test_a_configuration_takes_the_directory(tmp_path: Path):
    (one,) = suggested("toxic-flow/ungrounded")
    found = config.parse(f"identity: [{{kind: anonymous}}]\n{one.yaml}\n", base=tmp_path)

    assert found.directory.entries == ()
    assert "yourself" in one.advice


def test_a_configuration_takes_the_limits_over_tasks(tmp_path: Path):
    (one,) = suggested("limit/calls", limits={"user.calls": 20000})
    found = config.parse(f"identity: [{{kind: anonymous}}]\n{one.yaml}\n", base=tmp_path)

    assert found.limits.user["calls"].soft == 20000


def test_a_limit_of_a_tree_is_one_of_the_task_above():
    (one,) = suggested("tree/limit", limits={"task-1.audiences": 7})

    assert (one.where, one.yaml) == ("the contract of the task task-1", "limits: {audiences: 7}")


@pytest.mark.parametrize(
    "target", ["files/\u2028x", "files/a'b", "files/a\nb", "files/*", "files/" + "x" * 200, "files/naïve"]
)
def test_a_name_that_is_not_plain_is_in_no_suggestion(target: str):
    assert suggested("approval/effect", target=target) == []
    (grant,) = suggested("approval/grant", target=target)
    assert target not in "".join(grant)


@pytest.mark.parametrize("sort", ["resource", "prompt"])
def test_a_name_that_the_caller_chose_is_in_no_suggestion(sort: str):
    (grant,) = suggested("approval/grant", target="files/from-a-result", sort=sort)

    assert "from-a-result" not in "".join(grant)


def test_a_credential_without_a_known_source_has_no_suggestion():
    unknown = {**DESCRIPTION, "credentials": [{**CREDENTIAL, "audience": None}]}

    assert suggested("credential-chain/presentation", description=unknown) == []


@pytest.mark.parametrize("description", [{}, {"arguments": None, "labels": None, "credentials": None}])
@pytest.mark.parametrize(
    "code", ["approval/effect", "approval/grant", "credential-chain/presentation", "toxic-flow/ungrounded", "x/y"]
)
def test_a_question_without_its_description_has_settings_too(code: str, description: dict[str, Any]):
    assert len(suggested(code, description=description)) <= 1
