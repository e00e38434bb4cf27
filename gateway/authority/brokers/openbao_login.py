"""The gateway's own token at OpenBao: a given one, or one by a login with a JWT or an AppRole."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final

from gateway.base.concurrency.background import in_thread
from gateway.wire.https_client import HttpsClient, NoAnswer, read_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.brokers import OpenBaoBroker

_MARGIN: Final = 30.0
"""Seconds before its end from which on a token of a login is replaced."""


class Login:
    """The source of the gateway's token. A child token dies with its parent, so the parent has to live longer."""

    def __init__(self, settings: OpenBaoBroker, http: HttpsClient, clock: Callable[[], float]) -> None:
        self._settings = settings.auth
        self._http = http
        self._clock = clock
        self._token: str | None = None
        self._expires = 0.0
        is_socket = settings.url.startswith("unix:")
        self.base = "http://localhost" if is_socket else settings.url.rstrip("/")
        self.namespace = {} if settings.namespace is None else {"x-vault-namespace": settings.namespace}

    async def token(self, now: float, seconds: float = 0.0) -> str | NoAnswer:
        """Return a token valid for the given seconds, if OpenBao grants so long a token."""
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        if self._token is not None and now + seconds + _MARGIN < self._expires:
            return self._token
        return await self._log_in()

    def forget(self) -> None:
        """Log in anew for the next request."""
        self._token = None

    async def _log_in(self) -> str | NoAnswer:
        body = await self._proof()
        if isinstance(body, NoAnswer):
            return body
        method = self._settings.mount or ("jwt" if self._settings.jwt is not None else "approle")
        url = f"{self.base}/v1/auth/{method}/login"
        headers = {"x-vault-request": "true", **self.namespace}
        answer = await self._http.send("POST", url, headers=headers, body=json.dumps(body).encode())
        if isinstance(answer, NoAnswer):
            return answer
        document = read_object(answer) if answer.status == 200 else None
        auth = None if document is None else document.get("auth")
        token, life = (auth.get("client_token"), auth.get("lease_duration")) if isinstance(auth, dict) else (None, None)
        if not isinstance(token, str) or not isinstance(life, int) or isinstance(life, bool):
            return NoAnswer(f"the login at auth/{method} answered {answer.status}")
        # A life of 0 is OpenBao's word for no end.
        self._token, self._expires = token, self._clock() + life if life else math.inf
        return token

    async def _proof(self) -> dict[str, str] | NoAnswer:
        role = self._settings.role or ""
        if self._settings.approle is not None:
            return {"role_id": role, "secret_id": self._settings.approle.get_secret_value()}
        path = self._settings.jwt
        assert path is not None  # noqa: S101 - the settings have exactly one method
        try:
            text = await in_thread(lambda: path.read_text("ascii"))
        except (OSError, UnicodeDecodeError):
            return NoAnswer(f"the JWT {path} cannot be read")
        return {"role": role, "jwt": text.strip()}
