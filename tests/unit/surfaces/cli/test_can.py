"""`opagate policy can`, in the process of the test, on the shipped policy."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.folder.folders import find_shipped
from tests.unit.surfaces.cli.conftest import Status

CONFIGURATION = """
identity:
  - kind: development
policy:
  grants: grants.yaml
upstreams:
  github:
    url: https://mcp.github.example/mcp
    audience: github
    environment: test
    credential: {kind: header, name: authorization, value: "${NOT_SET_ANYWHERE}"}
    tools:
      comment: {effect: write, egress: false, sensitivity: internal, roles: {/ticket: selector, /url: destination}}
      unlabelled: {}
      query:
        effect: destructive
        egress: false
        sensitivity: internal
        cases: [{when: {/sql: {statement: select}}, effect: read}]
    resources: {"notes://*": internal}
"""
GRANTS = """\
upstreams:
  github:
    - id: triage-comments
      agents: [triage, ann]
      issuers: ["urn:opagate:development"]
      tools: [comment]
      effects: [write]
      when:
        /ticket: {matches: 'T-[0-9]+'}
        /url: {host_in: [docs.example], optional: true}
    - id: staff-reads
      agents: ["*"]
      issuers: ["urn:opagate:development"]
      groups: [staff]
      tools: [unlabelled, query]
      resources: ["notes://*"]
      prompts: [hello]
    - id: ask-first
      agents: [bob]
      issuers: ["urn:opagate:development"]
      tools: [comment]
      effects: [write]
      approval: true
