"""A detector's report on a credential. It never holds the value: not in a field, not in a `repr`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.model.content import CredentialPiece
from gateway.model.target import Role

Kind: TypeAlias = Literal["format", "named", "private-key", "jwt", "header", "userinfo", "code", "presigned", "seen"]
"""How it was recognised. `format`: by a rule of the rule file. `named`: by the name that it stands under. `code`: a
one-time code, by the words around it. `presigned`: a signed URL, for `host` alone. `seen`: the task knows it already."""

Known: TypeAlias = Mapping[str, frozenset[int]]
"""The credentials that a task has seen: fingerprint → shingles, empty if they were not kept."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """The content of a handle in arguments: credentials by fingerprint and detector, shown by `audience`."""

    audience: str
    credentials: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A credential in arguments or in a result.

    `pointer` (RFC 6901) is its string in the arguments; `""` stands for several strings together, and for any result.
    `role` is the argument's role. `form` is its spelling: `raw`, its decodings from the outermost on (`base64`,
    `percent+hex`), or `split`. `shingles` are for `Known`. `host` is the host of a presigned URL. `offset` is its first
    byte in the stream. `ordinary`: ordinary text may have the same value. `handle`: a handle of this audience stands
    for it, and its form is `handle`.
    """

    fingerprint: str
    detector: str
    kind: Kind
    pointer: str = ""
    role: Role | None = None
    form: str = "raw"
    shingles: frozenset[int] = field(default=frozenset(), repr=False, compare=False)
    host: str | None = None
    offset: int | None = field(default=None, compare=False)
    ordinary: bool = field(default=False, compare=False)
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of a search. An incomplete search reached a limit, so that absence proves nothing. `pieces` are of known
    credentials in part."""

    findings: tuple[Finding, ...] = ()
    incomplete: bool = False
    pieces: tuple[CredentialPiece, ...] = ()


NOTHING: Final = Inspection()
"""The result of a whole search that found nothing, as is usual."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A credential in a text. Concealing removes the text from `start` to `end`; `value` gives the fingerprint. `user` is
    the name of the user of a password, if the text has it."""

    detector: str
    kind: Kind
    start: int
    end: int
    value: str = field(repr=False)
    host: str | None = None
    user: str = field(default="", repr=False)


class SignedSearch(NamedTuple):
    """A search for credentials by their context. `sign` is an RE2 expression, and matches in each text with such a credential."""

    sign: str
    find: Callable[[bytes], Iterable[Hit]]
