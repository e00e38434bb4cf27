"""Findings about upstreams: their labels, the credentials that they are shown, the isolation of stdio servers, and the packages these fetch."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.config.authority import GatewayCredential, LeasedCredential
from gateway.config.brokers import BrokeredCredential, ExchangeBroker
from gateway.config.connections import callback_of, server_of
from gateway.config.credentials import HeaderCredential
from gateway.config.loading import load_labels
from gateway.config.packages import find_lockable, find_packages
from gateway.config.values import UnresolvedSecret
from gateway.inspection.credentials.live_values import is_telling
from gateway.inspection.credentials.named import strength
from gateway.model.errors import GatewayError
from gateway.surfaces.cli.people_checks import ApprovalFinding
from gateway.surfaces.cli.terminal import describe_count
from gateway.upstreams.catalogue import lockfile
from gateway.upstreams.catalogue.lockfile import PackagePins
from gateway.upstreams.stdio.isolation.description import describe
from gateway.upstreams.stdio.isolation.launch import build_launchers
from gateway.upstreams.stdio.private_folder import choose_folder
from gateway.upstreams.stdio.spawner import build_environment
from gateway.wire.https_client import HttpsAnswer, HttpsClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic import SecretStr

    from gateway.config import Configuration, Upstream
    from gateway.config.brokers import IdJag
    from gateway.config.hand_over import HandOver
    from gateway.config.packages import PackageLock
    from gateway.upstreams.stdio.isolation.launch import Launcher


_STANDING = "it lives for ever, and no end of a task revokes it (OWASP NHI7)"


def look_at_credentials(settings: Configuration) -> Iterator[ApprovalFinding]:
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


def look_at_labels(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield what the labels file labels, and a warning for each name that no upstream has."""
    if settings.labels is None:
        return
    found = load_labels(settings.labels).upstreams
    patterns = sum(len(each.tools) for each in found.values())
    yield ApprovalFinding(f"{settings.labels} can be read in full: {describe_count(patterns, 'pattern')} of tools")
    for name in sorted(found.keys() - settings.upstreams.keys()):
        near = difflib.get_close_matches(name, settings.upstreams, n=1, cutoff=0.6)
        remedy = f"did you mean {near[0]}?" if near else "correct the name, or remove its labels"
        yield ApprovalFinding(f"{settings.labels}: there is no upstream {name!r}", remedy, is_warning=True)


def look_at_isolation(settings: Configuration) -> Iterator[tuple[str, ApprovalFinding | GatewayError]]:
    """Yield the findings about each stdio upstream, and the error of an isolation that is not to be had."""
    for name, launcher in build_launchers(settings, PackagePins(settings.catalogue.lock).find).items():
        try:
            yield from ((f"isolation of {name}", told) for told in _look_at_server(settings, launcher))
        except GatewayError as error:
            yield f"isolation of {name}", error


def _look_at_server(settings: Configuration, launcher: Launcher) -> Iterator[ApprovalFinding]:
    launcher.require()
    where, found = f"upstreams.{launcher.name}", describe(launcher)
    text = f"{found.by}. Open: {'; '.join(found.leaves_open) or 'nothing beyond its program'}"
    if found.is_open:
        yield ApprovalFinding(text, f"write {where}.isolation: sandbox, and declare its files", is_warning=True)
        yield from _missing(launcher, where)
        return
    yield ApprovalFinding(text)
    if launcher.settings.isolation.kind == "sandbox":
        yield from _withheld(launcher, where)
        yield from _way_back(settings, launcher, where)


def _missing(launcher: Launcher, where: str) -> Iterator[ApprovalFinding]:
    """Yield what is missing for a start."""
    try:
        launcher.find_view(build_environment(launcher.settings, os.environ))
    except OSError as error:
        yield _describe_missing(error, where)


def _describe_missing(error: OSError, where: str) -> ApprovalFinding:
    return ApprovalFinding(
        f"it cannot be started: {error.strerror or error}", f"correct {where}.command, cwd and files", is_warning=True
    )


