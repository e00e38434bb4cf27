"""The inspection of one call, for tests: the terms as keywords."""

from __future__ import annotations

from typing import Any

from gateway.inspection import inspector
from gateway.inspection.arguments import ArgumentDetector
from gateway.inspection.credentials.finding import KnownShingles
from gateway.inspection.credentials.index import CredentialIndex
from gateway.model.call import Call
from gateway.model.content import CallContent


def analyse(
    call: Call,
    *,
    detector: ArgumentDetector | None = None,
    known: KnownShingles | CredentialIndex | None = None,
    **terms: Any,
) -> CallContent:
    """Return the content of a call. `terms` are the members of `inspector.Terms`."""
    return inspector.analyse(call, inspector.Terms(**terms), detector, known)
