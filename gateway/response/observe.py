"""Folding of a decided call's result into its task's history and the journal, before the result reaches the caller. So
policy knows what a task has read from the moment of reading. Only the words of a short answer in one piece are folded
later, when the call is settled. They take the longest, and the caller cannot have used them before. `readings` does the
same for messages without a decision."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import JournalError, UpstreamBroken
from gateway.inspection.results import ResultInspector, together
from gateway.loop_turns import Turn, next_turn
from gateway.model.content import ResultContent, Sighting
from gateway.model.decision import Decision
from gateway.model.target import Sensitivity
from gateway.model.wire import JsonObject
from gateway.response.frames import JsonMessages
from gateway.response.stream import Transform

Fold = Callable[[ResultContent], Awaitable[JsonObject | None]]
"""Folds a part of a result into the task; gives the fields of its `observed` entry, if it says anything new."""
Record = Callable[[JsonObject], Awaitable[None]]
"""Writes an `observed` entry. Raises `JournalError`."""

_TOGETHER: Final = 64 * 2**10
"""Bytes that `inner` holds back which are looked at together with what comes after them: most answers are held until
they are whole, and one look costs less than two."""
_PIECE: Final = 16 * 2**10
"""Bytes that are looked at in one turn of the event loop: a millisecond, or some fifteen if they are full of credentials."""


def label(decision: Decision) -> Sensitivity:
    """The highest confidentiality that policy lays on the result, by the obligation `label`."""
    if not decision.obligations:
        return Sensitivity.PUBLIC
    ranks = list(Sensitivity)
    named = [
        Sensitivity(str(item.properties["confidentiality"])) for item in decision.obligations if item.id == "label"
    ]
    return max(named, key=ranks.index, default=Sensitivity.PUBLIC)


async def found(
    inspector: ResultInspector, data: bytes, *, last: bool = False, turn: Turn = next_turn
) -> ResultContent | None:
    """Return what more of a result holds; `None` for nothing. Each piece after the first waits for a turn."""
    parts: list[ResultContent | None] = []
    done = 0
    while len(data) - done > _PIECE:
        parts.append(inspector.feed(data[done : done + _PIECE]))
        done += _PIECE
        await turn()
    rest = data[done:] if done else data
    parts.append(inspector.finish(rest) if last else inspector.feed(rest))
    return together(parts)


class Observation:
    """A transform that changes nothing itself: it inspects, folds and records, and `inner` transforms. `concealed`
    returns the credentials newly replaced by handles in `inner`. The task knows every credential with a handle, even
    one recognised only there."""

    __slots__ = ("_begun", "_concealed", "_fold", "_inner", "_inspector", "_record", "_turn", "_unread", "_waiting")

    def __init__(
        self,
        inspector: ResultInspector,
        fold: Fold,
        record: Record,
        concealed: Callable[[], tuple[Sighting, ...]] = tuple,
        turn: Turn = next_turn,
    ) -> None:
        self._turn = turn
        self._inspector = inspector
        self._fold = fold
        self._record = record
        self._concealed = concealed
        self._inner: Transform | None = None
        self._begun = False
        self._waiting = b""
        self._unread = b""

    def around(self, inner: Transform | None) -> Observation:
        """This, with `inner` in it. Before anything is fed."""
        self._inner = inner
        return self

    async def feed(self, chunk: bytes) -> bytes:
        if self._inner is None:
            await self._look(await found(self._inspector, chunk, turn=self._turn))
            return chunk
        out = await self._inner.feed(chunk)
        seen = self._waiting + chunk if self._waiting else chunk
        if not out and len(seen) <= _TOGETHER:
            self._waiting = seen
            return out
        self._waiting = b""
        await self._look(await found(self._inspector, seen, turn=self._turn))
        return await self._passed(out)

    async def finish(self) -> bytes:
        rest, self._waiting = self._waiting, b""
        if isinstance(self._inner, JsonMessages) and not self._begun and len(rest) <= _PIECE:
            self._unread = rest
            content = self._inspector.finish_credentials(rest)
        else:
            content = await found(self._inspector, rest, last=True, turn=self._turn)
        if rest or content is not None:
            await self._look(content)
        return await self._passed(await self._inner.finish()) if self._inner is not None else b""

    def words(self) -> ResultContent | None:
        """Return the words of an answer that was sent before they were searched. Fold these before any other work for
        the caller."""
        unread, self._unread = self._unread, b""
        return self._inspector.finish_words(unread) if unread else None

    async def _look(self, content: ResultContent | None) -> None:
        if content is not None or not self._begun:
            # That something was read at all is news: of whom, and how sensitive it may be.
            self._begun = True
            await self._take(content or ResultContent())

    async def _passed(self, out: bytes) -> bytes:
        if sightings := self._concealed():
            await self._take(ResultContent(sightings))
        return out

    async def _take(self, content: ResultContent) -> None:
        fields = await self._fold(content)
        if fields is None:
            return
        try:
            await self._record(fields)
        except JournalError as error:
            raise UpstreamBroken(
                f"the answer was withheld, because what it holds cannot be recorded: {error.message}", error.remedy
            ) from None
