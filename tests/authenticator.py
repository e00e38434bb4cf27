"""An authenticator in software: it makes passkeys and signs challenges as a browser passes them on (WebAuthn level 3)."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    """One passkey of one origin. `counts`: it counts its signatures. `verifies`: it asks its person for a PIN."""

    origin: str
    id: bytes = b"a passkey of tests"
    counts: bool = True
    verifies: bool = True
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(self, options: dict[str, Any]) -> str:
        """Return the answer to options for a new passkey, as the page sends it."""
        numbers = self.key.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        public = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + public
        data = self._data(_ATTESTED) + attested
        statement = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options["challenge"])
        return self._answer(clientDataJSON=client, attestationObject=statement)

    def sign(self, options: dict[str, Any], **client: Any) -> str:
        """Return the answer to options for a signature. `client` are other members of the client data."""
        self.count += self.counts
        data, written = self._data(0), self._client("webauthn.get", options["challenge"], **client)
        signature = self.key.sign(data + hashlib.sha256(written).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(clientDataJSON=written, authenticatorData=data, signature=signature)

    def _data(self, flags: int) -> bytes:
        flags |= _PRESENT | (_VERIFIED if self.verifies else 0)
        host = urlsplit(self.origin).hostname or ""
        return hashlib.sha256(host.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str, **more: Any) -> bytes:
        document = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False, **more}
        return json.dumps(document).encode()

    def _answer(self, **parts: bytes) -> str:
        response = {name: encode(part) for name, part in parts.items()}
        name = encode(self.id)
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})


def encode(value: bytes) -> str:
    """Return bytes in base64url."""
    return urlsafe_b64encode(value).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Return the bytes of a text in base64url."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
