"""The content of a streaming result: its words as keyed digests, credentials found by a scanner, and requests of codes.

Pure. A word counts when it has ended, so that a word across two chunks is one word. A result asks for a one-time code only
if its tool changes something: strangers may write what a tool reads."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, Protocol

from msgspec import Struct

from gateway.base.json.lex import Unescaper, decode_text
from gateway.base.json.strict import fold
from gateway.base.text_cache import SHORT
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.forms import decode_words
from gateway.inspection.data_taint import DataTaintSearch
from gateway.inspection.destinations.find import find_followable
from gateway.inspection.words import words as text_words
from gateway.inspection.words.records import ResultRecords
from gateway.model.content import ResultContent, Sighting
from gateway.model.target import Effect, Target

# --- requests of one-time codes ----------------------------------------------------------------------

_LOOKED_AT: Final = 65_536
"""Characters of a result that are looked through."""
_PHRASE_REACH: Final = 160
"""Characters before a cut that may belong to a phrase behind it."""
_AROUND: Final = 24
"""Characters before and after a phrase in which a word may deny it."""
_KINDS: Final = "verification|security|login|auth|authentication|access|onetime|confirmation|sms|e?mail|text|phone|signin|mfa|2fa|twofactor|reset"
_TOOL: Final = re.compile(
    rf"(?:.*(?:request|send|resend|start|begin|initiate|trigger|issue)(?:a|new|another)?(?:{_KINDS})?"
    r"(?:code|otp|passcode|2fa|mfa|twofactor|verification|challenge|onetimepassword|magiclink|loginlink|signinlink|passwordreset)"
    r"(?:(?:by|to|via|for)?(?:e?mail|sms|phone|text|user|login))?)"
)
_CODE: Final = (
    r"(?:one[- _]?time[- _]?(?:pass)?(?:code|word|pin)"
    r"|(?:verification|security|confirmation|authentication|access|log-?in|sign-?in|magic|sms|e-?mail)[- _](?:code|pin|link)"
    r"|passcode|\botp|(?:\b|_)2fa|(?:\b|_)mfa|two[- _]factor(?: authentication)?"
    r"|\b(?:an?|the|your|this|another) (?:new )?(?:[0-9a-z]{1,5}[- ]digit )?code\b|(?<!zip )(?<!error )(?<!promo )(?<!postal )(?<!status )\bcode[_ ](?=sent|required))"
)
_SENT: Final = (
    r"(?:sent|e-?mailed|texted|mailed|delivered|requested|required|requires|needed|pending|on its way|\benter\b|awaiting"
    r"|check your (?:e-?mail|inbox|phone|messages))"
)
_SAYS: Final = re.compile(rf"{_CODE}[^.\n]{{0,48}}?{_SENT}|{_SENT}[^.\n]{{0,48}}?{_CODE}")
_DENIES: Final = re.compile(
    r"\b(?:no|not|never|invalid|incorrect|wrong|failed|without|cannot|unable)\b|n't|\" ?: ?(?:false|null|0)\b"
)


class CodeRequests:
    """A search of one result for a notice of a sent code. `by_name`: the tool's name announces the code."""

    __slots__ = ("_by_name", "_left", "_tail", "_text", "_told")

    def __init__(self, *, by_name: bool) -> None:
        self._by_name = by_name
        self._text = Unescaper()
        self._tail: str = ""
        self._left = _LOOKED_AT
        self._told = False

    def feed(self, chunk: bytes) -> bool:
        """Return true for the first chunk that announces a code."""
        return self._look(self._text.feed(chunk))

    def finish(self, chunk: bytes = b"") -> bool:
        """Return true if the last chunk is the first to announce a code."""
        return self._look(self._text.feed(chunk) + self._text.finish())

    def _look(self, text: str) -> bool:
        if self._told or self._left <= 0:
            return False
        seen = self._tail + text[: self._left].lower()
        self._left -= len(text)
        self._tail = seen[-_PHRASE_REACH:]
        self._told = self._by_name or _says(" ".join(seen.split()))
        return self._told


