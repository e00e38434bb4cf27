from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.errors import GatewayError
from gateway.surfaces.replay import reader
from gateway.surfaces.replay.reader import check, read_traces
from gateway.surfaces.replay.trace import TraceInvalid

STEP = {"upstream": "fs", "tool": "read_file", "arguments": {"path": "a"}, "result": "text"}


def written(path: Path, *traces: dict[str, Any] | str) -> Path:
    texts = [trace if isinstance(trace, str) else json.dumps(trace) for trace in traces]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_traces_are_read_in_order_with_their_steps(tmp_path: Path):
    path = written(
        tmp_path / "t", {"id": "a", "steps": [STEP, STEP]}, "  ", {"id": "b", "steps": []}, {"id": "c", "steps": [STEP]}
    )

    assert [(trace.id, len(list(trace.steps))) for trace in read_traces(path)] == [("a", 2), ("b", 0), ("c", 1)]
    assert check(path) == 3


def test_steps_that_nobody_took_are_passed_over(tmp_path: Path):
    path = written(tmp_path / "t", {"id": "a", "steps": [STEP] * 5}, {"id": "b", "steps": [STEP]})

    assert [trace.id for trace in read_traces(path)] == ["a", "b"]


def test_steps_are_gone_once_they_were_taken(tmp_path: Path):
    (trace,) = read_traces(written(tmp_path / "t", {"id": "a", "steps": [STEP]}))

    assert list(trace.steps) == []


def test_a_file_may_end_without_a_line_end(tmp_path: Path):
    path = tmp_path / "t"
    path.write_text('{"id":"a","steps":[]}', encoding="utf-8")

    assert [trace.id for trace in read_traces(path)] == ["a"]


def test_line_ends_of_windows_are_spaces(tmp_path: Path):
    path = tmp_path / "t"
    path.write_bytes(b'{"id":"a","steps":[]}\r\n{"id":"b","steps":[]}\r\n')

    assert [trace.id for trace in read_traces(path)] == ["a", "b"]


@settings(max_examples=60, deadline=None)
@given(
    piece=st.integers(1, 40),
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=4),
    at=st.sampled_from([0, 12, 123456.75]),
    escaped=st.booleans(),
)
def test_where_a_file_is_cut_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, piece: int, texts: list[str], at: float, *, escaped: bool
):
    steps = [{**STEP, "result": text, "at": at} for text in texts]
    path = tmp_path_factory.mktemp("cut") / "t"
    lines = [json.dumps({"id": name, "steps": steps}, ensure_ascii=escaped) for name in "ab"]
    path.write_text("\n".join(lines), encoding="utf-8")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "PIECE", piece)
        found = [(trace.id, [(step.result, step.at) for step in trace.steps]) for trace in read_traces(path)]

    assert found == [(name, [(text, at) for text in texts]) for name in "ab"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[]", "a trace is a JSON object"),
        ('{"id":"a"}', "steps: it is missing"),
        ("{}", "the name of a member: it is not JSON"),
        ('{"id":"a","steps":{}}', "steps is no list"),
        ('{"id":"a","id":"b","steps":[]}', "id: it is given twice"),
        ('{"id":"a","steps":[],"task":{}}', "steps: it is not the last member"),
        ('{"id":"a","steps":[]', "the object does not end after steps"),
        ('{"id":"a","steps":[]} {}', "there is more on the line after the object"),
        ('{"id":"a" "steps":[]}', "a comma is missing after 'id'"),
        ('{"id" "a","steps":[]}', "a colon is missing after 'id'"),
        ('{1:"a","steps":[]}', "a name of a member is no text"),
        ('{"id":a,"steps":[]}', "id: it is not JSON"),
        ('{"id":"a","task":{"goal":"x","goal":"y"},"steps":[]}', "task: a name is given twice in one object"),
        ('{"id":"a","task":{"goal":NaN},"steps":[]}', "task: NaN is no JSON"),
        ('{"id":"a","steps":[{"upstream":"fs"}]}', "steps[0].tool: it is missing"),
        ('{"id":"a","steps":[{"upstream":"fs","tool":"x"} {}]}', "steps[0]: a comma is missing after it"),
        ('{"id":"a","steps":[{"upstream":"fs","tool":"x"},]}', "steps[1]: it is not JSON"),
        ('{"id":"a","steps":[' + "[" * 100_000, "steps[0]: it is nested too deeply"),
        ('{"id":"a","tenant":"x","steps":[]}', "tenant: there is no such field"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(tmp_path: Path, line: str, problem: str):
    path = written(tmp_path / "sessions.jsonl", {"id": "good", "steps": [STEP]}, line, {"id": "after", "steps": []})

    with pytest.raises(TraceInvalid) as raised:
        check(path)

    assert raised.value.message.startswith(f"{path}, line 2: {problem}")
    assert raised.value.remedy
    assert raised.value.code == "trace/invalid"


def test_a_flaw_of_a_step_is_told_when_it_is_reached(tmp_path: Path):
    traces = read_traces(written(tmp_path / "t", {"id": "a", "steps": [STEP, {**STEP, "at": "x"}]}))
    steps = iter(next(traces).steps)
    next(steps)

    with pytest.raises(TraceInvalid, match=r"line 1: steps\[1\]\.at"):
        next(steps)


def test_a_value_without_end_is_not_kept_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "MAX_PART", 100_000)
    path = tmp_path / "t"
    path.write_text('{"id":"a","steps":[{"upstream":"' + "x" * 400_000, encoding="utf-8")

    with pytest.raises(TraceInvalid, match=r"steps\[0\]: it is longer than"):
        check(path)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path):
    (tmp_path / "latin").write_bytes(b'{"id":"\xe9","steps":[]}')
    (tmp_path / "empty").write_text("\n\n", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe")

    for name, problem in (
        ("none", "cannot be read: No such file"),
        ("latin", "is not UTF-8"),
        ("empty", "holds no trace"),
        ("pipe", "is not a file, and traces are read twice"),
    ):
        with pytest.raises(GatewayError, match=problem):
            check(tmp_path / name)
