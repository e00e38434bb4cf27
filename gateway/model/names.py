"""Names of people and groups, in the forms in which they compare. Pure.

People compare without regard to case, since another spelling must not approve a call of its own. The case of a group
counts, since a group grants.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def canonical_group(name: str) -> str:
    """Return the name of a group in the form for comparisons: NFKC, without spaces around it."""
    return unicodedata.normalize("NFKC", name).strip()


def canonical_groups(names: Iterable[str]) -> frozenset[str]:
    """Return names of groups in the form for comparisons, without empty ones."""
    return frozenset(filter(None, map(canonical_group, names)))


def canonical_person(name: str) -> str:
    """Return the name of a person in the form for comparisons: NFKC, without case and spaces around it."""
    return unicodedata.normalize("NFKC", canonical_group(name).casefold())
