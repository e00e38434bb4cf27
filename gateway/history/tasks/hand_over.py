"""Tokens by which a task is handed over: another agent of the same user opens one child with it, within minutes.

The token names its agent, and only this agent for this user may use it. A durable record of each use comes before the child, so a token
opens one child at all gateways of a store together.
"""

from __future__ import annotations

import secrets
from collections import Counter
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.base.store.records import RecordKind
from gateway.history.tasks.tokens import TokenSigner
from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY
from gateway.model import reasons

if TYPE_CHECKING:
    from gateway.base.keys.key_ring import KeyRing, SigningKey
    from gateway.base.store.records import Records
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.model.caller import Principal
    from gateway.model.decision import Reason
    from gateway.model.task import Task

TYPE: Final = "opagate-hand-over+jwt"
MAX_LIFE: Final = 600
"""Seconds."""
DEFAULT_LIFE: Final = 120
MAX_OPEN: Final = 64
"""Tokens of one caller that have not expired. The gateway looks for each of them in all traffic, and has room for some thousands."""
HANDED_OVER: Final = RecordKind("used hand-over", float, "a hand-over token of the last minutes could be used again")
_EXPIRE_AFTER: Final = 1_000
"""Uses after which the records of expired tokens are forgotten."""
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "agent", "task", "jti", "iat", "exp"})


class HandOver(NamedTuple):
    """A verified token of a caller: its id, its task, and its expiry in seconds since the epoch."""

    id: str
    task: str
    expires: int


class HandOvers:
    """The hand-over tokens of a gateway. `base_url` is its public address, without a slash at its end."""

    def __init__(self, keys: KeyRing[SigningKey], records: Records[float], *, base_url: str, live: LiveValues) -> None:
        self._signer = TokenSigner(keys)
        self._records = records
        self._live = live
        self._issuer = base_url
        self._audience = f"{base_url}/tasks"
        self._uses = 0
        self._ends: list[tuple[int, str, str]] = []
        """The expiry of each token, its id and its caller: a heap."""
        self._open: Counter[str] = Counter()

    def issue(self, principal: Principal, task: Task, agent: str, life: int, now: float) -> str | Reason:
        """Return a token for an agent of the principal's user. It ends with the task at the latest."""
        self._forget(now)
        if self._open[principal.key] >= MAX_OPEN:
            problem = f"{MAX_OPEN} tokens of this caller have not expired, as many as one may have"
            return reasons.TASK_HAND_OVER_INVALID.reason(problem=problem)
        identifier = secrets.token_hex(12)
        expires = now + life if task.expires is None else min(now + life, task.expires)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": principal.job,
            "agent": agent,
            "task": task.id,
            "jti": identifier,
            "iat": int(now),
            "exp": int(expires),
        }
        token = self._signer.sign(TYPE, claims, now)
        self._live.hold(f"hand-over {identifier}", [token], OF_THE_GATEWAY)
        heappush(self._ends, (int(expires), identifier, principal.key))
        self._open[principal.key] += 1
        return token

    def _forget(self, now: float) -> None:
        """Look for expired tokens no longer."""
        while self._ends and self._ends[0][0] <= now:
            _, identifier, caller = heappop(self._ends)
            self._live.release(f"hand-over {identifier}")
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def read(self, token: str, principal: Principal, now: float) -> HandOver | Reason:
        """Return a token of this caller. `task/unknown` if the token is not this gateway's, or for somebody else."""
        claims = self._signer.verify(TYPE, token)
        expected = {"iss": self._issuer, "aud": self._audience, "sub": principal.job, "agent": principal.id}
        if claims is None or {name: claims.get(name) for name in expected} != expected:
            return reasons.TASK_UNKNOWN.reason()
        task, identifier, expires = claims.get("task"), claims.get("jti"), claims.get("exp")
        if claims.keys() != _CLAIMS or type(task) is not str or type(identifier) is not str or type(expires) is not int:
            return reasons.TASK_UNKNOWN.reason()
        return reasons.TASK_EXPIRED.reason() if now >= expires else HandOver(identifier, task, expires)

    async def use(self, found: HandOver) -> bool:
        """Note the use of a token. Return whether this was the first one. Raises `StoreError`."""
        self._uses += 1
        if self._uses % _EXPIRE_AFTER == 0:
            await self._records.expire()
        # The clocks of gateways may differ by some seconds.
        return await self._records.add(found.id, float(found.expires), expires=found.expires + MAX_LIFE)
