"""Labels that depend on arguments, from the configuration to the list, the decision, the journal, and back in a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.record.journal.index import Index
from gateway.surfaces.replay.engine import replay
from gateway.surfaces.replay.reader import read_traces
from gateway.surfaces.replay.recorded import Omitted, write_task
from tests.requirements import requirement
from tests.unit.harness import answering, bench, call, listed, message, result

LABELS = (
    "{effect: destructive, egress: false, sensitivity: internal, roles: {/sql: content},"
    " cases: [{when: {/sql: {statement: select}}, effect: read}]}"
)
FULL = "journal: {arguments: full, results: full}\n"
CALLS: tuple[dict[str, Any], ...] = (
    {"sql": "SELECT 1"},
    {"sql": "DROP TABLE t"},
    {"sql": "SELECT 1; DROP TABLE t"},
    {},
    {"sql": "select a from t"},
)
REFUSED = "tool/effect"


@requirement("labels/arguments")
async def test_list_decision_journal_and_replay_agree(tmp_path: Path):
    async with bench(tmp_path, more=FULL, labels=LABELS) as there:
        there.upstream.script = lambda request: result(request, {"tools": [listed("read_file")]})
        shown = (await there.ask(message("tools/list"))).json["result"]["tools"]
        answering(there, {"content": [{"type": "text", "text": "rows"}]})
        effects = [
            "refused" if b"io.opagate/decision" in (await there.ask(call(**arguments))).body else "allow"
            for arguments in CALLS
        ]
        index, omitted, file = Index([tmp_path / "state/journal"]), Omitted(), tmp_path / "traces.jsonl"
        with file.open("w", encoding="utf-8") as out:
            for task in index.tasks():
                write_task(index, task, out.write, omitted)
        outcomes = [outcome async for outcome in replay(read_traces(file), there.gateway.policy.decide)]

    assert [tool["name"] for tool in shown] == ["read_file"]
    assert effects == ["allow", "refused", "refused", "refused", "allow"]
    assert [outcome.decision.effect for outcome in outcomes] == ["allow", "deny", "deny", "deny", "allow"]
    assert all(outcome.met for outcome in outcomes)
    assert [outcome.call.target.labels.effect for outcome in outcomes] == [
        "read",
        "destructive",
        "destructive",
        "destructive",
        "read",
    ]
    assert all(REFUSED in outcome.codes or "tool/effect-ceiling" in outcome.codes for outcome in outcomes[1:4])


@requirement("labels/arguments")
async def test_a_tool_of_which_no_case_is_granted_is_hidden(tmp_path: Path):
    for labels in (
        LABELS.replace("effect: read", "effect: write"),
        LABELS.split(" cases", maxsplit=1)[0].rstrip(",") + "}",
    ):
        async with bench(tmp_path, labels=labels) as there:
            there.upstream.script = lambda request: result(request, {"tools": [listed("read_file")]})
            assert (await there.ask(message("tools/list"))).json["result"]["tools"] == []


@requirement("labels/arguments")
@pytest.mark.parametrize("key", ["sql", "SQL", "s-q_l"])
async def test_an_argument_given_twice_reaches_no_milder_label(tmp_path: Path, key: str):
    async with bench(tmp_path, labels=LABELS) as there:
        answering(there, {"content": [{"type": "text", "text": "rows"}]})
        sent = call(sql="SELECT 1", other="DROP TABLE t")
        assert b"io.opagate/decision" not in (await there.ask(sent)).body
        answer = await there.ask(sent.replace(b"other", key.encode()))
        assert answer.status == 400 or REFUSED in answer.codes or "tool/effect-ceiling" in answer.codes
