"""The tokens of callers, and the search for them in messages to upstreams: they are for this gateway alone. Pure.

A JWT is known by its signature: nothing else contains it, and a token is worth nothing without it. Any other credential is
known as a whole. Two passes over a message settle nearly each message. The first looks in its letters for runs of a token's
letters as they are, reversed, in base64 and in hex. The second looks for parts of the token in base85 and uuencode."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from gateway.base.json.lex import unescape, unescape_any
from gateway.base.json.walk import flatten
from gateway.inspection.credentials.decoders import decode_uuencoded, quoted_printable
from gateway.inspection.credentials.fingerprint import Fingerprints, encoded, letters
from gateway.inspection.credentials.forms import LONG_HIDDEN, ROUNDS, forms, signs_of, string
from gateway.inspection.credentials.index import CredentialIndex, pieces_of
from gateway.inspection.credentials.live_values import LiveValue, LiveValues
from gateway.inspection.credentials.ruleset import compiled, escape_literal
from gateway.model.content import CredentialPiece
from gateway.model.shingles import GRAM, gram, grams_of
from gateway.model.wire import Headers, Json

OF_THE_GATEWAY: Final = ""
"""Stands for the gateway as the system that a token is of. No audience has an empty name."""
WHOLE: Final = "whole"
Found: TypeAlias = Literal["whole"] | tuple[CredentialPiece, ...]

_MIN: Final = 16
"""Characters below which a part of a credential is no secret, and would be found everywhere."""
_ENOUGH: Final = 36
"""Bytes at the beginning of a secret by which it is known in other forms."""
_MAX_RUNS: Final = 120
_MAX_REVERSED: Final = 48
_MAX_WINDOWS: Final = 24
"""Places of a token at which a message is searched for its letters, for these reversed, and for its bytes in encodings."""
_RUN_STEP: Final = 2
_WINDOW: Final = 8
"""Bytes that have two whole groups of base64, wherever these begin."""
_WINDOW_STEP: Final = 4
_IN_HEX: Final = 4
_WIDE_IN_HEX: Final = 3
_WIDE_IN_BASE64: Final = 5
"""Characters in UTF-16 that are looked for in hex and in base64."""
_BASE85_GROUP: Final = 4
_UU_GROUPS: Final = 6
"""Bytes of one group of base85, and of two groups of uuencode."""
_WINDOWS_OF_HALF: Final = 3
"""A half of a token in base64 has one window of three: of windows that overlap, the search finds every second."""
_MAX_HITS: Final = 1_024
"""Runs of a token in one text. More are no chance, and not worth the work."""
_AROUND: Final = 16
"""Letters on either side of a run that are compared too."""
_PERCENT: Final = ord("%")
_BACKSLASH: Final = ord("\\")
_NO_LETTERS: Final = re.compile(rb"[^A-Za-z0-9]+")


def secret_of(authorization: str) -> bytes:
    """Return the part of a credential without which the rest is worth nothing; empty if that part is too short.

    Of a JWS (RFC 7515) it is the signature, else all of it. The last character of Base64 can be written in several ways, and
    is left out.
    """
    credential = authorization.strip().partition(" ")[2].strip(" =")
    signature = credential.rpartition(".")[2] if credential.count(".") == 2 else ""
    secret = signature if len(signature) > _MIN else credential
    return secret[:-1].encode("latin-1") if len(secret) > _MIN else b""


class TokenSearch:
    """A search for one token. It holds the secret part of the token, and belongs in memory alone."""

    __slots__ = ("_near", "_rare", "_secret", "_windows", "_written", "name", "shingles")

    def __init__(self, secret: bytes, fingerprints: Fingerprints) -> None:
        text = secret.decode("latin-1")
        self.name = fingerprints.of(text)
        self.shingles = fingerprints.shingles(_NO_LETTERS.sub(b"", secret).decode() or text)
        self._secret = secret
        self._written = _write_forms(secret)
        self._windows = _windows(secret)
        needles = dict.fromkeys([*_runs(secret), *self._windows])
        # A token with hardly a letter is looked for as a whole in each message.
        has_runs = len(letters(secret)) >= GRAM
        self._near = compiled(b"|".join(needles).decode(), groups=False) if has_runs else None
        rare = dict.fromkeys(_rarely_written(secret))
        self._rare = compiled("|".join(map(escape_literal, rare)), groups=False) if has_runs else None

    def __repr__(self) -> str:
        return f"TokenSearch({self.name})"

    def is_near(self, counted: Iterable[bytes]) -> bool:
        """Return whether texts, given as their letters, may hold a piece of the token."""
        return self._near is None or any(map(self._near.search, counted))

    def is_rarely_written(self, texts: Iterable[bytes]) -> bool:
        """Return whether texts may hold a piece of the token in an encoding with more characters than letters."""
        return self._rare is not None and any(map(self._rare.search, texts))

    def is_whole(self, texts: Iterable[bytes]) -> bool:
        """Return whether a text has the token whole, as it is or in one round of an encoding."""
        return any(
            any(form in text for form in self._written) or (_PERCENT in text and self._secret in unquote_to_bytes(text))
            for text in texts
        )

    def piece(self, counted: Iterable[bytes], fingerprints: Fingerprints) -> CredentialPiece | None:
        """Return the piece of the token in texts, given as their letters; `None` for none."""
        sample = grams_of(self.shingles)
        if self._near is None or not sample:
            return None
        found: set[int] = set()
        for text in counted:
            places = [match.span() for match in islice(self._near.finditer(text), _MAX_HITS)]
            if len(places) == _MAX_HITS or self._is_half_encoded(text[begin:end] for begin, end in places):
                return CredentialPiece(self.name, self.shingles, frozenset(map(gram, sample)), OF_THE_GATEWAY)
            for begin, end in _areas(places):
                for area in (text[begin:end], text[begin:end][::-1]):
                    found |= pieces_of(area, fingerprints.grams(area), sample)
        return CredentialPiece(self.name, self.shingles, frozenset(found), OF_THE_GATEWAY) if found else None

    def _is_half_encoded(self, hits: Iterable[bytes]) -> bool:
        """Return whether half of the token is there in base64 or hex, whatever stands between the letters of it."""
        found = {window for hit in hits if (window := self._windows.get(hit)) is not None}
        return _WINDOWS_OF_HALF * len(found) > len(set(self._windows.values()))


def find_tokens(searches: Sequence[TokenSearch], headers: Headers, body: bytes, fingerprints: Fingerprints) -> Found:
    """Return whether a message has a token whole, else its pieces of tokens, in headers that travel on or in the body. A body
    that is no JSON counts as a token."""
    values = read_values(body)
    if values is None:
        return WHOLE
    sent = b"\n".join([unescape(body)] + [value for _, value in headers] + [name for name, _ in headers])
    texts = [sent, *quoted_printable(sent)]
    if _PERCENT in sent or _BACKSLASH in sent or not sent.isascii():
        texts.extend(_simplify(sent))
    counted = [*map(letters, texts), letters(values)]
    near = [search for search in searches if search.is_near(counted)]
    if near and any(search.is_whole((sent, values)) for search in near):
        return WHOLE
    if near or LONG_HIDDEN.search(sent) is not None or any(search.is_rarely_written(texts) for search in searches):
        hidden = forms(sent).readings[1:]
        # A line of uuencode may be the beginning of a value.
        counted += [*[letters(reading.text) for reading in hidden], letters(b"".join(decode_uuencoded(values)))]
        near = [search for search in searches if search.is_near(counted)]
    if not near:
        return ()
    pieces = (search.piece(counted, fingerprints) for search in near)
    return tuple(piece for piece in pieces if piece is not None)


# --- what a message says ---------------------------------------------------------------------------------


def read_values(body: bytes) -> bytes | None:
    """Return the texts and numbers of a body without names between them; `None` if the body is no JSON.

    So the pieces of a token in several arguments come one after another.
    """
    if not body:
        return b""
    try:
        document: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    found = [item for item in flatten(document).scalars if item is not None and not isinstance(item, bool)]
    return encoded("\n".join([item if isinstance(item, str) else repr(item) for item in found]))


def _simplify(sent: bytes) -> Iterator[bytes]:
    """Yield a text without escapes and percent encoding, and without marks and compatibility forms."""
    text = sent
    for _ in range(ROUNDS):
        if _BACKSLASH not in text:
            break
        text = unescape_any(text)
        yield text
    for _ in range(ROUNDS):
        if _PERCENT not in text:
            break
        text = unquote_to_bytes(text)
        yield text
    if not text.isascii():
        yield unicodedata.normalize("NFKD", string(text)).encode("ascii", "ignore")


# --- what a token looks like -----------------------------------------------------------------------------


def _runs(secret: bytes) -> Iterator[bytes]:
    """Yield runs of the letters of a token, also reversed. Each longer piece of the token has one."""
    counted = letters(secret)
    last = len(counted) - GRAM
    for at in range(0, last + 1, max(_RUN_STEP, last // _MAX_RUNS)):
        yield counted[at : at + GRAM]
    for at in range(0, last + 1, max(_RUN_STEP, last // _MAX_REVERSED)):
        yield counted[at : at + GRAM][::-1]


def _windows(secret: bytes) -> dict[bytes, int]:
    """Return letters of a token in base64 and hex, each with the place of the bytes in the token."""
    found: dict[bytes, int] = {}
    for at in _places(secret):
        window = secret[at : at + _WINDOW]
        found[window[:_IN_HEX].hex().encode()] = at
        found |= {run: at for run in map(letters, _in_base64(window)) if len(run) >= GRAM}
    for at in _places(secret)[::2]:
        found[_wide(secret[at : at + _WIDE_IN_HEX]).hex().encode()] = at
        found |= dict.fromkeys(map(letters, _in_base64(_wide(secret[at : at + _WIDE_IN_BASE64]))), at)
    return found


def _places(secret: bytes) -> range:
    """Return the places of the windows of a token."""
    return range(0, len(secret) - _WINDOW + 1, max(_WINDOW_STEP, len(secret) // _MAX_WINDOWS))


def _wide(text: bytes) -> bytes:
    """Return characters in UTF-16 without the zero after the last, which one byte order has and the other has not."""
    return b"\0".join([text[at : at + 1] for at in range(len(text))])


def _rarely_written(secret: bytes) -> Iterator[str]:
    """Yield parts of a token in both forms of base85 and in uuencode, wherever the groups of these begin."""
    for at in _places(secret)[::2]:
        window = secret[at : at + _WINDOW]
        for start in range(_BASE85_GROUP):
            group = window[start : start + _BASE85_GROUP]
            yield base64.b85encode(group).decode()
            yield base64.a85encode(group).decode()
        for start in range(_WINDOW - _UU_GROUPS + 1):
            # The first character counts the bytes of the line, and the last ends it.
            yield binascii.b2a_uu(window[start : start + _UU_GROUPS]).decode()[1:-1]


def _in_base64(data: bytes) -> Iterator[bytes]:
    """Yield the base64 of bytes with none, one and two bytes before them, without the letters shared with other bytes."""
    for start in range(3):
        inner = data[start:]
        yield base64.b64encode(inner[: len(inner) // 3 * 3])


def _write_forms(secret: bytes) -> list[bytes]:
    """Return the secret itself, and its beginning in base64 and hex."""
    known = secret[:_ENOUGH]
    standard = list(_in_base64(known))
    for_urls = [form.replace(b"+", b"-").replace(b"/", b"_") for form in standard]
    return list(dict.fromkeys([secret, known.hex().encode(), known.hex().upper().encode(), *standard, *for_urls]))


def _areas(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a text around runs, none of which overlap."""
    area: tuple[int, int] | None = None
    for first, last in places:
        if area is not None and first - _AROUND <= area[1]:
            area = area[0], last + _AROUND
            continue
        if area is not None:
            yield area
        area = max(0, first - _AROUND), last + _AROUND
    if area is not None:
        yield area


