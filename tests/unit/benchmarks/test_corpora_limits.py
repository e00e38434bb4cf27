from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.corpora.corpus import Corpus
from benchmarks.corpora.installed import ROOT
from benchmarks.corpora.limits import (
    EARLIER,
    LIMITS,
    halves,
    own_domains,
    passing,
    percentile,
    propose,
    read_numbers,
    report,
    shipped,
    with_earlier,
)

SEND = {"effect": "write", "egress": True, "roles": {"/to": "destination"}}
TOOLS: dict[str, Any] = {
    "mail": {"audience": "mail", "trust": "untrusted", "tools": {"send": SEND}},
    "files": {"audience": "files", "trust": "untrusted", "tools": {"read": {"effect": "read", "egress": False}}},
}


def send(to: list[str]) -> dict[str, Any]:
    return {"by": "user", "tool": "send", "arguments": {"to": to}, "result": "sent"}


READ: dict[str, Any] = {"by": "user", "tool": "read", "arguments": {}, "result": "text"}
SUITE: dict[str, Any] = {
    "kind": "suite",
    "suite": "office",
    "tools": {"send": {"description": "", "arguments": ["to"]}, "read": {"description": "", "arguments": []}},
    "directory": ["ada@corp.example", "bob@corp.example", "eve@other.example", "@someone", "#channel"],
}


def task(number: int, goal: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "benign", "suite": "office", "user": f"user_task_{number}", "goal": goal, "steps": list(steps)}


def numbers(**given: int) -> dict[str, int]:
    return {**dict.fromkeys(LIMITS, 0), **given}


async def test_the_numbers_of_a_task_are_the_highest_that_one_of_its_calls_raises(tmp_path: Path):
    office = Corpus(
        "office",
        [
            SUITE,
            task(
                0,
                "Write to eve@else.example",
                READ,
                send(["eve@else.example", "ann@far.example"]),
                send(["ada@corp.example"]),
            ),
            task(1, "Read", READ, READ),
        ],
        TOOLS,
    )

    found = await read_numbers(office, tmp_path)

    assert found["office/user_task_0"] == numbers(
        audiences=2, audiences_in_window=2, write_audiences=1, destinations=2, call_destinations=1
    ) | {"own_destinations": 1, "call_own_destinations": 1}
    assert found["office/user_task_1"] == numbers(audiences=1, audiences_in_window=1) | {
        "own_destinations": 0,
        "call_own_destinations": 0,
    }
    page = report({"office": found})
    assert "| `destinations` | 0 · 2 · 2 · 2 | 7 | 7 | 7 |" in page
    assert "pass a shipped soft limit: office 0 of 2." in page


def test_own_domains_are_those_of_most_people_of_the_directory():
    assert own_domains(SUITE) == ["corp.example"]
    assert own_domains({**SUITE, "directory": ["#channel", "@someone"]}) == []


@pytest.mark.parametrize(("share", "number"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_a_number_that_so_many_do_not_pass(share: float, number: int):
    assert percentile([*range(100, 0, -1)], share) == number


def test_the_corpus_that_reaches_furthest_decides_and_one_task_of_a_hundred_does_not():
    wide = [numbers(audiences=4)] * 99 + [numbers(audiences=9)]

    assert propose([wide, [numbers(destinations=2)], []]) == numbers(audiences=4, destinations=2)
    assert passing({"a": wide[0], "b": wide[-1]}, numbers(audiences=4)) == ["b"]


def test_each_task_is_in_one_half():
    tasks = {f"task_{number}": numbers() for number in range(40)}
    one, other = halves({"office": tasks})

    assert one["office"].keys() | other["office"].keys() == tasks.keys()
    assert not one["office"].keys() & other["office"].keys()
    assert min(len(one["office"]), len(other["office"])) >= 10


def test_shipped_limits_let_the_earlier_corpus_pass_and_never_pass_their_hard_limit():
    given: Any = yaml.safe_load((ROOT / "rego/gateway/settings/data.yaml").read_text("utf-8"))["task_limits"]

    assert all(shipped()[name] >= number for name, number in with_earlier(numbers()).items())
    assert all(shipped()[name] <= given[name]["hard"] for name in EARLIER)
