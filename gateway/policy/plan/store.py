"""Plans in files: the plan of the shipped policy in this package, and plans beside folders of a policy.

A plan names the rules that it was made of by a digest, and is used for these rules alone. Data, such as grants and settings,
are no part of it. A plan decides in the place of its rules, so a plan beside a folder needs a mark that counts (`signatures.py`).
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.model.errors import PolicyBroken
from gateway.policy.folder.bundle import Suite
from gateway.policy.plan.signatures import PlanTrust

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


def pack(stored: StoredPlan) -> bytes:
    return lzma.compress(msgspec.json.encode(stored), preset=9)


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
