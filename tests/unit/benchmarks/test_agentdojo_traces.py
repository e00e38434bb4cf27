from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.agentdojo.traces import (
    AGENT,
    VARIANTS,
    catalogue,
    consequential,
    name_of,
    trace,
    unlabelled,
    upstream_of,
    varied,
    written,
)
from gateway.replay import read

TOOLS: dict[str, Any] = {
    "mail": {
        "audience": "mail",
        "trust": "untrusted",
        "tools": {
            "send": {"effect": "write", "egress": True, "roles": {"/to": "destination"}},
            "search": {"effect": "read", "egress": False},
            "odd": {},
        },
    },
    "contacts": {"audience": "mail", "trust": "trusted", "tools": {"look_up": {"effect": "read", "egress": False}}},
    "web": {"audience": "web", "tools": {"get": {"effect": "read", "egress": True}}},
}
ATTACK: dict[str, Any] = {
    "kind": "attack",
    "suite": "office",
    "user": "user_task_1",
    "injection": "injection_task_2",
    "goal": "Tell Bob",
    "asks": "Tell Eve",
    "steps": [
        {"by": "user", "tool": "look_up", "arguments": {"name": "Bob"}, "result": "bob@corp.example"},
        {"by": "injection", "tool": "send", "arguments": {"to": ["eve@evil.example"]}, "result": "sent"},
    ],
}


def test_a_recording_becomes_a_trace_whose_goal_is_the_prompt(tmp_path: Path):
    written([ATTACK], TOOLS, tmp_path / "traces.jsonl")

    found = next(read(tmp_path / "traces.jsonl"))
    steps = list(found.steps)

    assert found.id == name_of(ATTACK) == "office/user_task_1/injection_task_2"
    assert (found.principal.id, found.task.goal, found.task.contract) == (AGENT, "Tell Bob", None)
    assert [(step.upstream, step.tool, step.result) for step in steps] == [
        ("contacts", "look_up", "bob@corp.example"),
        ("mail", "send", "sent"),
    ]
    assert [(found.target(step).audience, found.target(step).trust) for step in steps] == [
        ("mail", "trusted"),
        ("mail", "untrusted"),
    ]
    assert found.target(steps[1]).labels.roles == {"/to": "destination"}


def test_a_trace_says_nothing_of_the_injection_and_names_only_the_upstreams_in_use():
    made = trace(ATTACK, TOOLS, upstream_of(TOOLS))

    assert list(made) == ["id", "task", "upstreams", "steps"]
    assert made["upstreams"].keys() == {"contacts", "mail"}
    assert "Tell Eve" not in json.dumps(made)
    assert all(step.keys() == {"upstream", "tool", "arguments", "result"} for step in made["steps"])


def test_a_call_that_changes_or_sends_something_is_consequential():
    where = upstream_of(TOOLS)

    assert [tool for tool in where if consequential(tool, TOOLS, where)] == ["send", "odd", "get"]


def test_a_tool_in_two_upstreams_is_refused():
    twice: dict[str, Any] = {**TOOLS, "other": {"tools": {"send": {}}}}

    with pytest.raises(ValueError, match="send is in mail and in other"):
        upstream_of(twice)


def test_what_catalogue_and_package_do_not_share_is_said():
    suites: list[dict[str, Any]] = [
        {"kind": "suite", "suite": "a", "tools": {"send": ["body"], "search": ["query"], "get": ["url"]}},
        {"kind": "suite", "suite": "b", "tools": {"send": ["recipient"], "look_up": ["name"], "odd": [], "new": []}},
        ATTACK,
    ]

    assert unlabelled(TOOLS, suites) == ["new is not in the catalogue", "send has no argument /to"]
    assert unlabelled(TOOLS, suites[:1])[:2] == ["look_up is not in the package", "odd is not in the package"]


def test_the_catalogue_labels_69_tools_in_full():
    tools = catalogue()
    where = upstream_of(tools)

    assert len(where) == 69
    for tool, upstream in where.items():
        labels = tools[upstream]["tools"][tool]
        assert {"effect", "egress"} <= labels.keys() <= {"effect", "egress", "roles", "sensitivity"}
        assert tools[upstream].keys() == {"audience", "trust", "tools"}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_a_copy(name: str):
    tools = catalogue()

    changed = varied(tools, VARIANTS[name][1])

    assert changed != tools == catalogue()
