"""`opagate policy cost`: each setting that it prints ends the question that it is printed for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.interaction.cli.conftest import Opagate
from tests.requirements import requirement

READ = {"effect": "read", "egress": False, "sensitivity": "internal"}
SEND = {
    "effect": "write",
    "egress": True,
    "sensitivity": "internal",
    "roles": {"/to": "destination", "/body": "content"},
}
GRANTS: dict[str, Any] = {
    "upstreams": {
        "*": [
            {"id": "all", "agents": ["dev"], "issuers": ["*"], "tools": ["read*", "send"], "effects": ["read", "write"]}
        ]
    }
}
SYSTEMS = {name: {"tools": {"read*": READ, "send": SEND, "drop": READ}} for name in ("mail", "a", "b", "c", "d")}


def call(upstream: str, tool: str, result: str = "ok", **arguments: str) -> dict[str, Any]:
    return {"upstream": upstream, "tool": tool, "arguments": arguments, "result": result}


SESSION: dict[str, Any] = {
    "id": "monday",
    "task": {"goal": "Answer the mail", "contract": {"limits": {"audiences": 3}}},
    "upstreams": SYSTEMS,
    "steps": [
        call("mail", "read", "write to ada@corp.example"),
        call("mail", "send", to="ada@corp.example", body="see https://docs.corp.example/a"),
        call("mail", "drop"),
        *(call(name, "read") for name in "abcd"),
    ],
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "grants.yaml").write_text(yaml.safe_dump(GRANTS), "utf-8")
    (tmp_path / "sessions.jsonl").write_text(json.dumps(SESSION) + "\n", "utf-8")
    return tmp_path


def cost(opagate: Opagate) -> dict[str, Any]:
    done = opagate("policy", "cost", "sessions.jsonl", "--grants", "grants.yaml", "--json")
    assert done.status == 0, done.err
    return done.json


def apply(settings: list[dict[str, Any]], session: dict[str, Any], grants: dict[str, Any]) -> None:
    """Put printed settings where they belong."""
    for setting in settings:
        found = yaml.safe_load(setting["yaml"])
        match setting["where"]:
            case "gateway.yaml":
                session.setdefault("directory", []).extend(found["directory"]["entries"])
            case "the grants file":
                grants["upstreams"] |= found["upstreams"]
            case place:
                assert place == "the contract of the task"
                contract = session["task"].setdefault("contract", {})
                contract["limits"] = contract.get("limits", {}) | found["limits"]


@requirement("replay/cost")
def test_each_printed_setting_ends_its_question(opagate: Opagate, written: Path):
    """A call that passes now may raise a number further, so the fifth system is asked about after the fourth."""
    found = cost(opagate)
    assert {rule["code"] for rule in found["rules"]} >= {
        "toxic-flow/ungrounded",
        "tool/not-granted",
        "fan-out/audiences",
    }
    assert (found["tasks"], found["asked_tasks"], found["refused_tasks"]) == (1, 1, 1)
    grants, session = json.loads(json.dumps([GRANTS, SESSION]))
    steps = session.pop("steps")

    for _ in range(2):
        apply([setting for rule in found["rules"] for setting in rule["settings"]], session, grants)
        (written / "grants.yaml").write_text(yaml.safe_dump(grants), "utf-8")
        (written / "sessions.jsonl").write_text(json.dumps({**session, "steps": steps}) + "\n", "utf-8")
        found = cost(opagate)

    assert (found["questions"], found["refused_tasks"]) == (0, 0), found["rules"]


@requirement("replay/cost")
def test_a_question_about_colleagues_is_ended_by_their_own_limit(opagate: Opagate, written: Path):
    to = ", ".join(f"person{number}@corp.example" for number in range(21))
    session = {
        **SESSION,
        "own_domains": ["corp.example"],
        "task": {"goal": "Invite everybody"},
        "steps": [call("mail", "send", to=to)],
    }
    steps = session.pop("steps")
    (written / "sessions.jsonl").write_text(json.dumps({**session, "steps": steps}) + "\n", "utf-8")

    (rule,) = cost(opagate)["rules"]

    assert (rule["code"], rule["without_setting"]) == ("fan-out/destinations", 0)
    settings = {setting["yaml"] for setting in rule["settings"]}
    assert settings == {"limits: {own_destinations: 21}", "limits: {call_own_destinations: 21}"}


def test_people_read_a_table_and_the_settings(opagate: Opagate, written: Path):
    assert written.is_dir()
    done = opagate("policy", "cost", "sessions.jsonl", "--grants", "grants.yaml")

    assert done.status == 0
    assert "1 task: 1 was asked about, 1 had a refusal" in done.out
    assert "directory: {entries: ['ada@corp.example']}" in done.out
    assert "in the grants file:" in done.out


def test_a_file_that_is_no_trace_is_named(opagate: Opagate, tmp_path: Path):
    (tmp_path / "sessions.jsonl").write_text("{}\n", "utf-8")
    done = opagate("policy", "cost", "sessions.jsonl")

    assert done.status != 0
    assert "sessions.jsonl" in done.err
