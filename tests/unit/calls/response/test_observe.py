import asyncio
import json
from dataclasses import dataclass

import pytest

from gateway.calls.response.frames import HOLD, Framing
from gateway.calls.response.observe import ResultObserver
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.results import ResultInspector, ResultWords, together
from gateway.inspection.words.words import digests
from gateway.model.content import ResultContent, Sighting
from gateway.model.errors import JournalError, UpstreamBroken
from gateway.model.wire import JsonObject
from tests.unit.inspection.streams import run, stages

KEY = b"k" * 32
DOCUMENT = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"text": "zanzibarian ledger of bankruptcies"}}).encode()
WORDS = digests([b"zanzibarian", b"bankruptcies"], KEY)


class Task:
    """Takes in what it is told of; says which events there were, in their order."""

    def __init__(self, *, broken: bool = False) -> None:
        self.contents: list[ResultContent] = []
        self._broken = broken

    async def fold(self, content: ResultContent, /) -> JsonObject:
        self.contents.append(content)
        return {}

    async def record(self, _fields: JsonObject, /) -> None:
        if self._broken:
            raise JournalError("no room", "make some")

    def observer(self) -> ResultObserver:
        return ResultObserver(ResultInspector(ResultWords(KEY, trusted=False)), self)

    @property
    def tokens(self) -> frozenset[int]:
        return frozenset(token for content in self.contents for token in content.tokens)


@dataclass
class Finds:
    """A scanner that has found something when the whole result is there."""

    found: Finding
    incomplete = False

    def feed(self, _chunk: bytes) -> tuple[Finding, ...]:
        return ()

    def finish(self, chunk: bytes = b"") -> tuple[Finding, ...]:
        return (self.found,) if chunk == DOCUMENT else ()


async def passed(observer: ResultObserver, framing: Framing, data: bytes, hold: int = HOLD) -> bytes:
    return await run(stages(framing, observer=observer, hold=hold), data)


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_the_words_of_a_short_document_are_looked_for_when_it_is_on_its_way(size: int):
    task = Task()
    observer = task.observer()
    answer = stages("json", observer=observer)

    for at in range(0, len(DOCUMENT), size):
        assert await answer.feed(DOCUMENT[at : at + size]) == b""
    assert task.contents == []

    assert await answer.finish() == DOCUMENT
    assert task.contents == [ResultContent()]
    assert observer.words() == ResultContent(tokens=WORDS)
    assert observer.words() is None


async def test_the_credentials_of_a_short_document_are_known_before_it_goes_on():
    task, found = Task(), Finding("print", "github-pat", "format", "", None, "raw")
    inspector = ResultInspector(ResultWords(KEY, trusted=False), Finds(found))

    assert await passed(ResultObserver(inspector, task), "json", DOCUMENT) == DOCUMENT

    assert task.contents == [ResultContent((Sighting("print", "github-pat"),))]


async def test_nobody_waits_for_the_words_of_a_longer_document():
    """It would hold up everybody else."""
    task = Task()
    observer = task.observer()
    document = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"text": "zanzibarian " * 2_000}}).encode()

    assert await passed(observer, "json", document) == document
    assert task.tokens == digests([b"zanzibarian"], KEY)
    assert observer.words() is None


@pytest.mark.parametrize("framing", ["events", "text"])
async def test_the_words_of_what_is_no_document_are_known_before_it_goes_on(framing: Framing):
    """The end of a stream can come long after its last event."""
    task = Task()
    observer = task.observer()

    assert await passed(observer, framing, b"data: " + DOCUMENT) == b"data: " + DOCUMENT
    assert task.tokens == WORDS
    assert observer.words() is None


async def test_of_an_answer_that_went_on_in_parts_no_words_are_left():
    task = Task()
    observer = task.observer()

    assert await passed(observer, "json", DOCUMENT, hold=10) == DOCUMENT
    assert task.tokens == WORDS
    assert observer.words() is None


async def test_what_goes_on_at_once_was_looked_at_before():
    task = Task()

    assert await stages("text", observer=task.observer()).feed(DOCUMENT) == DOCUMENT
    assert task.tokens >= digests([b"zanzibarian"], KEY)


async def test_an_event_goes_on_when_it_was_looked_at_with_all_of_its_pieces():
    task = Task()
    answer = stages("events", observer=task.observer())
    event = b"data: " + DOCUMENT + b"\n\n"

    assert await answer.feed(event[:50]) == b""
    assert task.contents == []
    assert await answer.feed(event[50:] + b"data: ") == event
    assert task.tokens == WORDS


async def test_many_small_events_are_looked_at_together():
    """A look at each would take many times as long."""
    task, looks = Task(), 0

    class Counted(ResultInspector):
        def feed(self, chunk: bytes) -> ResultContent | None:
            nonlocal looks
            looks += 1
            return super().feed(chunk)

    observer = ResultObserver(Counted(ResultWords(KEY, trusted=False)), task)
    stream = b"data: zanzibarian\n\n" * 100

    assert await stages("events", observer=observer).feed(stream) == stream
    assert looks == 1
    assert task.tokens == digests([b"zanzibarian"], KEY)


@pytest.mark.parametrize("framing", ["json", "text"])
async def test_a_large_chunk_is_looked_at_in_several_turns_and_folded_once(framing: Framing):
    words = [f"zanzibarian{number}" for number in range(8_000)]
    data = json.dumps({"text": " ".join(words)}).encode()
    whole = ResultInspector(ResultWords(KEY, trusted=False))
    expected = together([whole.feed(data), whole.finish()])
    task, turns = Task(), 0
    looking = asyncio.create_task(passed(task.observer(), framing, data))
    while not looking.done():
        turns += 1
        await asyncio.sleep(0)

    assert await looking == data
    assert turns > len(data) // 2**15
    assert len(task.contents) <= 2
    assert expected is not None
    assert task.tokens >= expected.tokens


async def test_that_something_was_read_is_news_though_it_says_nothing():
    task = Task()

    await passed(task.observer(), "json", b"{}")
    assert task.contents == [ResultContent()]


async def test_of_an_empty_answer_nothing_was_read():
    task = Task()

    assert await passed(task.observer(), "json", b"") == b""
    assert task.contents == []


@pytest.mark.parametrize("framing", ["json", "events", "text"])
async def test_nothing_goes_on_that_cannot_be_recorded(framing: Framing):
    with pytest.raises(UpstreamBroken, match="no room"):
        await passed(Task(broken=True).observer(), framing, b"data: " + DOCUMENT + b"\n\n")
