"""Task tokens: JWTs (RFC 7519) signed by the gateway, each the name of a task for its own caller. A token gives nothing
by itself: the caller has to authenticate as usual, and to own the token. The gateway accepts only its own form: one
algorithm, key and type, and a fixed set of claims. Source: RFC 8725 sections 3.1, 3.8, 3.9, 3.11."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from joserfc import jwt
from joserfc.errors import JoseError

from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.model.caller import Principal
    from gateway.model.task import Task, TaskEnd

ALGORITHM: Final = "ES256"
TYPE: Final = "opagate-task+jwt"
MAX_TOKEN: Final = 4_096
"""Characters. A longer one is refused unread."""


class TaskTokens:
    """`base_url` is the gateway's public address, without a slash at its end."""

    def __init__(self, key: ECKey, *, base_url: str, live: LiveValues) -> None:
        self._key = key
        self._live = live
        self._kid = key.thumbprint()
        self._issuer = base_url
        self._audience = f"{base_url}/mcp"

    def issue(self, principal: Principal, task: Task, now: float) -> str:
        """Return a token with the life of the task. Raises `ValueError` for a task without expiry."""
        if task.expires is None:
            raise ValueError("a task without expiry has no token")
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": principal.key,
            "jti": task.id,
            "iat": int(now),
            "exp": int(task.expires),
        }
        token = jwt.encode(self._header, claims, self._key, algorithms=[ALGORITHM])
        self._live.hold(task.id, [token], OF_THE_GATEWAY)
        return token

    def task_of(self, token: str, principal: Principal, now: float) -> str | Reason:
        """Return the id of the token's task. `task/unknown` if the token is not this gateway's or not this caller's."""
        if len(token) > MAX_TOKEN or not token.isascii():
            return reasons.TASK_UNKNOWN.reason()
        try:
            read = jwt.decode(token, self._key, algorithms=[ALGORITHM])
        except (JoseError, ValueError):
            return reasons.TASK_UNKNOWN.reason()
        claims = read.claims
        task, expires = claims.get("jti"), claims.get("exp")
        expected = {"iss": self._issuer, "aud": self._audience, "sub": principal.key}
        if read.header != self._header or {name: claims.get(name) for name in expected} != expected:
            return reasons.TASK_UNKNOWN.reason()
        if claims.keys() != {*expected, "jti", "iat", "exp"} or not isinstance(task, str) or type(expires) is not int:
            return reasons.TASK_UNKNOWN.reason()
        if now >= expires:
            return reasons.TASK_EXPIRED.reason()
        # The gateway before this one may have issued it.
        self._live.hold(task, [token], OF_THE_GATEWAY)
        return task

    def end(self, task: str, _how: TaskEnd) -> None:
        """Have the token of an ended task forgotten."""
        self._live.release(task)

    @property
    def _header(self) -> dict[str, str]:
        return {"alg": ALGORITHM, "typ": TYPE, "kid": self._kid}


def is_token(text: str) -> bool:
    """Return whether a text has the form of a token; task ids have no dots."""
    return text.count(".") == 2
