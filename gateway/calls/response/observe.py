"""Folding of a decided call's result into its task's history and the journal, before the result reaches the caller. So
policy knows what a task has read from the moment of reading. Only the words of a short answer in one piece are folded
later, when the call is settled. They take the longest, and the caller cannot have used them before. `undecided_reads`
does the same for messages without a decision."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, Protocol

from msgspec import Struct

from gateway.base.concurrency.loop_turns import Turn, next_turn
from gateway.calls.response.frames import AnswerFrame
from gateway.inspection.results import ResultInspector, together
from gateway.model.content import ResultContent, Sighting
from gateway.model.errors import JournalError, UpstreamBroken
from gateway.model.wire import JsonObject

_PIECE: Final = 16 * 2**10
"""Bytes that are looked at in one turn of the event loop: a millisecond, or some fifteen if they are full of credentials."""
_NOTHING: Final = ResultContent()


class ResultReads(Protocol):
    """The reads of one call."""

    async def fold(self, content: ResultContent, /) -> JsonObject | None:
        """Fold a part of the result into the task. Return the fields of its `observed` entry, if it says anything new."""
        ...

    def record(self, fields: JsonObject, /) -> Awaitable[None]:
        """Write an `observed` entry. Raises `JournalError`."""
        ...


async def inspect_pieces(
    inspector: ResultInspector, data: bytes, *, last: bool = False, turn: Turn = next_turn
) -> ResultContent | None:
    """Return the content of more of a result; `None` without any. Each piece after the first waits for a turn."""
    parts: list[ResultContent | None] = []
    done = 0
    while len(data) - done > _PIECE:
        parts.append(inspector.feed(data[done : done + _PIECE]))
        done += _PIECE
        await turn()
    rest = data[done:] if done else data
    parts.append(inspector.finish(rest) if last else inspector.feed(rest))
    return together(parts)


class ResultObserver(Struct, eq=False):
    """Stage that inspects, folds and records the result of a call, and changes nothing. It sees every frame before the
    filters do. The task knows every credential with a handle, even one recognised only by the `Concealer`."""

    inspector: ResultInspector
    reads: ResultReads
    turn: Turn = next_turn
    has_begun: bool = False
    unread: bytes = b""
    """A document whose words are found when it is on its way."""

    async def handle(self, frame: AnswerFrame) -> AnswerFrame:
        """Fold the content of a frame. Raises `UpstreamBroken` without a record of the content."""
        kind, data = frame.kind, frame.raw
        if kind == "document" and len(data) <= _PIECE:
            self.unread = data
            content = self.inspector.finish_credentials(data)
        elif data or kind == "end":
            is_last = kind == "document" or kind == "end"  # noqa: PLR1714 - a set would cost a hash for each frame
            content = await inspect_pieces(self.inspector, data, last=is_last, turn=self.turn)
        else:
            return frame
        if content is not None or (data and not self.has_begun):
            # That something was read at all is news: of whom, and how sensitive it may be.
            self.has_begun = True
            await self._take(_NOTHING if content is None else content)
        return frame

    def words(self) -> ResultContent | None:
        """Return the words of an answer that has been sent already. Fold the words before any other work for the caller."""
        unread, self.unread = self.unread, b""
        return self.inspector.finish_words(unread) if unread else None

    async def note_concealed(self, sightings: tuple[Sighting, ...]) -> None:
        """Fold credentials after their replacement by handles."""
        await self._take(ResultContent(sightings))

    async def _take(self, content: ResultContent) -> None:
        fields = await self.reads.fold(content)
        if fields is None:
            return
        try:
            await self.reads.record(fields)
        except JournalError as error:
            raise UpstreamBroken(
                f"the answer was withheld, because what it holds cannot be recorded: {error.message}", error.remedy
            ) from None
