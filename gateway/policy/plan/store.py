"""Plans in files: the plan of the shipped policy in this package, and plans beside folders of a policy.

A plan names the rules that it was made of by a digest, and is used for these rules alone. Data, such as grants and settings,
are no part of it. A plan decides in the place of its rules, so a plan beside a folder needs a signature that counts. The first
line of a file has the signature (Ed25519), which covers every byte after the line. Nothing is unpacked before it is found good.
"""

from __future__ import annotations

import base64
import hashlib
import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.config.values import ed25519_bytes, ed25519_text
from gateway.model.errors import PolicyBroken
from gateway.policy.folder.bundle import Suite

SHIPPED: Final = Path(__file__).with_name("shipped.plan")
SUFFIX: Final = ".plan"
"""The end of the name of a file beside a policy folder."""
_MOST: Final = 64 * 2**20
"""Bytes of a plan."""
_MOST_PACKED: Final = 16 * 2**20


class StoredPlan(msgspec.Struct, frozen=True):
    """A plan as OPA wrote it, with the digest of its rules and the version of OPA."""

    rules: str
    opa: str
    plan: msgspec.Raw
    format: Literal[1] = 1


def digest(modules: Iterable[tuple[str, str]]) -> str:
    """Return the digest of rules, by their names and texts."""
    found = hashlib.sha256()
    for module in sorted(modules):
        for part in module:
            encoded = part.encode()
            found.update(len(encoded).to_bytes(8, "big") + encoded)
    return found.hexdigest()


def digest_judged(rules: str, suites: Iterable[Suite], judge: bytes) -> str:
    """Return a digest of rules, of tests with their data, and of the judging code: all that decides whether the rules pass."""
    found = hashlib.sha256(rules.encode() + judge)
    for suite in suites:
        found.update(digest((*suite.policy.modules, *suite.policy.tests, ("data", suite.policy.data))).encode())
    return found.hexdigest()


def digest_of(plan: bytes) -> str:
    """Return the SHA-256 digest of a plan, which identifies the plan to people."""
    return hashlib.sha256(plan).hexdigest()


def pack(stored: StoredPlan, *, preset: int = 9) -> bytes:
    """Return the content of a file with a plan. `preset` is the effort of LZMA, up to 9."""
    return lzma.compress(msgspec.json.encode(stored), preset=preset)


def unpack(packed: bytes, name: str) -> StoredPlan:
    """Read a packed plan. Raise `PolicyBroken`, naming the file."""
    unpacker = lzma.LZMADecompressor()
    try:
        content = unpacker.decompress(packed, _MOST)
        if not unpacker.eof or unpacker.unused_data:
            raise PolicyBroken(f"{name} is no compiled policy, or too large", _AGAIN)
        return msgspec.json.decode(content, type=StoredPlan)
    except (lzma.LZMAError, msgspec.DecodeError):
        raise PolicyBroken(f"{name} is no compiled policy of this version", _AGAIN) from None


_AGAIN: Final = "delete it, or run `opagate policy build --sign KEY` again"


def read_shipped() -> StoredPlan:
    """Return the plan of the shipped policy, which is a part of this package."""
    return unpack(SHIPPED.read_bytes(), SHIPPED.name)


def find(rules: str, place: Path, trust: PlanTrust) -> StoredPlan | None:
    """Return the plan in a file, `None` if it was made of other rules, or there is no file.

    Raise `UntrustedPlan`, and `PolicyBroken` for a file that is no plan.
    """
    try:
        with place.open("rb") as file:
            content = file.read(_MOST_PACKED)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyBroken(f"{place} cannot be read: {error.strerror}", "make it readable to the gateway") from None
    stored = unpack(trust.open_plan(content), str(place))
    return stored if stored.rules == rules else None


def beside(folder: Path) -> Path:
    """Return the place of the plan of a folder."""
    return folder.parent / f"{folder.name}{SUFFIX}"


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
