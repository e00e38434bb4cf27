"""Classes of agents: what the shipped rows bound, through the whole policy, and the table of the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import parse
from gateway.config.policy import AgentClass
from gateway.model.errors import PolicyBroken
from gateway.policy.folder import folders
from gateway.policy.folder.folders import PolicyFolders
from gateway.surfaces.cli import policy_checks

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/policy/classes.md"
HEADING = "| class | risk of the task | sensitivity | effects | lease, seconds | soft limits | approvers |"


def _row(row: dict[str, Any]) -> str:
    def listed(field: str) -> str:
        return ", ".join(f"`{item}`" for item in row.get(field, ()))

    def paired(field: str) -> str:
        return ", ".join(f"`{name}` {value}" for name, value in row.get(field, {}).items())

    cells = [*map(listed, ("classes", "risks", "sensitivities", "effects")), str(row.get("lease_seconds", ""))]
    cells += map(paired, ("limits", "approvers"))
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _settings(places: PolicyFolders) -> dict[str, Any]:
    return json.loads(folders.read_policy(places).data)["gateway"]["settings"]


def _entry(of_class: str, **match: str) -> AgentClass:
    return AgentClass.model_validate({"match": match, "class": of_class})


def test_the_page_has_each_row_of_the_bounds() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    start = lines.index(HEADING) + 2
    rows = [_row(row) for row in _settings(PolicyFolders(folders.find_shipped()))["bounds"]]
    assert lines[start : lines.index("", start)] == rows


def test_classes_of_the_configuration_stand_in_the_place_of_the_list_of_the_policy() -> None:
    shipped = PolicyFolders(folders.find_shipped())
    classes = (_entry("operator", id="a*"), _entry("privileged", issuer="https://idp.example"))
    with_classes = PolicyFolders(folders.find_shipped(), classes=classes)
    assert _settings(shipped)["classes"] == []
    assert _settings(with_classes)["classes"] == [
        {"match": {"issuer": "*", "id": "a*"}, "class": "operator"},
        {"match": {"issuer": "https://idp.example", "id": "*"}, "class": "privileged"},
    ]
    assert folders.read_policy(with_classes).revision != folders.read_policy(shipped).revision


def test_a_policy_that_knows_no_classes_refuses_them(tmp_path: Path) -> None:
    (tmp_path / "gateway/decision").mkdir(parents=True)
    (tmp_path / "gateway/decision/decision.rego").write_text("package gateway.decision\n\nresult := {}\n", "utf-8")
    (tmp_path / "gateway/settings").mkdir()
    (tmp_path / "gateway/settings/data.yaml").write_text("name: own\n", "utf-8")
    (tmp_path / ".manifest").write_text('{"roots": ["gateway"]}', "utf-8")
    with pytest.raises(PolicyBroken, match=r"policy\.classes: the policy knows no classes"):
        folders.read_policy(PolicyFolders(tmp_path, classes=(_entry("operator", id="a"),)))


@pytest.mark.parametrize(
    ("identity", "classes", "found"),
    [
        ("jwt", (), "no agent has a class"),
        ("jwt", ({"match": {"id": "a"}, "class": "operator"},), "agents have classes, by 1 patterns"),
        ("development", (), None),
    ],
)
def test_the_check_says_whether_agents_have_classes(
    identity: str, classes: Any, found: str | None, tmp_path: Path
) -> None:
    known = (
        {"kind": "jwt", "issuer": "https://idp.example", "audience": "x"} if identity == "jwt" else {"kind": identity}
    )
    text = yaml.safe_dump({"identity": [known], "policy": {"classes": list(classes)}, "upstreams": {}})
    told = [each for what, each in policy_checks.look_at_data(parse(text, base=tmp_path)) if what == "classes"]
    assert [found is not None and each.found.startswith(found) for each in told] == [True] * (found is not None)
    assert [each.is_warning for each in told] == [not classes] * (found is not None)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, ["without `console` nobody signs a vote", "browsers want `public_url`"]),
        ({"console": {}}, ["without `approvals` nobody signs a vote", "browsers want `public_url`"]),
        ({"console": {}, "approvals": {}, "public_url": "http://localhost:8080"}, []),
    ],
)
def test_the_check_says_why_nobody_can_sign_a_vote(more: dict[str, Any], found: list[str], tmp_path: Path) -> None:
    grants = {
        "files": [
            {"id": "a", "agents": ["*"], "tools": ["*"], "effects": ["write"], "approval": {"assurance": "passkey"}}
        ]
    }
    (tmp_path / "grants.yaml").write_text(yaml.safe_dump({"upstreams": grants}), "utf-8")
    known = {"kind": "jwt", "issuer": "https://idp.example", "audience": "x"}
    text = yaml.safe_dump({"identity": [known], "policy": {"grants": "grants.yaml"}, "upstreams": {}, **more})
    told = [each for what, each in policy_checks.look_at_data(parse(text, base=tmp_path)) if what == "passkeys"]
    assert all(part in each.found and each.is_warning for part, each in zip(found, told, strict=True))
    without = parse(yaml.safe_dump({"identity": [known], "upstreams": {}, **more}), base=tmp_path)
    assert "passkeys" not in {what for what, _ in policy_checks.look_at_data(without)}
