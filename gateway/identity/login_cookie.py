"""A login on its way, sealed in a cookie of its browser: no visitor can fill the gateway's memory.

The seal is Fernet (AES-128-CBC with HMAC-SHA256) of the library cryptography. The cookie binds the provider's answer to
this browser.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from gateway.identity.login import BegunLogin

SECONDS: Final = 600
"""The longest time that a person spends at the provider."""


class LoginSeal:
    """Seals and opens logins. `key` has 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, begun: BegunLogin, now: float) -> str:
        """Return the value of the cookie."""
        return self._fernet.encrypt_at_time(msgspec.json.encode(begun), int(now)).decode("ascii")

    def open(self, cookie: str, now: float) -> BegunLogin | None:
        """Return the login of a cookie, `None` for a foreign or expired cookie."""
        try:
            data = self._fernet.decrypt_at_time(cookie.encode(), SECONDS, int(now))
            return msgspec.json.decode(data, type=BegunLogin)
        except (InvalidToken, msgspec.MsgspecError, ValueError):
            return None