def build_code_requests(target: Target) -> CodeRequests | None:
    """Return a search of the result of a call; `None` for a call that cannot request a code."""
    if target.type != "tool":
        return None
    name, labels = target.name, target.labels
    by_name = names_request(name) if len(name) <= SHORT else _has_code_request_name(name)
    changes = labels.effect is not Effect.READ and "effect" not in labels.assumed
    return CodeRequests(by_name=by_name) if by_name or changes else None


def _has_code_request_name(tool: str) -> bool:
    """Return whether a tool's name announces a code, as `send_code` does."""
    return _TOOL.fullmatch(fold(tool)) is not None


names_request: Final = lru_cache(1_024)(_has_code_request_name)
"""The same for a name of at most `SHORT` characters. A hit enters no function."""


def _says(text: str) -> bool:
    around = ((max(0, match.start() - _AROUND), match.end() + _AROUND) for match in _SAYS.finditer(text))
    return any(_DENIES.search(text, start, end) is None for start, end in around)


# --- words and credentials ---------------------------------------------------------------------------

MAX_WORDS: Final = 1_024
"""Words of an untrusted result that are kept, those with the smallest digests: all of a result of about 20 KB. Of a
larger one an even sample, in which any sixteen words that went on from a result of 5,000 are met with a probability of
97 %. Nobody without the key can choose what is in it."""
MAX_LOOKED_UP: Final = 4_096
"""Distinctive words of a result in which text may return."""
MAX_MENTIONS: Final = 4_096
"""Values of a trusted result that are kept: a directory of a thousand people."""

_REACH: Final = 512
"""Characters at the end of what has come that may belong to what is still to come."""
_OVERLAP: Final = 64
"""Characters that are looked at twice where running text is cut, for numbers that are written in groups."""
_BACKSLASH: Final = ord("\\")
_LIMITS: Final = ("\n", '"')
_SPACES: Final = (" ", "\t", "<")


_NONE: Final[frozenset[int]] = frozenset()


class ResultWords(Struct):
    """The words of one result, chunk by chunk. An untrusted result gives distinctive words (spread), a trusted result
    the values that it grounds. With `links`, an untrusted result also gives the addresses for its reader. With `looks`, any
    result gives all its distinctive words, also encoded ones: text may return in it.

    `is_sampled`: an untrusted result had more words than are kept.
    """

    key: bytes
    trusted: bool
    links: bool = False
    looks: bool = False
    is_sampled: bool = False
    words: frozenset[int] = _NONE
    """The distinctive words of all that has come so far: of more than `MAX_LOOKED_UP` an even sample."""
    _links: frozenset[int] = _NONE
    _text: Unescaper | None = None
    _tail: str = ""
    _skipping: bool = False
    _kept: frozenset[int] = _NONE
    _highest: int | None = None

    def feed(self, chunk: bytes) -> frozenset[int]:
        """Return the digests that this chunk adds."""
        self._text = self._text or Unescaper()
        return self._more(self._text.feed(chunk))

    def finish(self, chunk: bytes = b"") -> frozenset[int]:
        """Return the digests of the last chunk, and of earlier text held back until the end."""
        if self._text is not None:
            text = self._text.feed(chunk) + self._text.finish()
        else:
            text = decode_text(chunk) if _BACKSLASH in chunk else chunk.decode("utf-8", "replace")
        if not self._skipping and len(self._tail) + len(text) <= _REACH:
            rest, self._tail = self._tail + text, ""
            return self._keep(rest)
        added = self._more(text)
        rest, self._tail = self._tail, ""
        return added | self._keep(rest)

    def take_links(self) -> frozenset[int]:
        """Return the digests of the links that have come up since this was last asked."""
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
        found = text_words.mentions(text) if self.trusted else text_words.distinctive(text)
        if self.links and not self.trusted:
            self._links |= text_words.digests(find_followable(text), self.key)
        if self.looks:
            self._look_at(text)
        fresh = text_words.digests(found, self.key) - self._kept
        if not fresh:
            return fresh
        if self._highest is not None:
            highest = self._highest
            fresh = frozenset(value for value in fresh if value < highest)
        kept = self._kept | fresh
        limit = MAX_MENTIONS if self.trusted else MAX_WORDS
        if len(kept) >= limit:
            # Few are too many, once there are so many: to find those costs a fifth of sorting all.
            kept = kept.difference(heapq.nlargest(len(kept) - limit, kept))
            self._highest = max(kept)
            self.is_sampled = not self.trusted
        self._kept = kept
        return fresh & kept

    def _look_at(self, text: str) -> None:
        encoded = decode_words(text)
        found = text_words.distinctive(text)
        if encoded:
            found |= text_words.distinctive(encoded)
        words = self.words | text_words.digests(found, self.key)
        few = len(words) <= MAX_LOOKED_UP
        self.words = words if few else frozenset(heapq.nsmallest(MAX_LOOKED_UP, words))


