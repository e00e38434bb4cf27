"""The register of what identity providers signalled: ends of sessions, and open facts. Pure: the time is an argument.

An end refuses each token of an earlier login. A fact is open until a benign signal about the same subject takes it back. A fact about
a credential, claims or assurance ends with the next login too: a later token says how things are.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from gateway.authority.signals.subjects import (
    IndexKey,
    SignalSubject,
    caller_keys,
    digest_subject,
    index_keys,
    names,
    names_session_only,
)
from gateway.model.call import SignalFact, SignalType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.caller import Principal

CAPACITY: Final = 100_000
"""Signals at once."""
KEPT: Final = 90 * 86400.0
"""Seconds after its event for which a signal counts. No access token should live as long."""
_UNTIL_LOGIN: Final[frozenset[SignalType]] = frozenset(
    {"session-revoked", "credential-change", "token-claims-change", "assurance-level-change"}
)
"""Types whose facts are about the login that a token comes from. The others are about the present state of a person or a device."""

Effect = Literal["end", "note"]


class Signal(Struct, frozen=True):
    """A signal in force. `issuers` are those whose callers the transmitter may speak about. `at` is in seconds since the epoch.

    `end`: tokens of an earlier login are refused. `note`: the policy sees a fact.
    """

    transmitter: str
    issuers: frozenset[str]
    subject: SignalSubject
    type: SignalType
    at: float
    effect: Effect
    level: str | None = None
    is_open: bool = True
    """False: a benign signal took an earlier fact back. It is kept, since the earlier fact may come late."""

    @property
    def id(self) -> str:
        """The same for a later signal of this type about the same subject."""
        parts = "\n".join((self.transmitter, self.type, self.effect, digest_subject(self.subject)))
        return sha256(parts.encode()).hexdigest()[:24]

    def covers(self, principal: Principal) -> bool:
        """Return whether the signal is about this caller, with the login that its token comes from."""
        if not names(self.subject, principal, self.issuers):
            return False
        if self.effect == "note" and self.type not in _UNTIL_LOGIN:
            return True
        if principal.session is not None and names_session_only(self.subject):
            return True
        # A login after its token was issued is none: the earlier time counts.
        times = [time for time in (principal.logged_in, principal.issued) if time is not None]
        return not times or min(times) <= self.at


class SignalRegister:
    """The signals in force. It is bounded, and refuses when full: a forgotten signal would let somebody in."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self.signals: dict[str, Signal] = {}
        """By id, for reading. A caller asks about nothing while there are none."""
        self._by_key: dict[IndexKey, set[str]] = {}

    def __len__(self) -> int:
        return len(self.signals)

    def __iter__(self) -> Iterator[Signal]:
        return iter(tuple(self.signals.values()))

    def get(self, identifier: str) -> Signal | None:
        """Return a signal by its id."""
        return self.signals.get(identifier)

    def has_room(self, signal: Signal) -> bool:
        """Return whether `put` will keep a signal."""
        return signal.id in self.signals or len(self.signals) < self._capacity

    def put(self, signal: Signal) -> Signal:
        """Keep a signal in place of another of the same id. Return the one in force: the later event counts, at the same time the
        open one."""
        other = self.signals.get(signal.id)
        if other is not None and (other.at, other.is_open) > (signal.at, signal.is_open):
            return other
        self.signals[signal.id] = signal
        for key in index_keys(signal.subject):
            self._by_key.setdefault(key, set()).add(signal.id)
        return signal

    def remove(self, identifier: str) -> Signal | None:
        """Remove a signal and return the removed signal. Return `None` for an unknown id."""
        signal = self.signals.pop(identifier, None)
        for key in () if signal is None else index_keys(signal.subject):
            others = self._by_key.get(key, set())
            others.discard(identifier)
            if not others:
                self._by_key.pop(key, None)
        return signal

    def expired(self, now: float) -> tuple[str, ...]:
        """Return the ids of the signals that are too old to count."""
        return tuple(identifier for identifier, signal in self.signals.items() if signal.at + KEPT < now)

    def is_ended(self, principal: Principal) -> bool:
        """Return whether an identity provider ended the login that the caller's token comes from."""
        return bool(self.signals) and any(signal.effect == "end" for signal in self._about(principal))

    def facts(self, principal: Principal) -> tuple[SignalFact, ...]:
        """Return the open facts about a caller, the oldest first."""
        if not self.signals:
            return ()
        found = {
            SignalFact(each.type, each.at, each.level)
            for each in self._about(principal)
            if each.effect == "note" and each.is_open
        }
        return tuple(sorted(found, key=lambda fact: (fact.at, fact.type, fact.level or "")))

    def _about(self, principal: Principal) -> Iterable[Signal]:
        seen: set[str] = set()
        for key in caller_keys(principal):
            for identifier in self._by_key.get(key, ()):
                if identifier not in seen:
                    seen.add(identifier)
                    signal = self.signals[identifier]
                    if signal.covers(principal):
                        yield signal