"""


@pytest.fixture
def can(status: Status, tmp_path: Path) -> Status:
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION, "utf-8")
    (tmp_path / "grants.yaml").write_text(GRANTS, "utf-8")
    return lambda *words: status("policy", "can", *words)


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_call_that_a_grant_allows(can: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert can("ann", "github/comment", '{"ticket":"T-1"}', "--json") == 0

    found = answer(capsys)
    assert (found["effect"], found["reasons"]) == ("allow", [])
    (grant,) = found["grants"]
    assert (grant["id"], grant["holds"], grant["place"]) == ("triage-comments", True, "grants.yaml:3")
    assert found["input"]["subject"]["id"] == "ann"
    assert not (tmp_path / "state").exists(), "nothing is made"


def test_a_call_that_a_condition_keeps_out_names_it_with_its_line(can: Status, capsys: pytest.CaptureFixture[str]):
    assert can("ann", "github/comment", '{"ticket":"X","url":"javascript:alert(1)"}', "--json") == 1

    found = answer(capsys)
    assert found["effect"] == "deny"
    reason = next(reason for reason in found["reasons"] if reason["code"] == "tool/arguments")
    assert reason["facts"]["/arguments/ticket"] == "X"
    assert reason["rule"]["file"].endswith("tool.rego")
    first = found["grants"][0]
    assert {part["part"]: (part["wanted"], part["found"], part["place"]) for part in first["failed"]} == {
        "when /ticket": ({"matches": "T-[0-9]+"}, ["X"], "grants.yaml:9"),
        "when /url": ({"host_in": ["docs.example"]}, ["javascript:alert(1)"], "grants.yaml:10"),
    }

    assert can("ann", "github/comment", '{"ticket":"X"}') == 1
    shown = capsys.readouterr().out
    assert "triage-comments does not hold" in shown
    assert 'when /ticket  matches "T-[0-9]+"; the call has "X"  (grants.yaml:9)' in shown
    assert can("ann", "github/comment") == 1
    assert "the call has no such argument" in capsys.readouterr().out


def test_a_caller_that_is_in_no_grant_is_told_which_is_nearest(can: Status, capsys: pytest.CaptureFixture[str]):
    assert can("mallory", "github/comment", '{"ticket":"T-1"}') == 1

    shown = capsys.readouterr().out
    assert "tool/not-granted" in shown
    assert 'agents  wanted ["triage", "ann"]; the call has "mallory"  (grants.yaml:4)' in shown


def test_a_call_that_a_person_would_approve_asks(can: Status, capsys: pytest.CaptureFixture[str]):
    assert can("bob", "github/comment", '{"ticket":"T-1"}', "--json") == 1

    found = answer(capsys)
    assert found["effect"] == "ask"
    assert [(grant["id"], grant["holds"], grant["approval"]) for grant in found["grants"]] == [
        ("ask-first", True, True)
    ]


def test_user_group_and_kind_count(can: Status, capsys: pytest.CaptureFixture[str]):
    who = ("x", "--user", "ana", "--group", "staff")
    assert can(*who, "github/notes://a", "--kind", "resource") == 0
    assert "for        ana, group staff" in capsys.readouterr().out
    assert can(*who, "github/hello", "--kind", "prompt") == 0
    assert can("x", "--user", "ana", "github/notes://a", "--kind", "resource") == 1
    assert 'groups  wanted ["staff"]; the call has []' in capsys.readouterr().out
    assert can("x", "--group", "staff", "github/hello") == 2


def test_a_label_that_is_missing_is_named(can: Status, capsys: pytest.CaptureFixture[str]):
    assert can("x", "--user", "ana", "--group", "staff", "github/unlabelled") == 1

    shown = capsys.readouterr()
    assert "without a label: effect, egress, sensitivity" in shown.out
    assert "has no label `effect`, so it counts as `write`. A grant names this caller" in " ".join(shown.out.split())
    assert "pins no tool 'unlabelled'" in shown.err


def test_the_time_of_the_call_is_the_one_given(can: Status, capsys: pytest.CaptureFixture[str]):
    assert can("ann", "github/comment", '{"ticket":"T-1"}', "--at", "2027-03-04T05:06:07Z", "--json") == 0

    assert answer(capsys)["input"]["context"]["time"] == "2027-03-04T05:06:07Z"
    assert can("ann", "github/comment", "--at", "noon") == 2


def test_arguments_may_come_from_standard_input(
    can: Status, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"ticket": "T-2"}')))

    assert can("ann", "github/comment", "-", "--json") == 0
    assert answer(capsys)["input"]["arguments"] == {"ticket": "T-2"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ann", "comment"), "names no target"),
        (("ann", "github/"), "names no target"),
        (("ann", "gitlab/comment"), "there is no upstream 'gitlab'"),
        (("ann", "github/comment", "{"), "the arguments"),
        (("ann", "github/comment", "[]"), "the arguments"),
        (("ann", "github/comment", '{"a":1,"a":2}'), "the arguments"),
        (("ann", "github/comment", '{"a":NaN}'), "the arguments"),
        (("spiffe://x/y/../z", "github/comment"), "no identity"),
        (("ann", "github/comment", "--issuer", "https://x"), "no identity"),
        (("ann", "github/comment", "--kind", "file"), "kind"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    can: Status, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
):
    assert can(*words) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err


def test_no_word_of_a_call_is_a_command_to_the_terminal(can: Status, capsys: pytest.CaptureFixture[str]):
    assert can("ann", "github/comment", json.dumps({"ticket": "\x1b[31m\u202e\n", "\x1b]0;x": 1})) == 1

    shown = capsys.readouterr()
    assert all(line.isprintable() for line in (shown.out + shown.err).split("\n"))


def test_a_policy_that_does_not_explain_grants_still_decides(
    can: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(find_shipped(), tmp_path / "own")
    shutil.rmtree(tmp_path / "own/gateway/explanation")
    text = (
        (tmp_path / "gateway.yaml")
        .read_text("utf-8")
        .replace("  grants: grants.yaml", "  grants: grants.yaml\n  path: own")
    )
    (tmp_path / "gateway.yaml").write_text(text, "utf-8")

    assert can("ann", "github/comment", '{"ticket":"T-1"}') == 0
    assert "tells which grants are near" in capsys.readouterr().out
    assert can("ann", "github/comment", '{"ticket":"T-1"}', "--json") == 0
    assert answer(capsys)["grants"] is None


def test_the_labels_are_those_of_the_arguments(can: Status, capsys: pytest.CaptureFixture[str]):
    asked = ("ann", "github/query", "--user", "ann", "--group", "staff", "--json")
    assert can(*asked, '{"sql": "SELECT 1"}') == 0
    assert answer(capsys)["input"]["resource"]["properties"]["effect"] == "read"
    for arguments in ('{"sql": "DROP TABLE t"}', '{"sql": 1}', "{}"):
        assert can(*asked, arguments) == 1
        found = answer(capsys)
        assert found["input"]["resource"]["properties"]["effect"] == "destructive"
        assert "tool/effect" in [reason["code"] for reason in found["reasons"]]


def test_observe_mode_is_told_beside_the_decision(can: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "gateway.yaml"
    file.write_text(f"enforce: false\nobserve_until: 2026-12-15T00:00:00Z\n{CONFIGURATION}", "utf-8")

    assert can("mallory", "github/comment", "--at", "2026-12-14", "--json") == 1
    found = answer(capsys)
    assert found["effect"] == "deny"
    assert found["observed"] == "observe mode lets the call pass until 2026-12-15T00:00:00Z; then it would be refused"
    assert can("mallory", "github/comment", "--at", "2026-12-16", "--json") == 1
    assert answer(capsys)["observed"] is None
    assert can("bob", "github/comment", '{"ticket":"T-1"}', "--at", "2026-12-14") == 1
    assert "then it would be asked about" in capsys.readouterr().out
