"""The form of presented credentials: one Authorization header, a known scheme, a token (RFC 6750, 7235, 9449). Pure.

Tokens are taken from the Authorization header only, never from a query or a body (OAuth 2.1 section 5.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.identity.jose import MAX_TOKEN
from gateway.identity.outcomes import Fault

if TYPE_CHECKING:
    from gateway.model import Credentials

_HEADER: Final = re.compile(r"(bearer|dpop) +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Presentation:
    """A token and how it was sent."""

    token: str
    dpop: bool


def presentation(credentials: Credentials) -> Presentation | Fault | None:
    """The token of a request; `None` when there is no Authorization header."""
    match credentials.authorization:
        case ():
            return None
        case (value,):
            return _read(value)
        case _:
            return Fault("identity/malformed", "there is more than one Authorization header")


def _read(value: str) -> Presentation | Fault:
    if len(value) > MAX_TOKEN + len("Bearer "):
        return Fault("identity/malformed", "the token is longer than 16 KiB")
    match = _HEADER.fullmatch(value)
    if match is None:
        return Fault("identity/malformed", "the Authorization header is not `Bearer` or `DPoP` with a token")
    return Presentation(token=match[2], dpop=match[1].lower() == "dpop")
