"""`opagate journal explain` on the record that the scripted agent leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.record.journal.compression import compress_segment
from gateway.record.journal.storage import Disk
from tests.interaction.cli.conftest import Done, Opagate
from tests.requirements import requirement


@pytest.fixture
def refused(tour: Done) -> dict[str, str]:
    """Reason code → the id of the first decision with it; of the tour, whose record is in `state`."""
    steps: list[dict[str, Any]] = [json.loads(line) for line in tour.out.splitlines()][:-1]
    found: dict[str, str] = {}
    for step in steps:
        for code in step["codes"]:
            found.setdefault(code, step["decision"])
    return found


@requirement("explain/causes")
def test_the_earlier_calls_that_made_a_fact_are_named(opagate: Opagate, refused: dict[str, str]):
    carried = opagate("journal", "explain", refused["credential-chain/presentation"], "--json").json
    assert carried["missing"] == 0
    reason = next(reason for reason in carried["reasons"] if reason["code"] == "credential-chain/presentation")
    assert reason["facts"]["/session/credentials/0"]["origin"]["audience"] == "files.example.com"
    (shown,) = reason["made_by"]["/session/credentials/0"]
    assert (shown["target"], shown["how"]) == ("files/read_file", "showed the credential in its result")
    people = opagate("journal", "explain", refused["credential-chain/presentation"]).out
    assert f"files/read_file showed the credential in its result, {shown['time']} [{shown['id']}]" in people
    assert "in /comment, from a result of files.example.com" in people

    spread = opagate("journal", "explain", refused["fan-out/destinations"], "--json").json
    reason = next(reason for reason in spread["reasons"] if reason["code"] == "fan-out/destinations")
    assert reason["facts"]["/session/destinations"] == 81
    first, own = reason["made_by"]["/session/destinations"]
    assert (first["target"], own["id"]) == ("mail/send_message", spread["decision"]["id"])
    assert "this call  was the first to reach 80 destinations" in opagate("journal", "explain", own["id"]).out

    assert "ghp_" not in people + json.dumps(carried)


def test_a_compressed_record_is_told_as_before(opagate: Opagate, refused: dict[str, str], tmp_path: Path):
    commands = (
        ("journal", "explain", refused["credential-chain/presentation"]),
        ("journal", "verify", "--json"),
        ("journal", "export"),
        ("journal", "export", "--format", "trace"),
        ("journal", "tail", "--no-follow"),
    )
    before = [opagate(*command) for command in commands]
    (segment,) = (tmp_path / "state/journal").glob("*.jsonl")
    assert compress_segment(segment, Disk(), lambda: False)
    after = [opagate(*command) for command in commands]

    assert [path.suffix for path in (tmp_path / "state/journal").glob("0*")] == [".zst"]
    assert [(done.status, done.out) for done in after] == [(done.status, done.out) for done in before]
    assert {done.status for done in after} == {0}


def test_a_journal_that_was_edited_is_a_sentence(opagate: Opagate, refused: dict[str, str], tmp_path: Path):
    decision = refused["credential-chain/presentation"]
    (segment,) = (tmp_path / "state/journal").glob("*.jsonl")
    whole = segment.read_bytes()
    origin = whole.index(b'"kind":"observed"')
    segment.write_bytes(whole[:origin] + whole[origin:].replace(b'"event":"observed"', b'"event":"obsessed"', 1))
    edited = opagate("journal", "explain", decision)
    assert (edited.status, edited.out) == (2, "")
    assert "is not as it was written" in edited.err
    assert "opagate journal verify" in edited.err

    (tmp_path / "state/journal-key").unlink()
    keyless = opagate("journal", "explain", decision)
    assert (keyless.status, "an event 'obsessed' are damaged" in keyless.err) == (2, True)
    at = whole.index(f'"id":"{decision}"'.encode())
    segment.write_bytes(whole[:at] + whole[at:].replace(b'"client":{', b'"client":7,"x":{', 1))
    damaged = opagate("journal", "explain", decision)
    assert (damaged.status, "is damaged" in damaged.err) == (2, True)

    segment.write_bytes(b"".join(line for line in whole.splitlines(keepends=True) if b'"number":3,' not in line))
    shorter = opagate("journal", "explain", decision)
    assert shorter.status == 0
    assert "Earlier calls of the task that are not in this journal: 1" in shorter.out


def test_the_grant_and_the_condition_that_failed_are_named_with_their_lines(
    opagate: Opagate, refused: dict[str, str], tmp_path: Path
):
    """The journal of the tour keeps digests of arguments alone."""
    done = opagate("journal", "explain", refused["tool/arguments"])
    found = opagate("journal", "explain", refused["tool/arguments"], "--json").json

    (grant,) = [grant for grant in found["grants"] if grant["failed"]]
    (part,) = grant["failed"]
    file, _, line = part["place"].rpartition(":")
    field, pointer = part["part"].split()
    assert field == "when"
    assert f"{pointer}: " in Path(file).read_text("utf-8").splitlines()[int(line) - 1]
    assert f"{grant['id']} does not hold" in done.out
    assert "the call has a value that the journal does" in done.out

    ungranted = opagate("journal", "explain", refused["tool/not-granted"]).out
    assert "No grant names tickets/export_customers. The nearest:" in ungranted


def test_the_policy_input_of_a_decision_can_be_decided_again(opagate: Opagate, tour: Done, tmp_path: Path):
    configuration = (tmp_path / "state/up.yaml").read_text("utf-8")
    (tmp_path / "state/up.yaml").write_text(
        configuration.replace("journal:\n", "journal:\n  arguments: full\n"), "utf-8"
    )
    steps: list[dict[str, Any]] = [json.loads(line) for line in tour.out.splitlines()][:-1]
    decision = next(step["decision"] for step in steps if step["codes"] == ["tool/not-granted"])

    done = opagate("journal", "explain", decision, "--input")

    assert done.status == 0
    assert done.json["resource"]["id"] == "tickets/export_customers"
    assert "arguments are left out" in done.err
    again = opagate("policy", "eval", "-", "--json", stdin=json.dumps({**done.json, "arguments": {}}))
    assert "tool/not-granted" in {reason["code"] for reason in again.json["reasons"]}