MAX_OF_CALLER: Final = 4
"""Tokens of one caller that are searched for, the latest."""
MAX_CALLERS: Final = 20_000
MAX_SEARCHES: Final = 64
"""Searches that are kept: 75 to 110 KB each, and up to 420 KB after much varied text. A new one takes 1.0 to 1.6 milliseconds,
and only a message near the token needs one."""
_CLOSE: Final = 16 * 2**10
"""Bytes of a message up to which a look is a close one. A longer message is searched for each token of its caller."""
LIFETIME: Final = 3_600.0
"""Seconds for which a token without a readable expiry is kept after its last use."""


MAX_INDEXES: Final = 256
"""Callers whose tokens are kept as an index. A new one takes 0.6 milliseconds."""


class _Claims(msgspec.Struct):
    exp: float = 0.0


class Look(Struct, frozen=True):
    """The live values that a message may have. A short message without an encoding is plain: it has no other value."""

    near: tuple[LiveValue, ...]
    is_plain: bool


def look_through(live: LiveValues, headers: Headers, body: bytes, *, has_tokens: bool) -> Look:
    """Look once at the letters of a message for all live values. `has_tokens`: its caller has tokens, which may be split."""
    sent = b"\n".join([unescape(body), *[part for field in headers for part in field]])
    values = read_values(body) if has_tokens else b""
    signs, is_short = signs_of(sent), len(sent) <= _CLOSE
    near = live.find_by_signs(sent, signs, beside=values or b"", closely=is_short)
    is_plain = signs is None or not (signs.encoded or signs.rare or signs.split)
    return Look(near, is_plain=is_plain and is_short and values is not None)


