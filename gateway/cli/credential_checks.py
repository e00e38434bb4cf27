"""Findings about the credentials that the gateway shows to upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.approval_checks import Told
from gateway.config.authority import LeasedCredential

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Configuration

_STANDING = "it lives for ever, and no end of a task revokes it (OWASP NHI7)"


def look(settings: Configuration) -> Iterator[Told]:
    """Yield a finding for each upstream with a credential."""
    for name, upstream in settings.upstreams.items():
        kind, credential = upstream.credential_kind, upstream.credential
        if kind == "standing":
            remedy = f"lend one where the system can take it: upstreams.{name}.credential, docs/lent-credentials.md"
            yield Told(f"{name}: a standing credential; {_STANDING}", remedy, is_warning=True)
        elif isinstance(credential, LeasedCredential) and not credential.scopes:
            remedy = f"name them in upstreams.{name}.credential.scopes: {{read: [...], write: [...]}}"
            yield Told(
                f"{name}: no effect has scopes, so every call is refused (credential/scope)", remedy, is_warning=True
            )
        elif isinstance(credential, LeasedCredential):
            effects = ", ".join(sorted(credential.scopes))
            yield Told(f"{name}: leased ({kind}) for tools that {effects}")
