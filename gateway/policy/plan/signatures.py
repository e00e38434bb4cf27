"""Ed25519 signatures on plans that come from files.

The first line of a file has the signature, which covers every byte after the line. Nothing of a plan is unpacked before its signature
is found good.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.config.formats import ed25519_bytes, ed25519_text

_NAME: Final = b"opagate-plan-1"
_SIGNED: Final = b"ed25519"
_DOMAIN: Final = b"opagate plan\0"
_LONGEST: Final = 256
"""Bytes of the first line."""


class UntrustedPlan(Exception):
    """A plan without a good signature. The text is a clause about the file."""


@dataclass(frozen=True, slots=True, repr=False)
class PlanTrust:
    """The public keys of a gateway for signed plans."""

    keys: tuple[str, ...] = ()

    def open_plan(self, content: bytes) -> bytes:
        """Return the packed plan in a file. Raise `UntrustedPlan`."""
        head, end, _ = content[:_LONGEST].partition(b"\n")
        packed = content[len(head) + 1 :]
        match head.split(b" ") if end else []:
            case [name, kind, mark] if name == _NAME and kind == _SIGNED:
                self._require_signed(_decode(mark), packed)
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


def sign(packed: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return a signed file."""
    return b" ".join((_NAME, _SIGNED, base64.b64encode(key.sign(_DOMAIN + packed)))) + b"\n" + packed


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public key for `policy.plan_keys`."""
    return ed25519_text(key.public_key().public_bytes_raw())


def _decode(mark: bytes) -> bytes:
    try:
        return base64.b64decode(mark, validate=True)
    except ValueError:
        raise UntrustedPlan("has a damaged signature") from None
