"""Plans in files: the plan of the shipped policy in this package, and plans beside folders of a policy.

A plan names the rules that it was made of by a digest, and is used for these rules alone. Data, such as grants and settings,
are no part of it.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.errors import PolicyBroken

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


_AGAIN: Final = "delete it, or run `opagate policy compile` again"


def find(rules: str, places: Sequence[Path]) -> StoredPlan | None:
    """Return the first plan that was made of these rules. Raise `PolicyBroken` for a file that is no plan."""
    for place in places:
        try:
            with place.open("rb") as file:
                packed = file.read(_MOST_PACKED)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PolicyBroken(f"{place} cannot be read: {error.strerror}", "make it readable to the gateway") from None
        stored = unpack(packed, str(place))
        if stored.rules == rules:
            return stored
    return None


def beside(folder: Path) -> Path:
    """Return the place of the plan of a folder."""
    return folder.parent / f"{folder.name}{SUFFIX}"
