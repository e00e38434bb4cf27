"""SPIFFE IDs (SPIFFE-ID standard, sections 2.1 to 2.4). Pure."""

from __future__ import annotations

import re
from typing import Final

SCHEME: Final = "spiffe://"
MAX_LENGTH: Final = 2048
"""Bytes (section 2.3)."""

_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*)")


def trust_domain(value: str) -> str | None:
    """Return the trust domain of a SPIFFE ID; `None` for anything else."""
    match = _ID.fullmatch(value)
    if match is None or len(value) > MAX_LENGTH or any(part in {".", ".."} for part in match[2].split("/")):
        return None
    return match[1]


def workload(value: str) -> str | None:
    """Return the trust domain of a workload's SPIFFE ID: an ID with a path. An ID without is the domain itself."""
    domain = trust_domain(value)
    return domain if domain is not None and len(value) > len(SCHEME) + len(domain) else None
