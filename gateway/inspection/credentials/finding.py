"""What a detector says of a credential. Never its value: not in a field, not in a `repr`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gateway.model.content import Piece
from gateway.model.target import Role

Kind: TypeAlias = Literal["format", "named", "private-key", "jwt", "header", "userinfo", "code", "presigned", "seen"]
"""How it was recognised. `format`: by a rule of the rule file. `named`: by the name that it stands under. `code`: a
one-time code, by the words around it. `presigned`: a signed URL, for `host` alone. `seen`: the task knows it already."""

Known: TypeAlias = Mapping[str, frozenset[int]]
"""The credentials that a task has seen: fingerprint → shingles, empty if they were not kept."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """What a handle in arguments stands for: credentials, by fingerprint and detector, that `audience` has shown."""

    audience: str
    credentials: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One credential in arguments or in a result.

    `pointer` is where (RFC 6901): in arguments the string that holds it, `""` if only several together do; in a result
    always `""`. `role` is the argument's. `form` is how it was written: `raw`, the decodings that it took, outermost
    first (`base64`, `percent+hex`), or `split`. `shingles` are for `Known`. `host` is that of a presigned URL. `offset`
    is the byte of the stream where it begins. `ordinary`: ordinary text may have the same value in it.
    `handle`: a handle stands there for it (its form is `handle`), which is of this audience.
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
    pieces: tuple[Piece, ...] = ()


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
