"""Findings about the credentials shown to upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.authority import LeasedCredential
from gateway.config.brokers import BrokeredCredential, ExchangeBroker
from gateway.config.connections import callback_of, server_of
from gateway.config.credentials import HeaderCredential
from gateway.config.values import UnresolvedSecret
from gateway.inspection.credentials.live_values import is_telling
from gateway.inspection.credentials.named import strength
from gateway.surfaces.cli.approval_checks import ApprovalFinding
from gateway.upstreams.stdio.private_folder import choose_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import SecretStr

    from gateway.config import Configuration
    from gateway.config.brokers import IdJag
    from gateway.config.hand_over import HandOver
    from gateway.config.settings import Upstream

_STANDING = "it lives for ever, and no end of a task revokes it (OWASP NHI7)"


def look(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield a finding for each upstream with a credential."""
    for name, upstream in settings.upstreams.items():
        kind, credential = upstream.credential_kind, upstream.credential
        yield from _describe_unknown(name, upstream)
        if kind == "standing":
            remedy = f"lend one where the system can take it: upstreams.{name}.credential, docs/lent-credentials.md"
            yield ApprovalFinding(f"{name}: a standing credential; {_STANDING}", remedy, is_warning=True)
        elif isinstance(credential, LeasedCredential) and not credential.scopes:
            remedy = f"name them in upstreams.{name}.credential.scopes: {{read: [...], write: [...]}}"
            yield ApprovalFinding(
                f"{name}: no effect has scopes, so every call is refused (credential/scope)", remedy, is_warning=True
            )
        elif isinstance(credential, LeasedCredential):
            effects = ", ".join(sorted(credential.scopes))
            yield ApprovalFinding(f"{name}: leased ({kind}) for tools that {effects}")
        if isinstance(credential, LeasedCredential) and credential.hand_over is not None:
            yield _describe_hand_over(name, credential.hand_over, settings.state)
        if isinstance(credential, BrokeredCredential) and server_of(settings.brokers[credential.broker]) is not None:
            yield ApprovalFinding(
                f"{name}: each user connects once for each agent. The gateway lists tools without a user, so without a"
                " credential; what users' own lists show is pinned too"
            )
    for name, broker in settings.brokers.items():
        if (server := server_of(broker)) is not None:
            yield ApprovalFinding(
                f"broker {name}: users connect at {server.issuer}; register {callback_of(settings.base_url, name)} there"
            )
        if isinstance(broker, ExchangeBroker) and broker.id_jag is not None:
            yield _describe_assertions(name, broker, broker.id_jag)


def _describe_unknown(name: str, upstream: Upstream) -> Iterator[ApprovalFinding]:
    """Yield a finding for each secret of an upstream that the gateway cannot tell apart from ordinary text."""
    places: dict[str, SecretStr] = {
        f"env.{variable}": value for variable, value in upstream.env.items() if strength(variable) is not None
    }
    if isinstance(upstream.credential, HeaderCredential):
        places["credential.value"] = upstream.credential.value
    for place, secret in places.items():
        if isinstance(secret, UnresolvedSecret):
            continue
        if not is_telling(secret.get_secret_value().rpartition(" ")[2]):
            yield ApprovalFinding(
                f"{name}: {place} is too short or too ordinary to be concealed in answers of other systems",
                "use a generated value of at least twelve letters and digits, docs/credentials.md",
                is_warning=True,
            )


def _describe_assertions(name: str, broker: ExchangeBroker, given: IdJag) -> ApprovalFinding:
    found = (
        f"broker {name}: {given.idp} vouches for users at {broker.issuer} (ID-JAG, client {broker.client_id!r} there)"
    )
    if given.subject != "caller_token":
        return ApprovalFinding(found)
    remedy = "ask the provider for ID tokens of the gateway's own client: subject: id_token, docs/lent-credentials.md"
    return ApprovalFinding(
        f"{found}; its proof is the access token of the agent, which the draft does not name", remedy, is_warning=True
    )


def _describe_hand_over(name: str, hand_over: HandOver, state: Path) -> ApprovalFinding:
    renewal = "a renewal replaces it" if hand_over.may_renew else "a renewal starts another process"
    if hand_over.file is None:
        return ApprovalFinding(f"{name}: handed over to a process for each task; {renewal}")
    folder, is_in_memory = choose_folder(state)
    found = f"{name}: handed over in a file of {folder}, for a process for each task; {renewal}"
    if is_in_memory:
        return ApprovalFinding(found)
    return ApprovalFinding(
        f"{found}; the folder is on a disk, which may keep what was removed",
        "let the gateway write to /dev/shm, or set XDG_RUNTIME_DIR to a folder of a tmpfs",
        is_warning=True,
    )
