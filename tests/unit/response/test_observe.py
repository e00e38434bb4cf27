import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.credentials.finding import Finding
from gateway.errors import JournalError, UpstreamBroken
from gateway.inspection.results import ResultInspector, ResultWords, together
from gateway.model.content import ResultContent, Sighting
from gateway.model.wire import JsonObject
from gateway.response.frames import HOLD, EventMessages, JsonMessages
from gateway.response.observe import Observation
from gateway.response.stream import Transform
from gateway.words.words import digests
from tests.unit.inspection.streams import names

KEY = b"k" * 32
DOCUMENT = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"text": "zanzibarian ledger of bankruptcies"}}).encode()
WORDS = digests([b"zanzibarian", b"bankruptcies"], KEY)


async def kept(data: bytes) -> bytes:
    return data


class Task:
    """Takes in what it is told of; says which events there were, in their order."""

    def __init__(self, *, broken: bool = False) -> None:
        self.contents: list[ResultContent] = []
        self._broken = broken

    async def fold(self, content: ResultContent) -> JsonObject:
        self.contents.append(content)
        return {}

    async def record(self, _fields: JsonObject) -> None:
        if self._broken:
            raise JournalError("no room", "make some")

    def observation(self, inner: Transform | None) -> Observation:
        return Observation(ResultInspector(ResultWords(KEY, trusted=False)), self.fold, self.record).around(inner)

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


async def passed(observation: Observation, data: bytes) -> bytes:
    return await observation.feed(data) + await observation.finish()


def json_messages() -> JsonMessages:
    return JsonMessages(kept, hold=HOLD, unseen=True, names=names(), last_words=lambda: None)


def event_messages() -> EventMessages:
    return EventMessages(kept, hold=HOLD, unseen=True, names=names(), last_words=lambda: None)


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_the_words_of_a_short_document_are_looked_for_when_it_is_on_its_way(size: int):
    task = Task()
    observation = task.observation(json_messages())

    for at in range(0, len(DOCUMENT), size):
        assert await observation.feed(DOCUMENT[at : at + size]) == b""
    assert task.contents == []

    assert await observation.finish() == DOCUMENT
    assert task.contents == [ResultContent()]
    assert observation.words() == ResultContent(tokens=WORDS)
    assert observation.words() is None


async def test_the_credentials_of_a_short_document_are_known_before_it_goes_on():
    task, found = Task(), Finding("print", "github-pat", "format", "", None, "raw")
    inspector = ResultInspector(ResultWords(KEY, trusted=False), Finds(found))

    assert await passed(Observation(inspector, task.fold, task.record).around(json_messages()), DOCUMENT) == DOCUMENT

    assert task.contents == [ResultContent((Sighting("print", "github-pat"),))]


async def test_nobody_waits_for_the_words_of_a_longer_document():
    """It would hold up everybody else."""
    task = Task()
    observation = task.observation(json_messages())
    document = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"text": "zanzibarian " * 2_000}}).encode()

    assert await passed(observation, document) == document
    assert task.tokens == digests([b"zanzibarian"], KEY)
    assert observation.words() is None


@pytest.mark.parametrize("inner", [event_messages, lambda: None])
async def test_the_words_of_what_is_no_document_are_known_before_it_goes_on(inner: Callable[[], Transform | None]):
    """The end of a stream can come long after its last event."""
    task = Task()
    observation = task.observation(inner())
    await observation.feed(b"data: " + DOCUMENT)
    await observation.finish()

    assert task.tokens == WORDS
    assert observation.words() is None


async def test_of_an_answer_that_went_on_in_parts_no_words_are_left():
    task = Task()
    observation = task.observation(JsonMessages(kept, hold=10, unseen=True, names=names(), last_words=lambda: None))

    assert await passed(observation, DOCUMENT) == DOCUMENT
    assert task.tokens == WORDS
    assert observation.words() is None


async def test_what_goes_on_at_once_was_looked_at_before():
    task = Task()
    observation = task.observation(None)

    assert await observation.feed(DOCUMENT) == DOCUMENT
    assert task.tokens >= digests([b"zanzibarian"], KEY)


async def test_an_event_goes_on_when_it_was_looked_at_with_all_of_its_pieces():
    task = Task()
    observation = task.observation(event_messages())
    event = b"data: " + DOCUMENT + b"\n\n"

    assert await observation.feed(event[:50]) == b""
    assert task.contents == []
    assert await observation.feed(event[50:] + b"data: ") == event
    assert task.tokens == WORDS


async def test_much_that_is_held_is_looked_at_on_the_way():
    task = Task()
    observation = task.observation(json_messages())
    piece = b'"zanzibarian ' + b"x " * 20_000 + b'"'

    assert await observation.feed(piece) == b""
    assert task.contents == []
    assert await observation.feed(piece) == b""
    assert task.tokens == digests([b"zanzibarian"], KEY)


@pytest.mark.parametrize("inner", [json_messages, lambda: None])
async def test_a_large_chunk_is_looked_at_in_several_turns_and_folded_once(inner: Callable[[], Transform | None]):
    words = [f"zanzibarian{number}" for number in range(8_000)]
    data = json.dumps({"text": " ".join(words)}).encode()
    whole = ResultInspector(ResultWords(KEY, trusted=False))
    expected = together([whole.feed(data), whole.finish()])
    task, turns = Task(), 0
    looking = asyncio.create_task(passed(task.observation(inner()), data))
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
    observation = task.observation(json_messages())

    await observation.feed(b"{}")
    await observation.finish()

    assert task.contents == [ResultContent()]


async def test_of_an_empty_answer_nothing_was_read():
    task = Task()

    assert await task.observation(json_messages()).finish() == b""
    assert task.contents == []


@pytest.mark.parametrize("inner", [json_messages, event_messages, lambda: None])
async def test_nothing_goes_on_that_cannot_be_recorded(inner: Callable[[], Transform | None]):
    observation = Task(broken=True).observation(inner())

    with pytest.raises(UpstreamBroken, match="no room"):
        await passed(observation, b"data: " + DOCUMENT + b"\n\n")