def _first(text: str) -> int:
    places = [at for mark in (*_LIMITS, *_SPACES, ",") if (at := text.find(mark)) >= 0]
    return min(places, default=-1)


class Scans(Protocol):
    """Finds credentials in a result while it streams."""

    @property
    def incomplete(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> Sequence[Finding]: ...
    def finish(self, chunk: bytes = b"", /) -> Sequence[Finding]: ...


class ResultInspector(Struct):
    """The complete inspection of one result. Each answer has the findings since the answer before."""

    words: ResultWords | None
    scanner: Scans | None = None
    requests: CodeRequests | None = None
    records: ResultRecords | None = None
    taint: DataTaintSearch | None = None
    _sampled: bool = False
    _told: bool = False

    def feed(self, chunk: bytes) -> ResultContent | None:
        """Return the content of this chunk, to be folded before the chunk goes on; `None` without any. More credentials
        than the scanner tells apart are reported once."""
        if self.records is not None:
            self.records.feed(chunk)
        return self._content(
            self.words.feed(chunk) if self.words is not None else _NONE,
            self.scanner.feed(chunk) if self.scanner is not None else (),
            requests_code=self.requests is not None and self.requests.feed(chunk),
            confidential=self.taint is not None and self.taint.feed(chunk),
        )

    def finish(self, chunk: bytes = b"") -> ResultContent | None:
        """Return the content of the last chunk and the end. One search of both costs less than two."""
        return self._content(
            self.words.finish(chunk) if self.words is not None else _NONE,
            self.scanner.finish(chunk) if self.scanner is not None else (),
            _NONE if self.records is None else self.records.finish(chunk),
            requests_code=self.requests is not None and self.requests.finish(chunk),
            confidential=self.taint is not None and self.taint.finish(chunk),
        )

    def finish_credentials(self, chunk: bytes) -> ResultContent | None:
        """Return the credentials, codes and labels of a chunk that is the whole result. `finish_words` finds the words."""
        seen = self.scanner.finish(chunk) if self.scanner is not None else ()
        requests_code = self.requests is not None and self.requests.finish(chunk)
        confidential = self.taint is not None and self.taint.finish(chunk)
        if not (seen or requests_code or confidential):
            return None  # Without findings a scanner has not met more than it tells apart.
        return self._content(_NONE, seen, requests_code=requests_code, confidential=confidential)

    def finish_words(self, chunk: bytes) -> ResultContent | None:
        """Return the words of that chunk."""
        words = self.words.finish(chunk) if self.words is not None else _NONE
        return self._content(words, (), _NONE if self.records is None else self.records.finish(chunk))

    def _content(
        self,
        tokens: frozenset[int],
        seen: Sequence[Finding],
        records: frozenset[int] = _NONE,
        *,
        requests_code: bool = False,
        confidential: bool = False,
    ) -> ResultContent | None:
        complete = self._told or self.scanner is None or not self.scanner.incomplete
        links, sampled = _NONE, False
        if self.words is not None:
            links = self.words.take_links() if self.words.links else _NONE
            sampled = self.words.is_sampled and not self._sampled
        words = _NONE if self.words is None else self.words.words
        if not (tokens or seen or links or records or sampled or requests_code or words or confidential) and complete:
            return None
        self._told = self._told or not complete
        self._sampled = self._sampled or sampled
        sightings = tuple(
            Sighting(item.fingerprint, item.detector, form=item.form, shingles=item.shingles, ordinary=item.ordinary)
            for item in seen
        )
        return ResultContent(sightings, tokens, complete, links, requests_code, records, sampled, words, confidential)


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
        frozenset(word for part in found for word in part.words),
        any(part.confidential for part in found),
    )
