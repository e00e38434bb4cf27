"""Marks on plans that come from files: an Ed25519 signature, or the MAC of the gateway that compiled the plan.

The first line of a file has the mark, and the mark covers every byte after the line. Nothing of a plan is unpacked before its mark is
found good.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.config.formats import ed25519_bytes, ed25519_text

_NAME: Final = b"opagate-plan-1"
_SIGNED: Final = b"ed25519"
_OWN: Final = b"mac"
_DOMAIN: Final = b"opagate plan\0"
_LONGEST: Final = 256
"""Bytes of the first line."""


class UntrustedPlan(Exception):
    """A plan without a good mark. The text is a clause about the file."""


@dataclass(frozen=True, slots=True, repr=False)
class PlanTrust:
    """The marks that count at one gateway: of its own key, and of public keys. Without both, no mark counts."""

    own: bytes | None = None
    keys: tuple[str, ...] = ()

    def open_plan(self, content: bytes) -> bytes:
        """Return the packed plan in a file. Raise `UntrustedPlan`."""
        head, end, _ = content[:_LONGEST].partition(b"\n")
        packed = content[len(head) + 1 :]
        match head.split(b" ") if end else []:
            case [name, kind, mark] if name == _NAME and kind == _SIGNED:
                self._require_signed(_decode(mark), packed)
            case [name, kind, mark] if name == _NAME and kind == _OWN:
                self._require_own(_decode(mark), packed)
            case _:
                raise UntrustedPlan("has no signature")
        return packed

    def _require_signed(self, signature: bytes, packed: bytes) -> None:
        for key in self.keys:
            try:
                Ed25519PublicKey.from_public_bytes(ed25519_bytes(key)).verify(signature, _DOMAIN + packed)
            except (InvalidSignature, ValueError):
                continue
            return
        raise UntrustedPlan("is not signed by a key of policy.plan_keys, or was changed")

    def _require_own(self, mac: bytes, packed: bytes) -> None:
        if self.own is None or not hmac.compare_digest(mac, _mac(self.own, packed)):
            raise UntrustedPlan("was compiled for another gateway, or was changed")


def sign(packed: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return a signed file."""
    return _marked(_SIGNED, key.sign(_DOMAIN + packed), packed)


def authenticate(packed: bytes, own: bytes) -> bytes:
    """Return a file with the MAC of a gateway."""
    return _marked(_OWN, _mac(own, packed), packed)


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public key for `policy.plan_keys`."""
    return ed25519_text(key.public_key().public_bytes_raw())


def _marked(kind: bytes, mark: bytes, packed: bytes) -> bytes:
    return b" ".join((_NAME, kind, base64.b64encode(mark))) + b"\n" + packed


def _mac(key: bytes, packed: bytes) -> bytes:
    return hmac.digest(key, _DOMAIN + packed, "sha256")


def _decode(mark: bytes) -> bytes:
    try:
        return base64.b64decode(mark, validate=True)
    except ValueError:
        raise UntrustedPlan("has a damaged signature") from None
