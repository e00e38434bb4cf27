"""Destinations inside of the operator's own domains. Pure."""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.destinations.normalise import Destination, DestinationKind

_LOCAL: Final = re.compile(r"[a-z0-9._+-]+", re.ASCII)
"""A plain local part. `eve%evil.example@corp.example` is passed on to another domain by some servers."""
_NAME: Final = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z0-9-]+", re.ASCII)


def is_inside(destination: Destination, domains: tuple[str, ...]) -> bool:
    """Return whether a mail address or a host belongs to one of some domains, or to a domain below it."""
    if not domains or destination.kind not in {DestinationKind.MAIL, DestinationKind.HOST} or destination.mixed:
        return False
    local, at, host = destination.value.rpartition("@")
    if (at and _LOCAL.fullmatch(local) is None) or _NAME.fullmatch(host) is None:
        return False
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
