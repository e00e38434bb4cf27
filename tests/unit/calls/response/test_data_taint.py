"""Labels in the answers of an agent behind a tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.harness import answering, bench, call

CONFIDENTIAL = {"content": [{"type": "text", "text": "the roadmap"}], "_meta": {"dataTaint": {"labels": ["roadmap"]}}}
PUBLIC = "{effect: read, egress: false, sensitivity: public}"


async def read(folder: Path, site: str, answer: Any) -> tuple[str, list[str]]:
    """Return the confidentiality of a task after one call, and the sensitivity in its records."""
    async with bench(folder, labels=PUBLIC, site=site) as there:
        answering(there, answer)
        assert (await there.ask(call("read_file"))).json["result"] == answer
        (task,) = there.gateway.history.tasks.all()
        state = there.gateway.history.states.load(task)
        return state.confidentiality.value, [entry["sensitivity"] for entry in there.entries("observed")]


@pytest.mark.parametrize(
    "answer",
    [CONFIDENTIAL, {**CONFIDENTIAL, "content": [{"type": "text", "text": "x" * 300_000}]}],
    ids=["a small answer", "an answer in parts"],
)
async def test_labels_of_an_agents_answer_make_the_task_confidential_before_the_caller_has_it(
    tmp_path: Path, answer: Any
):
    confidentiality, recorded = await read(tmp_path, "agent: true", answer)

    assert confidentiality == "confidential"
    assert "confidential" in recorded


async def test_without_such_labels_the_labels_of_the_tool_count(tmp_path: Path):
    answer: Any = {"content": [], "_meta": {"dataTaint": {"labels": ["untrusted-web"]}}}

    assert (await read(tmp_path, "agent: true", answer))[0] == "public"


async def test_another_upstream_says_nothing_about_its_answers(tmp_path: Path):
    assert (await read(tmp_path, "headers: [X-Note]", CONFIDENTIAL))[0] == "public"