def _withheld(launcher: Launcher, where: str) -> Iterator[ApprovalFinding]:
    """Yield what the command names and the server does not see."""
    try:
        view = launcher.find_view(build_environment(launcher.settings, os.environ))
    except OSError as error:
        yield _describe_missing(error, where)
        return
    if launcher.keeps_home and not launcher.settings.network:
        yield ApprovalFinding(
            f"{launcher.command[0]} fetches packages, and has no network",
            f"write {where}.network: [443], or install the package and name its program",
            is_warning=True,
        )
    if view.withheld:
        yield ApprovalFinding(
            f"the command names {', '.join(map(str, view.withheld))}, which the server does not see",
            f"if it needs that, write {where}.files.read or files.write; no folder of the gateway's can be opened",
            is_warning=True,
        )


def _way_back(settings: Configuration, launcher: Launcher, where: str) -> Iterator[ApprovalFinding]:
    """Yield whether the server can call the gateway as anybody."""
    network = launcher.settings.network
    reaches = network is True or (not isinstance(network, bool) and settings.port in network)
    named = next((each.kind for each in settings.identity if each.kind in {"development", "anonymous"}), None)
    if reaches and named is not None:
        yield ApprovalFinding(
            f"it reaches the gateway's own port, and identity kind {named} trusts each process of this machine",
            f"name the ports that it needs: {where}.network: [443]; or identify callers by jwt or spiffe",
            is_warning=True,
        )


def look_at_packages(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield what the lock holds of each upstream's packages, and a warning for each package that may become another program."""
    locked: Mapping[str, PackageLock] = {}
    # Another finding tells of a lock that cannot be read.
    with suppress(GatewayError):
        locked = lockfile.load(settings.catalogue.lock).packages
    for name, upstream in settings.upstreams.items():
        yield from _look_at_package(name, upstream, locked.get(name))


def _look_at_package(name: str, upstream: Upstream, lock: PackageLock | None) -> Iterator[ApprovalFinding]:
    lockable = find_lockable(upstream.command or ()) if upstream.isolation.kind != "account" else None
    if lock is not None:
        named = ", ".join(f"{package} {version}" for package, version in lock.versions.items())
        count = len(lock.list_versions())
        yield ApprovalFinding(f"upstream {name} runs {named}: {count} packages, each with its locked digest")
        return
    for package in find_packages(upstream.command or ()):
        if (problem := package.describe_problem()) is not None:
            remedy = package.describe_remedy() + (f", or: opagate catalogue pin {name}" if lockable else "")
            yield ApprovalFinding(f"upstream {name}: {problem}", remedy, is_warning=True)
        elif lockable is not None:
            text = f"upstream {name}: no digest of {package.name} is locked, nor a version of its dependencies"
            yield ApprovalFinding(text, f"opagate catalogue pin {name}")


async def look_at_doors(settings: Configuration) -> list[ApprovalFinding]:
    """Send a request without a token to each upstream with tokens of the gateway. An answer is a way past the gateway."""
    client = HttpsClient(seconds=_DOOR_SECONDS, largest=0)
    found: list[ApprovalFinding] = []
    try:
        for name, upstream in settings.upstreams.items():
            if upstream.url is None or not isinstance(upstream.credential, GatewayCredential):
                continue
            answer = await client.send("POST", upstream.url, headers=_DOOR_HEADERS, body=_PING)
            if isinstance(answer, HttpsAnswer):
                found.append(_describe_door(name, answer.status))
    finally:
        await client.aclose()
    return found


_DOOR_SECONDS: Final = 5.0
_DOOR_HEADERS: Final = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
_PING: Final = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


def _describe_door(name: str, status: int) -> ApprovalFinding:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ApprovalFinding(f"{name}: refuses a request without the gateway's token")
    return ApprovalFinding(
        f"{name}: answers {status} to a request without the gateway's token, so whoever reaches it goes past the gateway",
        "serve it with `opagate.verify` (docs/upstreams.md), or let its network admit the gateway alone",
        is_warning=True,
    )
