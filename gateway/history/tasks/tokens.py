"""Names of declared tasks in requests: their tokens, and the selection of a task by token or id. Pure.

Task tokens are JWTs (RFC 7519) signed by the gateway, each the name of a task for its own caller. A token gives nothing by
itself: the caller has to authenticate as usual, and to own the token. The gateway accepts only its own form: one algorithm,
key and type, and a fixed set of claims. Source: RFC 8725 sections 3.1, 3.8, 3.9, 3.11.

A client names the task in the header `Opagate-Task`, or in the message, `_meta["io.opagate/task"]`. The message goes to the
upstream unchanged, so the header hides the task's name from the upstream."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.errors import JoseError

from gateway.base.keys.key_ring import find_signer
from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.base.keys.key_ring import KeyRing, SigningKey
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.model.caller import Principal
    from gateway.model.task import Task, TaskEnd
    from gateway.model.wire import Message
    from gateway.wire.protocol.headers import HeaderFields

ALGORITHM: Final = "ES256"
TYPE: Final = "opagate-task+jwt"
MAX_TOKEN: Final = 4_096
"""Characters. A longer one is refused unread."""


class TokenSigner:
    """The signatures of tokens about tasks. The newest key that may sign now signs, and each key verifies."""

    def __init__(self, keys: KeyRing[SigningKey]) -> None:
        self._keys = keys

    def sign(self, kind: str, claims: dict[str, str | int], now: float) -> str:
        """Return a token of a kind (`typ`)."""
        signer = find_signer(self._keys, now)
        return jwt.encode(_header(kind, signer), claims, signer.key, algorithms=[ALGORITHM])

    def verify(self, kind: str, token: str) -> dict[str, Any] | None:
        """Return the claims of a token under a key of the gateway, if the header names kind and key. Its time is not looked at."""
        if len(token) > MAX_TOKEN or not token.isascii():
            return None
        for each in self._keys.keys:
            with suppress(JoseError, ValueError):
                read = jwt.decode(token, each.key, algorithms=[ALGORITHM])
                return read.claims if read.header == _header(kind, each) else None
        return None


def _header(kind: str, key: SigningKey) -> dict[str, str]:
    return {"alg": ALGORITHM, "typ": kind, "kid": key.kid}


class TaskTokens:
    """`base_url` is the gateway's public address, without a slash at its end."""

    def __init__(self, keys: KeyRing[SigningKey], *, base_url: str, live: LiveValues) -> None:
        self._signer = TokenSigner(keys)
        self._live = live
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
        token = self._signer.sign(TYPE, claims, now)
        self._live.hold(task.id, [token], OF_THE_GATEWAY)
        return token

    def task_of(self, token: str, principal: Principal, now: float) -> str | Reason:
        """Return the id of the token's task. `task/unknown` if the token is not this gateway's or not this caller's."""
        claims = self._signer.verify(TYPE, token)
        if claims is None:
            return reasons.TASK_UNKNOWN.reason()
        task, expires = claims.get("jti"), claims.get("exp")
        expected = {"iss": self._issuer, "aud": self._audience, "sub": principal.key}
        if {name: claims.get(name) for name in expected} != expected:
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


def is_token(text: str) -> bool:
    """Return whether a text has the form of a token; task ids have no dots."""
    return text.count(".") == 2


HEADER: Final = b"opagate-task"
META: Final = "io.opagate/task"


def select_task(message: Message | None, fields: HeaderFields) -> str | Reason | None:
    """Return the id or token in the request, `None` without any. Refuse a request with two names, or with an impossible
    name. An empty name is refused too: its caller must not get the implicit task."""
    sent = fields.get(HEADER)
    meta = None if message is None else message.params.get("_meta")
    if isinstance(meta, Mapping) and META in meta:
        value = meta[META]
        if not isinstance(value, str):
            return reasons.TASK_UNKNOWN.reason()
        named = [*_names(sent or ()), value]
    elif sent is None:
        return None
    else:
        named = _names(sent)
    if len(set(named)) > 1:
        return reasons.TASK_AMBIGUOUS.reason(member=META)
    return named[0] if 0 < len(named[0]) <= MAX_TOKEN else reasons.TASK_UNKNOWN.reason()


def _names(values: tuple[bytes, ...]) -> list[str]:
    return [value.decode("latin-1").strip() for value in values]
