"""`opagate policy replay` as its user runs it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.cli.conftest import Opagate

ROOT = Path(__file__).resolve().parents[3]
READ = {"effect": "read", "egress": False}
GRANTS = """
upstreams:
  "*":
    - {id: reads, agents: ["*"], issuers: ["*"], tools: ["read_*"]}
"""
CONFIGURATION = """
identity: [{{kind: development}}]
upstreams: {{mail: {{url: "http://127.0.0.1:9/mcp", audience: mail}}}}
policy: {{grants: {grants}}}
history: {{own_domains: [corp.example]}}
directory: {{entries: [0@corp.example]}}
"""


def call(tool: str, effect: str | None = None, code: str | None = None) -> dict[str, Any]:
    step: dict[str, Any] = {"upstream": "files", "tool": tool, "arguments": {"path": "a"}, "result": "text"}
    if effect:
        step["expect"] = {"effect": effect} if code is None else {"effect": effect, "code": code}
    return step


def sessions(path: Path, *traces: list[dict[str, Any]]) -> str:
    upstreams = {"files": {"tools": {"read_file": READ, "write_file": {"effect": "write"}}}}
    lines = [json.dumps({"id": f"s{n}", "upstreams": upstreams, "steps": steps}) for n, steps in enumerate(traces)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def grants(tmp_path: Path) -> str:
    path = tmp_path / "grants.yaml"
    path.write_text(GRANTS, encoding="utf-8")
    return str(path)


def test_each_step_is_a_line_and_the_totals_come_last(opagate: Opagate, tmp_path: Path, grants: str):
    steps = [call("read_file", "allow"), call("write_file", "deny|ask", "tool/not-granted")]
    done = opagate("policy", "replay", sessions(tmp_path / "t", steps, steps[:1]), "--grants", grants)

    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "s0[0]  allow  files/read_file",
        "s0[1]  deny   files/write_file  tool/not-granted",
        "s1[0]  allow  files/read_file",
        "3 steps in 2 traces: 2 allow, 0 ask, 1 deny.",
        "3 of 3 expectations are met.",
    ]


def test_an_expectation_that_is_not_met_is_told_with_status_1(opagate: Opagate, tmp_path: Path, grants: str):
    path = sessions(tmp_path / "t", [call("read_file", "ask|deny", "fan-out/audiences")])
    plain, summary = (opagate("policy", "replay", path, "--grants", grants, *more) for more in ([], ["--summary"]))

    assert (plain.status, summary.status) == (1, 1)
    for done in (plain, summary):
        assert "s0[0]  allow  files/read_file    expected ask or deny fan-out/audiences" in done.out.splitlines()
        assert done.out.splitlines()[-1] == "0 of 1 expectations are met."


def test_the_summary_counts_the_reasons(opagate: Opagate, tmp_path: Path, grants: str):
    path = sessions(tmp_path / "t", [call("write_file"), call("write_file")], [call("write_file")])
    done = opagate("policy", "replay", path, "--grants", grants, "--summary")

    rows = [line.split() for line in done.out.splitlines()]
    assert ["deny", "tool/not-granted", "3", "2", "s0[0]"] in rows
    assert "s0[0]  deny" not in done.out


def test_json_is_one_object_a_step(opagate: Opagate, tmp_path: Path, grants: str):
    path = sessions(tmp_path / "t", [call("read_file"), call("write_file")])
    done = opagate("policy", "replay", path, "--grants", grants, "--json")

    first, second = map(json.loads, done.out.splitlines())
    assert first.keys() == {"trace", "step", "effect", "codes", "facts"}
    assert (first["trace"], first["step"], first["effect"], first["codes"]) == ("s0", 0, "allow", [])
    assert (second["step"], second["effect"], second["codes"]) == (1, "deny", ["tool/not-granted"])
    assert (first["facts"]["calls"], second["facts"]["write_audiences"]) == (1, ["files"])


def test_two_policies_are_compared_by_what_differs(opagate: Opagate, tmp_path: Path, grants: str):
    shutil.copytree(ROOT / "rego", tmp_path / "next")
    wider = GRANTS.replace('tools: ["read_*"]', 'tools: ["*"], effects: [read, write]')
    (tmp_path / "next/gateway/grants/data.yaml").write_text(wider, encoding="utf-8")
    shutil.copytree(ROOT / "rego", tmp_path / "now")
    shutil.copy(grants, tmp_path / "now/gateway/grants/data.yaml")
    path = sessions(tmp_path / "t", [call("read_file"), call("write_file")])

    done = opagate("policy", "replay", path, "--path", "now", "--against", "next")
    machine = opagate("policy", "replay", path, "--path", "now", "--against", "next", "--json")

    assert done.status == machine.status == 0
    assert done.out.splitlines() == [
        "s0[1]  files/write_file  deny tool/not-granted  →  allow",
        "2 steps in 1 trace: 1 allow, 0 ask, 1 deny.",
        "The other policy decides 1 of them otherwise.",
    ]
    (row,) = map(json.loads, machine.out.splitlines())
    assert (row["step"], row["effect"], row["against"]["effect"]) == (1, "deny", "allow")


def test_an_archive_is_compared_with_its_own_grants_and_limits(
    opagate: Opagate, tmp_path: Path, grants: str, opa_path: Path
):
    wider = GRANTS.replace('tools: ["read_*"]', 'tools: ["*"], effects: [read, write]')
    (tmp_path / "wider.yaml").write_text(wider, "utf-8")
    settings = "policy: {{grants: '{grants}'}}\nlimits: {{task: {{calls: {{soft: {soft}}}}}}}\n"
    (tmp_path / "next.yaml").write_text(settings.format(grants="wider.yaml", soft=9), "utf-8")
    (tmp_path / "gateway.yaml").write_text(settings.format(grants=grants, soft=1), "utf-8")
    path = sessions(tmp_path / "t", [call("read_file"), call("read_file"), call("write_file")])
    own = {"PATH": f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}"}

    built = opagate("policy", "build", "next.tar.gz", "--config", "next.yaml", environment=own)
    assert built.status == 0, built.err
    done = opagate("policy", "replay", path, "--against", "next.tar.gz", "--json")

    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["step"], row["effect"], row["against"]["effect"]) for row in rows] == [
        (1, "ask", "allow"),
        (2, "deny", "allow"),
    ]


@pytest.mark.parametrize("content", [b"", b"hunter2", gzip.compress(b"hunter2"), gzip.compress(b"hunter2" * 99)[:-9]])
def test_a_file_that_is_no_archive_is_told(opagate: Opagate, tmp_path: Path, content: bytes):
    (tmp_path / "next.tar.gz").write_bytes(content)
    path = sessions(tmp_path / "t", [call("read_file")])
    done = opagate("policy", "replay", path, "--against", "next.tar.gz")

    assert (done.status, done.out) == (2, "")
    assert "next.tar.gz" in done.err


def test_the_other_policy_is_compared_beside_the_same_overlay(opagate: Opagate, tmp_path: Path, grants: str):
    shutil.copytree(ROOT / "rego", tmp_path / "next")
    assert opagate("policy", "init", "own").status == 0
    for name in ("reports.rego", "reports_test.rego"):
        rule = tmp_path / "own/reports" / name
        rule.write_text(rule.read_text("utf-8").replace("files/write_file", "files/read_file"), "utf-8")
    (tmp_path / "gateway.yaml").write_text(f"policy: {{overlay: own, grants: '{grants}'}}\n", "utf-8")
    path = sessions(tmp_path / "t", [call("read_file", "deny", "acme-reports/undeclared-task")])

    done = opagate("policy", "replay", path, "--against", "next")

    assert (done.status, done.out.splitlines()) == (
        0,
        [
            "1 step in 1 trace: 0 allow, 0 ask, 1 deny.",
            "The other policy decides 0 of them otherwise.",
            "1 of 1 expectations are met.",
        ],
    ), done.err


def test_what_is_assumed_of_refused_steps_changes_later_ones(opagate: Opagate, tmp_path: Path, grants: str):
    path = sessions(tmp_path / "t", [call("write_file"), call("read_file")])
    calls = [
        json.loads(
            opagate("policy", "replay", path, "--grants", grants, "--json", "--assume", how).out.splitlines()[1]
        )["facts"]
        for how in ("refused", "forwarded")
    ]

    assert [(facts["calls"], facts["denials"]) for facts in calls] == [(1, 1), (2, 0)]


def test_own_domains_and_directory_are_those_of_the_configuration_or_of_the_trace(
    opagate: Opagate, tmp_path: Path, grants: str
):
    """A trace that states its own, or none, is decided with these alone."""
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text(CONFIGURATION.format(grants=grants), "utf-8")
    sends = {"effect": "read", "roles": {"/to": "destination"}}
    one = {
        "id": "s",
        "upstreams": {"mail": {"tools": {"read_to": sends}}},
        "steps": [{"upstream": "mail", "tool": "read_to", "arguments": {"to": f"{n}@corp.example"}} for n in range(2)],
    }
    other = {"own_domains": [], "directory": []} | one | {"id": "none"}
    (tmp_path / "t").write_text(f"{json.dumps(one)}\n{json.dumps(other)}\n", "utf-8")

    done = opagate("policy", "replay", str(tmp_path / "t"), "--config", str(configuration), "--json")

    assert done.err == ""
    steps = [json.loads(line)["facts"] for line in done.out.splitlines()]
    assert [(facts["destinations"], facts["own_destinations"]) for facts in steps] == [(0, 1), (0, 2), (1, 0), (2, 0)]
    assert [facts.get("known_destinations") for facts in steps] == [["0@corp.example"], None, None, None]


def test_a_bad_trace_is_told_before_anything_is_replayed(opagate: Opagate, tmp_path: Path, grants: str):
    good = sessions(tmp_path / "good", [call("read_file")])
    bad = sessions(tmp_path / "bad", [call("read_file")], [{**call("read_file"), "at": "hunter2"}])

    for arguments in ([good, bad], [bad], [bad, "--json"]):
        done = opagate("policy", "replay", *arguments, "--grants", grants)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith(f"opagate: {bad}, line 2: steps[0].at: ")
        assert "hunter2" not in done.err


def test_a_policy_that_cannot_be_loaded_is_told(opagate: Opagate, tmp_path: Path):
    path = sessions(tmp_path / "t", [call("read_file")])
    done = opagate("policy", "replay", path, "--against", str(tmp_path / "nowhere"))

    assert (done.status, done.out) == (2, "")
    assert "nowhere" in done.err


def test_what_a_trace_calls_itself_is_no_command_to_the_terminal(opagate: Opagate, tmp_path: Path, grants: str):
    path = tmp_path / "t"
    path.write_text(json.dumps({"id": "a\x1b[31m", "steps": [call("read_\x1b]0;x")]}), encoding="utf-8")
    for more in ([], ["--summary"], ["--json"]):
        done = opagate("policy", "replay", str(path), "--grants", grants, *more)
        assert "\x1b" not in done.out