class CallerTokens:
    """The tokens of each caller that have not expired."""

    def __init__(self, fingerprints: Fingerprints, live: LiveValues) -> None:
        self._fingerprints = fingerprints
        self._live = live
        self._callers: OrderedDict[str, OrderedDict[bytes, float]] = OrderedDict()
        self._searches: OrderedDict[bytes, TokenSearch] = OrderedDict()
        self._indexes: OrderedDict[str, tuple[tuple[str, ...], CredentialIndex]] = OrderedDict()

    def take(self, owner: str, authorization: Sequence[str], now: float) -> bool:
        """Take in the tokens of a request. Return whether the caller has any.

        `owner` is the caller's `Principal.key`, `now` in seconds since the epoch.
        """
        used = {secret: value for value in authorization if (secret := secret_of(value))}
        if not used:
            return False
        known = self._callers.setdefault(owner, OrderedDict())
        self._callers.move_to_end(owner)
        for secret in [secret for secret, ends in known.items() if ends <= now]:
            self._forget(owner, known, secret)
        for secret, value in used.items():
            if secret not in known:
                self._live.hold(_holder(owner, secret), [secret.decode("latin-1")], OF_THE_GATEWAY)
                known[secret] = expiry(value) or now + LIFETIME
            known.move_to_end(secret)
        while len(known) > max(MAX_OF_CALLER, len(used)):
            self._forget(owner, known, next(iter(known)))
        while len(self._callers) > MAX_CALLERS:
            oldest, theirs = self._callers.popitem(last=False)
            for secret in tuple(theirs):
                self._forget(oldest, theirs, secret)
        return True

    def searches(self, owner: str, look: Look) -> list[TokenSearch]:
        """Return the searches for the tokens of a caller that a message may have, by a look at it."""
        return [self._search(secret) for secret in self._callers.get(owner, ()) if self._may_have(look, owner, secret)]

    def _may_have(self, look: Look, owner: str, secret: bytes) -> bool:
        """Return whether a message may have a token. A token that the registry cannot tell from other text may be in each."""
        if not look.is_plain or not self._live.holds(secret.decode("latin-1")):
            return True
        holder = _holder(owner, secret)
        return any(holder in value.holders for value in look.near)

    def index(self, owner: str, authorization: tuple[str, ...]) -> CredentialIndex:
        """Return the tokens of a request as known credentials, and the signature of a JWT apart: no other token has it.

        Earlier tokens of the caller are live values.
        """
        kept = self._indexes.get(owner)
        if kept is None or kept[0] != authorization:
            kept = self._indexes[owner] = authorization, self._build_index(authorization)
            while len(self._indexes) > MAX_INDEXES:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(owner)
        return kept[1]

    def _build_index(self, authorization: tuple[str, ...]) -> CredentialIndex:
        of = self._fingerprints
        credentials = [value.strip().rpartition(" ")[2] for value in authorization]
        parts = {part for credential in credentials for part in (credential, credential.rpartition(".")[2]) if part}
        return CredentialIndex({of.of(part): of.shingles(part) for part in parts})

    def _forget(self, owner: str, known: OrderedDict[bytes, float], secret: bytes) -> None:
        del known[secret]
        self._indexes.pop(owner, None)
        self._live.release(_holder(owner, secret))
        self._searches.pop(secret, None)

    def _search(self, secret: bytes) -> TokenSearch:
        search = self._searches.get(secret)
        if search is None:
            search = self._searches[secret] = TokenSearch(secret, self._fingerprints)
            while len(self._searches) > MAX_SEARCHES:
                self._searches.popitem(last=False)
        self._searches.move_to_end(secret)
        return search


def _holder(owner: str, secret: bytes) -> str:
    """Return the name under which a token of a caller is held: two callers may present the same."""
    return f"caller {owner} {secret.decode('latin-1')}"


def expiry(authorization: str) -> float:
    """Return when a JWT expires, in seconds since the epoch; zero for any other credential. Its issuer was verified before."""
    parts = authorization.rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return 0.0
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(payload, type=_Claims).exp
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return 0.0
