"""A defect of the native core refuses the call that met it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NoReturn

import pytest

from gateway.config.keys import load
from gateway.inspection.words import words
from gateway.model.wire import UpstreamRequest
from gateway.record.journal.chain import Chain
from gateway.record.journal.reader import verify
from tests.unit.harness import Back, Bench, bench, call, result

FAILURE = "the native core failed at src/words.rs:7; set `core: python`, and report this"


def fail(*_arguments: object) -> NoReturn:
    """Fail as the core does."""
    raise RuntimeError(FAILURE)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path) as made:
        yield made


@pytest.mark.parametrize("name", ["distinctive", "digests"])
async def test_a_failure_in_the_words_of_arguments_refuses_the_call(
    there: Bench, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(words, name, fail)

    with pytest.raises(RuntimeError):
        await there.ask(call(path="/etc/report-2024"))

    assert there.upstream.sent == []
    assert there.entries("call") == []


async def test_a_failure_in_the_words_of_an_answer_counts_as_any_words(there: Bench, monkeypatch: pytest.MonkeyPatch):
    def answer(request: UpstreamRequest) -> Back:
        monkeypatch.setattr(words, "distinctive", fail)
        return result(request, {"content": [{"type": "text", "text": "the report-2024 of northwind"}]})

    there.upstream.script = answer
    await there.ask(call(path="/etc/motd"))

    history = there.entries("settled")[0]["history"]
    assert (history["incomplete"], history["lost"]) == (True, True)


@pytest.mark.parametrize("failure", [RuntimeError(FAILURE), ValueError(FAILURE), MemoryError()])
async def test_a_failure_in_a_line_of_the_journal_refuses_the_call_and_writes_no_half_line(
    there: Bench, monkeypatch: pytest.MonkeyPatch, failure: Exception
):
    def fail_with(*_arguments: object) -> NoReturn:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "linked", fail_with)
        refused = await there.ask(call(path="/etc/motd"))
    allowed = await there.ask(call(path="/etc/motd"))

    assert (refused.status, refused.codes) == (503, ["journal/unavailable"])
    assert "error" not in json.loads(allowed.body)
    assert len(there.upstream.sent) == 1
    there.gateway.journal.flush()
    key = load(there.configuration, begun=True).chain
    assert verify(there.folder / "state/journal", key=key, head=there.gateway.journal.head).ok
