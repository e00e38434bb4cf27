"""The content of a streaming result: its words as keyed digests, and the credentials found by a scanner. Pure. A word
counts when it has ended, so that a word across two chunks is one word. The module holds nothing more."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from gateway.credentials.finding import Finding
from gateway.destinations import links as followable_links
from gateway.inspection.code_requests import CodeRequests
from gateway.inspection.text import Unescaper, text_of
from gateway.model.content import ResultContent, Sighting
from gateway.words.records import ResultRecords
from gateway.words.words import digests, distinctive, mentions

MAX_WORDS: Final = 1_024
"""Words of an untrusted result that are kept, those with the smallest digests: all of a result of about 20 KB. Of a
larger one an even sample, in which any sixteen words that went on from a result of 5,000 are met with a probability of
97 %. Nobody without the key can choose what is in it."""
MAX_MENTIONS: Final = 4_096
"""Values of a trusted result that are kept: a directory of a thousand people."""

_REACH: Final = 512
"""Characters at the end of what has come that may belong to what is still to come."""
_OVERLAP: Final = 64
"""Characters that are looked at twice where running text is cut, for numbers that are written in groups."""
_LIMITS: Final = ("\n", '"')
_SPACES: Final = (" ", "\t", "<")


class ResultWords:
    """The words of one result, chunk by chunk. An untrusted result gives distinctive words (spread), a trusted result
    the values that it grounds. With `links`, an untrusted result also gives the addresses for its reader."""

    __slots__ = (
        "_highest",
        "_kept",
        "_key",
        "_limit",
        "_links",
        "_skipping",
        "_tail",
        "_text",
        "_trusted",
        "follows",
        "is_sampled",
    )

    def __init__(self, key: bytes, *, trusted: bool, links: bool = False) -> None:
        self._key = key
        self._trusted = trusted
        self.follows = links and not trusted
        """Whether the addresses for a reader are kept (`links`)."""
        self._links: frozenset[int] = frozenset()
        self._limit = MAX_MENTIONS if trusted else MAX_WORDS
        self._text: Unescaper | None = None
        self._tail: str = ""
        self._skipping = False
        self._kept: frozenset[int] = frozenset()
        self._highest: int | None = None
        self.is_sampled: bool = False
        """Whether an untrusted result had more words than are kept."""

    def feed(self, chunk: bytes) -> frozenset[int]:
        """The digests that this chunk adds."""
        self._text = self._text or Unescaper()
        return self._more(self._text.feed(chunk))

    def finish(self, chunk: bytes = b"") -> frozenset[int]:
        """Return the digests of this last chunk, and those that waited for the end."""
        text = text_of(chunk) if self._text is None else self._text.feed(chunk) + self._text.finish()
        if not self._skipping and len(self._tail) + len(text) <= _REACH:
            rest, self._tail = self._tail + text, ""
            return self._keep(rest)
        added = self._more(text)
        rest, self._tail = self._tail, ""
        return added | self._keep(rest)

    def links(self) -> frozenset[int]:
        """The digests of the links that have come up since this was last asked."""
        found, self._links = self._links, frozenset()
        return found

    def _more(self, text: str) -> frozenset[int]:
        if self._skipping:
            at = _first(text)
            if at < 0:
                return frozenset()
            self._skipping, text = False, text[at:]
        text = self._tail + text
        cut = max(map(text.rfind, _LIMITS)) + 1
        if len(text) - cut <= _REACH:
            self._tail = text[cut:]
            return self._keep(text[:cut])
        space = max(text.rfind(mark, cut) for mark in _SPACES) + 1
        if len(text) - space > _REACH:
            # Lists of numbers have no spaces. Elsewhere a comma may stand inside of an amount.
            space = max(space, text.rfind(",", cut) + 1)
        if len(text) - space <= _REACH:
            back = max(text.rfind(mark, cut, max(cut, space - _OVERLAP)) for mark in _SPACES) + 1
            self._tail = text[back or space :]
            return self._keep(text[:space])
        # One word without an end: its beginning counts, as it does everywhere.
        self._tail, self._skipping = "", True
        return self._keep(text[: max(cut, space) + _REACH])

    def _keep(self, text: str) -> frozenset[int]:
        if not text:
            return frozenset()
        words = mentions(text) if self._trusted else distinctive(text)
        if self.follows:
            self._links |= digests(followable_links.in_text(text), self._key)
        fresh = digests(words, self._key) - self._kept
        if not fresh:
            return fresh
        if self._highest is not None:
            highest = self._highest
            fresh = frozenset(value for value in fresh if value < highest)
        kept = self._kept | fresh
        if len(kept) >= self._limit:
            # Few are too many, once there are so many: to find those costs a fifth of sorting all.
            kept = kept.difference(heapq.nlargest(len(kept) - self._limit, kept))
            self._highest = max(kept)
            self.is_sampled = not self._trusted
        self._kept = kept
        return fresh & kept


def _first(text: str) -> int:
    places = [at for mark in (*_LIMITS, *_SPACES, ",") if (at := text.find(mark)) >= 0]
    return min(places, default=-1)


_NONE: Final[frozenset[int]] = frozenset()


class Scans(Protocol):
    """Finds credentials in a result while it streams."""

    @property
    def incomplete(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> Sequence[Finding]: ...
    def finish(self, chunk: bytes = b"", /) -> Sequence[Finding]: ...


class ResultInspector:
    """The complete inspection of one result. Each answer has the findings since the answer before."""

    __slots__ = ("_records", "_requests", "_sampled", "_scanner", "_told", "_words")

    def __init__(
        self,
        words: ResultWords | None,
        scanner: Scans | None = None,
        requests: CodeRequests | None = None,
        records: ResultRecords | None = None,
    ) -> None:
        self._words = words
        self._scanner = scanner
        self._requests = requests
        self._records = records
        self._sampled = False
        self._told = False

    def feed(self, chunk: bytes) -> ResultContent | None:
        """Return the content of this chunk, to be folded before the chunk goes on; `None` without any. More credentials
        than the scanner tells apart are reported once."""
        if self._records is not None:
            self._records.feed(chunk)
        return self._content(
            self._words.feed(chunk) if self._words is not None else _NONE,
            self._scanner.feed(chunk) if self._scanner is not None else (),
            requests_code=self._requests is not None and self._requests.feed(chunk),
        )

    def finish(self, chunk: bytes = b"") -> ResultContent | None:
        """Return the content of the last chunk and the end. One search of both costs less than two."""
        return self._content(
            self._words.finish(chunk) if self._words is not None else _NONE,
            self._scanner.finish(chunk) if self._scanner is not None else (),
            _NONE if self._records is None else self._records.finish(chunk),
            requests_code=self._requests is not None and self._requests.finish(chunk),
        )

    def finish_credentials(self, chunk: bytes) -> ResultContent | None:
        """Return the content of a chunk that is the whole result, without its words. `finish_words` finds the words."""
        return self._content(
            _NONE,
            self._scanner.finish(chunk) if self._scanner is not None else (),
            requests_code=self._requests is not None and self._requests.finish(chunk),
        )

    def finish_words(self, chunk: bytes) -> ResultContent | None:
        """Return the words of that chunk."""
        words = self._words.finish(chunk) if self._words is not None else _NONE
        return self._content(words, (), _NONE if self._records is None else self._records.finish(chunk))

    def _content(
        self,
        tokens: frozenset[int],
        seen: Sequence[Finding],
        records: frozenset[int] = _NONE,
        *,
        requests_code: bool = False,
    ) -> ResultContent | None:
        complete = self._told or self._scanner is None or not self._scanner.incomplete
        links, sampled = _NONE, False
        if self._words is not None:
            links = self._words.links() if self._words.follows else _NONE
            sampled = self._words.is_sampled and not self._sampled
        if not (tokens or seen or links or records or sampled or requests_code) and complete:
            return None
        self._told = self._told or not complete
        self._sampled = self._sampled or sampled
        sightings = tuple(
            Sighting(item.fingerprint, item.detector, form=item.form, shingles=item.shingles, ordinary=item.ordinary)
            for item in seen
        )
        return ResultContent(sightings, tokens, complete, links, requests_code, records, sampled)


def together(parts: Iterable[ResultContent | None]) -> ResultContent | None:
    """Return the combined content of several parts of a result; `None` without any content."""
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    return ResultContent(
        tuple(sighting for part in found for sighting in part.sightings),
        frozenset(token for part in found for token in part.tokens),
        all(part.complete for part in found),
        frozenset(link for part in found for link in part.links),
        any(part.requests_code for part in found),
        frozenset(value for part in found for value in part.records),
        any(part.sampled for part in found),
    )
