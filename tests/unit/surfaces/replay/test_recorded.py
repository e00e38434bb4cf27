from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.credentials.examples import example
from gateway.authority.approvals.model import Person, Vote
from gateway.inspection.credentials import ruleset
from gateway.model.errors import JournalError
from gateway.policy import verdict
from gateway.record.journal.index import Index
from gateway.surfaces.replay.engine import StepOutcome, replay
from gateway.surfaces.replay.reader import check, read_traces
from gateway.surfaces.replay.recorded import Omitted, write_task
from gateway.surfaces.replay.report import describe_expected
from tests.requirements import requirement
from tests.unit.harness import Back, Bench, bench, call, message, result
from tests.unit.policy.failing import failing_policy
from tests.unit.surfaces.pages.asking import ask_page

LABELS = "{effect: read, egress: false, sensitivity: internal, roles: {/to: destination, /body: content}}"
FULL = "journal: {arguments: full, results: full}\n"
RULES = {rule.id: rule.example for rule in ruleset.load().rules}
GITHUB, GITLAB = (example(RULES[rule], Random(3)) for rule in ("github-pat", "gitlab-pat"))
PASSWORD = "Zoo7-keeper-of-lemurs"
SHOWN = f'deploy with {GITHUB} or {GITLAB}\npassword = "{PASSWORD}"\nzanzibarian é 😀 quarterly'
CALLS: tuple[dict[str, Any], ...] = (
    {"path": "notes.txt"},
    {"to": "ana@corp.example", "body": "hello 😀"},
    {"to": "ana@corp.example", "body": f"é {GITHUB}"},
    {"body": base64.b64encode(GITHUB.encode()).decode()},
    {"body": f"take {GITLAB}"},
    {"body": f"the word is {PASSWORD} today"},
    {"nested": [{"Authorization": f"Bearer {GITHUB}"}], "body": "x"},
    {"to": [f"person{number}@corp.example" for number in range(25)]},
)


async def play(there: Bench) -> list[str]:
    """The calls, of which the first shows credentials. What each came to."""
    effects: list[str] = []
    for arguments in CALLS:
        there.upstream.script = lambda request: result(request, {"content": [{"type": "text", "text": SHOWN}]})
        answer = await there.ask(call(**arguments))
        effects.append(answer.codes[0] if b"io.opagate/decision" in answer.body else "allow")
    return effects


def exported(folder: Path) -> tuple[Path, Omitted]:
    index, omitted, file = Index([folder / "state/journal"]), Omitted(), folder / "traces.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for task in index.tasks():
            write_task(index, task, out.write, omitted)
    return file, omitted


async def replayed(there: Bench, file: Path) -> list[StepOutcome]:
    return [outcome async for outcome in replay(read_traces(file), there.gateway.policy.decide)]


@requirement("replay/export")
async def test_what_a_gateway_recorded_replays_to_the_same_decisions(tmp_path: Path):
    async with bench(tmp_path, more=FULL, labels=LABELS) as there:
        live = await play(there)
        file, omitted = exported(tmp_path)
        outcomes = await replayed(there, file)

    assert live[:2] == ["allow", "allow"]
    assert live[2:6] == ["credential-chain/egress"] * 4
    assert live[-1] == "fan-out/destinations"
    assert [(outcome.decision.effect, outcome.codes[:1]) for outcome in outcomes if not outcome.met] == []
    assert [describe_expected(outcome).split()[-1] for outcome in outcomes] == live
    assert (omitted.arguments, omitted.results, omitted.others) == (0, 0, 0)
    assert list(omitted.remarks()) == []
    assert check(file) == len(CALLS)


@requirement("replay/export")
async def test_an_approved_call_replays_with_its_persons(tmp_path: Path):
    async with bench(tmp_path, more=f"{FULL}approvals: {{hold: 20ms}}\n") as there:
        await there.ask(call("ask_first", path="a"))
        desk = there.gateway.people.desk if there.gateway.people else None
        assert desk is not None
        (asked,) = desk.list_open()
        await desk.vote(
            asked.id, Vote(Person("bob", "https://idp.example"), "approve", desk.now()), asked.question.shown
        )
        await there.ask(call("ask_first", path="a"))
        file, _ = exported(tmp_path)
        outcomes = await replayed(there, file)

    (trace,) = map(json.loads, file.read_text("utf-8").splitlines())
    assert [outcome.decision.effect for outcome in outcomes] == ["ask", "allow"]
    assert trace["steps"][1]["approve"]["approvers"] == [
        {"id": "bob", "issuer": "https://idp.example", "groups": [], "assurance": "peer"}
    ]
    assert "approve" not in trace["steps"][0]


@pytest.mark.parametrize(("behind", "effect"), [("[mail]", "allow"), ("[]", "deny")])
async def test_an_aggregator_replays_as_one(tmp_path: Path, behind: str, effect: str):
    async with bench(tmp_path, more=FULL, labels=f"{LABELS}\n    aggregates: {behind}") as there:
        await there.ask(call(path="notes.txt"))
        (outcome,) = await replayed(there, exported(tmp_path)[0])

    facts: Any = outcome.facts
    assert (outcome.decision.effect, outcome.met) == (effect, True)
    assert (facts["audiences"], facts.get("depth")) == ((["files", "mail"], 1) if behind != "[]" else (["files"], None))


