"""Passkeys (WebAuthn level 3), and the signatures of votes by these. Pure: frozen values without I/O or clock.

The challenge of a signature is the digest of the vote: the question as shown, the answer, its reach, and the person. So it signs this
vote and no other, and whoever has the journal can verify it. `passkey_checks` has the checks.
"""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.base.json import canonical

if TYPE_CHECKING:
    from gateway.authority.approvals.model import Person, Vote
    from gateway.model.wire import JsonObject

EVENT: Final = "passkey"
"""Kind of the journal's entries about passkeys."""
_VERSION: Final = 1
_MILLISECONDS: Final = 120_000
"""For a person to sign."""


class Passkey(Struct, frozen=True):
    """A registered passkey. `id` and `public_key` (COSE) are in base64url. `count` is the authenticator's own number of signatures.

    `origin` is the origin of the page of its registration. `registered` and `used` are in seconds since the epoch.
    """

    id: str
    person: str
    issuer: str
    name: str
    public_key: str
    count: int
    origin: str
    registered: float
    used: float | None = None

    def is_of(self, person: Person) -> bool:
        """Return whether the passkey is a person's own."""
        return (self.person, self.issuer) == (person.id, person.issuer)


class InvalidPasskeyError(Exception):
    """A credential or a signature that does not verify. The text says why."""


class RepeatedCountError(InvalidPasskeyError):
    """A signature whose count is no later one: a copy of the passkey `key` may exist."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def is_installed() -> bool:
    """Return whether the package for passkeys is installed."""
    return importlib.util.find_spec("webauthn") is not None


def find_relying_party(origin: str) -> str | None:
    """Return the id of the relying party for the pages of an origin; `None` if browsers give passkeys to no such page.

    Browsers want https or the name `localhost`, and a name in the place of an address.
    """
    parts = urlsplit(origin)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if host and (parts.scheme == "https" or host == "localhost") else None
    return None


def find_passkey_problem(address: str) -> str | None:
    """Return why no passkey works at an address of the console, `None` if passkeys do."""
    if find_relying_party(origin_of(address)) is None:
        return "browsers want `public_url` with https and a name, or http://localhost"
    return None if is_installed() else "the extra opagate[passkeys] is not installed"


def origin_of(address: str) -> str:
    """Return the origin of an address as browsers write it: without the port of its scheme."""
    parts = urlsplit(address)
    is_usual = parts.port in {None, {"https": 443, "http": 80}.get(parts.scheme)}
    return f"{parts.scheme}://{parts.hostname or ''}{'' if is_usual else f':{parts.port}'}"


def challenge_of_vote(question: str, shown: str, vote: Vote) -> bytes:
    """Return the challenge that a passkey signs for a vote on a question, as it was shown."""
    return _digest(
        {
            "sign": "vote",
            "question": question,
            "shown": shown,
            "answer": vote.answer,
            "scopes": list(vote.scopes),
            "end_task": vote.end_task,
            "person": vote.person.id,
            "issuer": vote.person.issuer,
        }
    )


def challenge_of_registration(code: str, person: Person) -> bytes:
    """Return the challenge of a registration by an invitation, which works once."""
    return _digest({"sign": "registration", "code": code, "person": person.id, "issuer": person.issuer})


def _digest(document: JsonObject) -> bytes:
    return hashlib.sha256(canonical.digest({"v": _VERSION, **document}).encode("ascii")).digest()


def request_options(challenge: bytes, origin: str, keys: list[Passkey]) -> dict[str, Any]:
    """Return the options with which a browser asks one of the passkeys for a signature."""
    return {
        "challenge": _encode(challenge),
        "rpId": find_relying_party(origin),
        "allowCredentials": [{"type": "public-key", "id": key.id} for key in keys],
        "userVerification": "required",
        "timeout": _MILLISECONDS,
    }


def creation_options(challenge: bytes, origin: str, person: Person, keys: list[Passkey]) -> dict[str, Any]:
    """Return the options with which a browser makes a passkey. `keys` are the person's passkeys so far."""
    handle = hashlib.sha256(f"{person.issuer}\0{person.id}".encode()).digest()
    return {
        "challenge": _encode(challenge),
        "rp": {"id": find_relying_party(origin), "name": "opagate"},
        "user": {"id": _encode(handle), "name": person.id, "displayName": person.known_as or person.id},
        "pubKeyCredParams": [{"type": "public-key", "alg": number} for number in (-8, -7, -257)],
        "excludeCredentials": [{"type": "public-key", "id": key.id} for key in keys],
        "authenticatorSelection": {"residentKey": "preferred", "userVerification": "required"},
        "attestation": "none",
        "timeout": _MILLISECONDS,
    }


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).decode("ascii").rstrip("=")
