"""Register of active minted tokens. Any other token is inactive, so a restart ends all tokens."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from gateway.authority.minting import MintedToken

CAPACITY: Final = 100_000
"""Tokens at once."""
_SLACK: Final = 1_024


class TokenRegister(Protocol):
    """A register of active tokens."""

    def add(self, token: MintedToken, now: float) -> bool:
        """Make a token active. Return `False` if there is no room: the token must not be used then."""
        ...

    def find(self, jti: str, now: float) -> MintedToken | None:
        """Return an active token."""
        ...

    def end(self, jti: str) -> bool:
        """Make a token inactive for ever. Return whether it was active."""
        ...

    def end_task(self, task: str) -> int:
        """Make all tokens of a task inactive for ever. Return their number."""
        ...


class ActiveTokens:
    """A register in the memory of this process. It is bounded, and forgets a token at its expiry."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._tokens: dict[str, MintedToken] = {}
        self._of_task: dict[str, set[str]] = {}
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, token: MintedToken, now: float) -> bool:
        """Make a token active. Return `False` if there is no room, the token has expired, or its `jti` is known."""
        self._forget_expired(now)
        if len(self._tokens) >= self._capacity or token.expires <= now or token.jti in self._tokens:
            return False
        self._tokens[token.jti] = token
        heapq.heappush(self._expiries, (token.expires, token.jti))
        if token.task is not None:
            self._of_task.setdefault(token.task, set()).add(token.jti)
        return True

    def find(self, jti: str, now: float) -> MintedToken | None:
        """Return an active token."""
        token = self._tokens.get(jti)
        return None if token is None or token.expires <= now else token

    def end(self, jti: str) -> bool:
        """Make a token inactive for ever. Return whether the register had it."""
        token = self._tokens.pop(jti, None)
        if token is None:
            return False
        if token.task is not None:
            others = self._of_task[token.task]
            others.discard(jti)
            if not others:
                del self._of_task[token.task]
        self._compact()
        return True

    def end_task(self, task: str) -> int:
        """Make all tokens of a task inactive for ever. Return their number."""
        return sum(self.end(jti) for jti in tuple(self._of_task.get(task, ())))

    def _forget_expired(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            expires, jti = heapq.heappop(self._expiries)
            token = self._tokens.get(jti)
            if token is not None and token.expires == expires:
                self.end(jti)

    def _compact(self) -> None:
        """Drop the expiries of ended tokens before they outnumber the active ones."""
        if len(self._expiries) > 2 * len(self._tokens) + _SLACK:
            self._expiries = [(token.expires, token.jti) for token in self._tokens.values()]
            heapq.heapify(self._expiries)