async def test_no_secret_is_in_a_journal_that_records_in_full_nor_in_its_traces(tmp_path: Path):
    async with bench(tmp_path, more=FULL, labels=LABELS) as there:
        await play(there)
        traces = exported(tmp_path)[0].read_text("utf-8")
    written = "".join(path.read_text("utf-8") for path in (tmp_path / "state/journal").glob("*.jsonl"))

    for secret in (GITHUB, GITLAB, PASSWORD, base64.b64encode(GITHUB.encode()).decode()):
        assert secret not in written
        assert secret not in traces
    trace = json.loads(traces)
    first, second, third, encoded, _, _, nested, many = trace["steps"]
    assert "zanzibarian é 😀 quarterly" in first["result"]["content"][0]["text"]
    assert second["arguments"]["body"] == "hello 😀"
    place = third["arguments"]["body"].removeprefix("é ")
    assert place.startswith("{{secret:github-")
    assert place in first["result"]["content"][0]["text"]
    assert encoded["arguments"]["body"] == place.replace("}}", ":base64}}")
    assert nested["arguments"]["nested"] == [{"Authorization": f"Bearer {place}"}]
    assert len(many["arguments"]["to"]) == 25
    assert trace["upstreams"]["files"]["tools"]["read_file"]["roles"] == {"/to": "destination", "/body": "content"}


async def test_calls_that_rest_on_what_an_earlier_task_had_read_are_counted_and_said(tmp_path: Path):
    async with bench(tmp_path, more=FULL, labels=LABELS) as there:
        await there.ask(call())
        (first,) = there.gateway.history.tasks.all()
        first.task = replace(first.task, opened=first.task.opened - 10 * 3600)
        await there.ask(call())
        await there.ask(call())
        _, omitted = exported(tmp_path)

    assert omitted.carried == 2
    assert [remark for remark in omitted.remarks() if remark.startswith("2 calls decided with")]


async def test_what_was_not_recorded_is_counted_and_said(tmp_path: Path):
    async with bench(tmp_path, labels=LABELS) as there:
        await play(there)
        await there.ask(call())
        await there.ask(message("resources/read", uri="file:///a"))
        said = {"level": "info", "data": example(RULES["github-pat"], Random(4))}
        notification = {"jsonrpc": "2.0", "method": "notifications/message", "params": said}
        there.upstream.script = lambda _: Back(chunks=(json.dumps(notification).encode(),))
        await there.ask(None)
        file, omitted = exported(tmp_path)

    assert (omitted.arguments, omitted.results, omitted.others, omitted.readings) == (8, 4, 1, 1)
    assert [remark.partition(" ")[0] for remark in omitted.remarks()] == ["8", "4", "1", "1"]
    assert check(file) == 9
    assert "arguments" not in json.loads(file.read_text("utf-8"))["steps"][0]


@pytest.mark.parametrize("code", verdict.FAILURES)
async def test_a_call_without_a_verdict_is_left_out_and_said(tmp_path: Path, code: str):
    async with bench(tmp_path, more=FULL, labels=LABELS) as there:
        await there.ask(call(path="one"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(there.gateway.policy, "decide", failing_policy(code).decide)
            await there.ask(call(path="two"))
        await there.ask(call(path="three"))
        there.gateway.journal.flush()
        file, omitted = exported(tmp_path)
        outcomes = await replayed(there, file)

    assert [outcome.met for outcome in outcomes] == [True, True]
    assert list(omitted.remarks()) == ["1 call without a verdict, because the policy engine failed: left out"]


async def test_a_task_without_any_verdict_makes_no_trace(tmp_path: Path):
    async with bench(tmp_path) as there:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(there.gateway.policy, "decide", failing_policy("policy/late").decide)
            await there.ask(call())
        file, _ = exported(tmp_path)

    assert file.read_text("utf-8") == ""


async def test_calls_that_only_read_resources_make_no_trace(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(message("resources/read", uri="file:///a"))
        file, _ = exported(tmp_path)

    assert file.read_text("utf-8") == ""


async def test_an_entry_that_lacks_something_is_named(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call())
    segment = next((tmp_path / "state/journal").glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"roles":', b'"rolls":', 1))

    with pytest.raises(JournalError, match=r"entry \d+ of the journal has not what a trace needs: 'roles'"):
        exported(tmp_path)


BRACED = (
    "deploy with ${{ secrets.DEPLOY_KEY }}",
    "{{ secret.value }}",
    "{{secret}}",
    "{{secret_key}} {{ secrets }} {{{secret}}}",
    "{{braces}}",
    "{{{{ secret }}}}",
    "{{ .Values.secret }}",
)


async def opened(there: Bench, goal: str, destinations: list[str]) -> bytes:
    """Declare a task. Returns its token."""

    declaration = {"goal": goal, "contract": {"destinations": destinations}}
    opened = await ask_page(there, "POST", "/tasks", body=json.dumps(declaration).encode())
    return opened.json["token"].encode()


@requirement("replay/export")
@pytest.mark.parametrize("text", BRACED)
async def test_a_text_that_the_trace_format_would_read_is_exported_as_it_was(tmp_path: Path, text: str):
    text = f"a {text} b"
    async with bench(tmp_path, more=FULL, labels=LABELS) as there:
        there.upstream.script = lambda request: result(request, {"content": [{"type": "text", "text": text}]})
        header = (b"opagate-task", await opened(there, f"mend {text}", [text, "ana@corp.example"]))
        await there.ask(call(path="one", body=[text]), header)
        await there.ask(call(path="two", body=text), header)
        file, _ = exported(tmp_path)
        outcomes = await replayed(there, file)

    trace = next(read_traces(file))
    first, second = trace.steps
    assert (first.arguments["body"], second.arguments["body"]) == ([text], text)
    assert first.result == {"content": [{"type": "text", "text": text}]}
    assert trace.task.goal == f"mend {text}"
    assert trace.task.contract is not None
    assert trace.task.contract.destinations == (text, "ana@corp.example")
    assert [outcome.met for outcome in outcomes] == [True, True]
