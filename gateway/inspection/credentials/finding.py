"""Reports of a detector on credentials, and the suppressions by which an operator dismisses some until a date. Pure.

A report never holds the value: not in a field, not in a `repr`. A suppression covers only findings by form or place. A
credential that a task has seen stays a credential, whatever its origin."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from gateway.model.content import CredentialPiece
from gateway.model.target import Role, Target

Kind: TypeAlias = Literal["format", "named", "private-key", "jwt", "header", "userinfo", "code", "presigned", "seen"]
"""How it was recognised. `format`: by a rule of the rule file. `named`: by the name that it stands under. `code`: a
one-time code, by the words around it. `presigned`: a signed URL, for `host` alone. `seen`: the task knows it already."""

KnownShingles: TypeAlias = Mapping[str, frozenset[int]]
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
    `percent+hex`), or `split`. `shingles` are for `KnownShingles`. `host` is the host of a presigned URL. `offset` is its first
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


@dataclass(frozen=True, slots=True)
class SignedSearch:
    """A search for credentials by their context. `sign` is an RE2 expression, and matches in each text with such a credential."""

    sign: str
    find: Callable[[bytes], Iterable[Hit]]


# --- suppressions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suppression:
    """Patterns of an upstream, of a tool, resource or prompt, of a detector, and a place in the arguments; `None` is any.
    `ends` in seconds since the epoch. One with a place says nothing of results."""

    upstream: str
    ends: float
    tool: str | None = None
    detector: str | None = None
    pointer: str | None = None

    def concerns(self, target: Target) -> bool:
        return fnmatchcase(target.upstream, self.upstream) and (
            self.tool is None or fnmatchcase(target.name, self.tool)
        )

    def covers(self, found: Finding) -> bool:
        if self.detector is not None and not fnmatchcase(found.detector, self.detector):
            return False
        return self.pointer is None or f"{found.pointer}/".startswith(f"{self.pointer}/")


class ActiveSuppressions(Struct, frozen=True):
    """The suppressions in force for one call. `used` is called with the number of each applied one."""

    target: Target
    active: tuple[tuple[int, Suppression], ...]
    used: Callable[[int, Target], None]

    def covers(self, found: Finding, seen: Container[str]) -> bool:
        """Return whether a suppression covers this finding. `seen` are the credentials of the task."""
        if found.kind == "seen" or found.handle is not None or found.fingerprint in seen:
            return False
        for number, rule in self.active:
            if rule.covers(found):
                self.used(number, self.target)
                return True
        return False


class Suppressions:
    """All of a configuration, in its order."""

    def __init__(
        self, rules: Sequence[Suppression] = (), used: Callable[[int, Target], None] = lambda _number, _target: None
    ) -> None:
        self.rules: Final = tuple(enumerate(rules))
        """Each suppression with its number. Without any, `of` need not be asked."""
        self._used = used

    def of(self, target: Target, now: float) -> ActiveSuppressions | None:
        """Return the suppressions in force for a call of `target` at `now`, in seconds since the epoch; `None` for none."""
        active = tuple((number, rule) for number, rule in self.rules if now < rule.ends and rule.concerns(target))
        return ActiveSuppressions(target, active, self._used) if active else None


def explain_unknown_detector(detector: str | None, names: Collection[str]) -> str | None:
    """Return why a pattern of detectors covers nothing, if `names` lacks it: a spelling mistake, or a rule that is not
    loaded."""
    if detector is None or any(fnmatchcase(name, detector) for name in names):
        return None
    if detector == "seen":
        return "what a task knows as a credential stays one, so a suppression of 'seen' covers nothing"
    near = difflib.get_close_matches(detector, sorted(names), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no detector is called {detector!r}, so it covers nothing{hint}"
