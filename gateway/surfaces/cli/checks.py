"""The checks of `opagate check`. Each looks at a part by itself, so a failure does not hide the others."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gateway import config
from gateway.base.keys.key_ring import key_id
from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.config import keys
from gateway.identity.identities import Identities
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import detectors
from gateway.inspection.credentials.finding import explain_unknown_detector
from gateway.inspection.destinations import directory
from gateway.inspection.words.native import choose
from gateway.model.errors import ConfigurationError, GatewayError
from gateway.model.target import Pin
from gateway.policy.folder import folders
from gateway.policy.folder.data_files import DATA_FILES, GRANTS, DataFile
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.observing import describe_ends
from gateway.policy.opa.client import OpaClient
from gateway.policy.policy import Policy
from gateway.record.journal import recovery, storage
from gateway.record.journal.chain import Chain
from gateway.record.telemetry import logs
from gateway.surfaces.cli import (
    catalogue,
    client_values,
    file_checks,
    people_checks,
    policy_checks,
    upstream_checks,
)
from gateway.surfaces.cli.terminal import describe_count, describe_revision
from gateway.surfaces.stored.check import read_present_keys
from gateway.upstreams.catalogue import lockfile
from gateway.upstreams.catalogue.pins import name_of_definition

if TYPE_CHECKING:
    from gateway.config import Configuration, OpaEngine, PolicySettings, TaskLimit
    from gateway.model.target import Target
    from gateway.surfaces.cli.people_checks import ApprovalFinding
    from gateway.upstreams.catalogue.catalogue import UpstreamStatus


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A checked subject with its result, for people. `remedy` is empty if there is nothing to do. `lines` are output of
    a tried program."""

    state: Literal["ok", "warn", "fail"]
    what: str
    found: str
    remedy: str = ""
    lines: tuple[str, ...] = ()


def as_json(finding: CheckResult) -> dict[str, Any]:
    return asdict(finding)


async def run(path: Path) -> list[CheckResult]:
    """Look at everything named in the configuration file."""
    logs.configure("console", "critical")
    try:
        settings = client_values.load(path)
    except config.InvalidSettings as error:
        return [CheckResult("fail", "configuration", problem) for problem in error.problems]
    except ConfigurationError as error:
        return [_describe_failure("configuration", error)]
    found = [CheckResult("ok", "configuration", f"{path} is valid")]
    found += [*_core(settings), *_check_address(settings), *_observing(settings)]
    found += [CheckResult(*each) for each in file_checks.look(settings)]
    found += [item async for item in _identity(settings)]
    found += [item async for item in _policy(settings)]
    database, shadow = file_checks.look_at_store(settings), policy_checks.look_at_shadow(settings.policy)
    for what, look in (("store", database), ("shadow", shadow)):
        try:
            found += [_write_finding(what, each) for each in await look]
        except GatewayError as error:
            found.append(_describe_failure(what, error))
    found += [
        *_inspection(settings),
        *_directory(settings),
        *_lock(settings),
        *_approvals(settings),
    ]
    found += [_write_finding("operators", each) for each in people_checks.look_at_operators(settings)]
    found += [_write_finding("labels", each) for each in upstream_checks.look_at_labels(settings)]
    found += [_write_finding("packages", each) for each in upstream_checks.look_at_packages(settings)]
    found += [_write_finding("credentials", each) for each in upstream_checks.look_at_credentials(settings)]
    found += _isolation(settings)
    found += [item async for item in _signals(settings)]
    grants = _grants(settings)
    if settings.policy.engine.kind == "embedded":
        found += [_describe_warning(item) for item in policy_checks.warnings(grants, list(settings.upstreams))]
        found += [_describe_warning(item) for item in policy_checks.find_ends(grants, time.time())]
    found += [item async for item in _upstreams(settings, grants)]
    found += [_write_finding("doors", each) for each in await upstream_checks.look_at_doors(settings)]
    return [*found, *_journal(settings)]


# --- parts -------------------------------------------------------------------------------------------


def _core(settings: Configuration) -> Iterator[CheckResult]:
    try:
        choice = choose(settings.core)
    except ConfigurationError as error:
        yield _describe_failure("core", error)
        return
    if choice.core is not None:
        yield CheckResult("ok", "core", "the native core is installed and fits")


def _check_address(settings: Configuration) -> Iterator[CheckResult]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        yield CheckResult(
            "warn",
            "listen",
            f"{settings.listen}: {os.strerror(error.errno) if error.errno else error}",
            "fine if the gateway is running; else stop what uses it",
        )
    else:
        yield CheckResult("ok", "listen", f"{settings.listen} is free; callers use {settings.base_url}")


def _observing(settings: Configuration) -> Iterator[CheckResult]:
    """Yield a finding with the end of observe mode for each observed upstream."""
    now = time.time()
    for name, until in settings.observed.items():
        what = f"upstream {name}"
        if until <= now:
            yield CheckResult(
                "ok", what, f"observe mode ended at {describe_ends({name: until})[name]}; remove enforce: false"
            )
            continue
        end = "it has no end" if until == inf else f"until {describe_ends({name: until})[name]}"
        yield CheckResult(
            "warn",
            what,
            f"observe mode: calls pass that policy would refuse; {end}",
            "give observe_until a date" if until == inf else "write grants before that: docs/policy/observing.md",
        )


async def _identity(settings: Configuration) -> AsyncIterator[CheckResult]:
    if not settings.identity:
        yield CheckResult("warn", "identity", "nobody can call: no identity is configured", "add one under identity")
        return
    try:
        identities = Identities.build(settings, clock=time.time)
        await identities.start()
    except GatewayError as error:
        yield _describe_failure("identity", error)
        return
    try:
        for issuer in identities.status():
            if issuer.ready:
                yield CheckResult("ok", "identity", f"{issuer.issuer}: {issuer.keys} keys")
            else:
                problem = issuer.problem or "its keys are not known"
                yield CheckResult(
                    "fail", "identity", f"{issuer.issuer}: {problem}", "see that its keys can be reached from here"
                )
    finally:
        await identities.stop()
    for identity in settings.identity:
        if identity.kind == "development" and identity.reach == "private":
            yield CheckResult("ok", "identity", "development: callers on this machine and at private addresses")
        elif identity.kind in {"development", "anonymous"}:
            yield CheckResult("ok", "identity", f"{identity.kind}: callers on this machine only")


async def _policy(settings: Configuration) -> AsyncIterator[CheckResult]:
    section = settings.policy
    problems = [found async for found in _own_data(section)] if section.has_files else []
    for finding in problems:
        yield finding
    if problems:
        return
    try:
        policy = Policy.build(section, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time)
        await policy.start()
    except GatewayError as error:
        yield _describe_failure("policy", error)
        return
    status = policy.status()
    await policy.stop()
    if status.problem is not None or not status.ready:
        yield CheckResult(
            "fail", "policy", status.problem or "it is not loaded", "start OPA, or mend its bundle or its configuration"
        )
        return
    yield CheckResult("ok", "policy", f"{describe_revision(status.name, status.revision)}, {status.engine} engine")
    if section.limits:
        yield CheckResult("ok", "limits", f"limits in force: {_describe_limits(section.limits)}")
    if section.engine.kind == "opa":
        async for finding in _opa_data(section.engine):
            yield finding
    else:
        yield CheckResult("ok", "grants", f"{_place(section, GRANTS)} can be read in full")
        for finding in _policy_data(settings):
            yield finding


def _policy_data(settings: Configuration) -> Iterator[CheckResult]:
    try:
        yield from (_write_finding(what, told) for what, told in policy_checks.look_at_data(settings))
    except GatewayError as error:
        yield _describe_failure("compiled policy", error)


def _describe_limits(limits: Mapping[str, TaskLimit]) -> str:
    numbers = {name: limit.model_dump(exclude_none=True).items() for name, limit in limits.items()}
    return ", ".join(
        f"{name} " + " and ".join(f"{field} {number}" for field, number in given) for name, given in numbers.items()
    )


def _place(section: PolicySettings, file: DataFile) -> str:
    own = section.grants if file is GRANTS else None
    return str(own or PolicyFolders.configured(section).policy / file.path)


async def _own_data(section: PolicySettings) -> AsyncIterator[CheckResult]:
    """Yield all problems of the policy's data. Loading the policy shows its other problems."""
    try:
        found = await policy_checks.find_data_problems(section)
    except GatewayError:
        return
    for file, problems in found.items():
        for problem in problems:
            yield CheckResult("fail", file.name, f"{_place(section, file)}: {problem}", file.remedy)


async def _opa_data(engine: OpaEngine) -> AsyncIterator[CheckResult]:
    """Yield problems of the data in OPA. OPA takes any policy, so its data have to be checked by the person loading the
    policy."""
    server = OpaClient(engine)
    try:
        for file in DATA_FILES:
            problems = await server.problems(file)
            for problem in problems:
                yield CheckResult("fail", file.name, f"in OPA: {problem}", file.remedy)
            if not problems and file is GRANTS:
                yield CheckResult("ok", "grants", "those in OPA can be read in full")
    except GatewayError as error:
        yield _describe_failure("grants", error)
    finally:
        await server.aclose()


def _grants(settings: Configuration) -> policy_checks.Grants:
    """Return the grants of the operator; of the demo's own grants, only the grants for configured upstreams."""
    section = settings.policy
    try:
        found = policy_checks.read_grants(folders.read_policy(PolicyFolders.configured(section)).data)
    except GatewayError:
        return {}
    own = section.path is not None or section.grants is not None
    return found if own else {name: items for name, items in found.items() if name in settings.upstreams}


def _describe_warning(item: policy_checks.Warned) -> CheckResult:
    return CheckResult("warn", "grants", item.found, item.remedy)


def _inspection(settings: Configuration) -> Iterator[CheckResult]:
    """Yield unreadable rules, and expired or useless suppressions."""
    section = settings.inspection
    try:
        names = detectors(ruleset.load(*section.rules))
    except GatewayError as error:
        yield _describe_failure("inspection.rules", error)
        return
    if section.rules:
        yield CheckResult("ok", "inspection.rules", f"{', '.join(map(str, section.rules))} can be read in full")
    yield from _suppressions(settings, names)


def _directory(settings: Configuration) -> Iterator[CheckResult]:
    section = settings.directory
    if not section.entries and not section.files:
        return
    try:
        found = directory.load_directory(section.entries, section.files)
    except GatewayError as error:
        yield _describe_failure("directory", error)
        return
    yield CheckResult("ok", "directory", f"{len(found):,} people, accounts, hosts and patterns are known")


def _approvals(settings: Configuration) -> Iterator[CheckResult]:
    try:
        for told in people_checks.look(settings):
            yield _write_finding("approvals", told)
    except GatewayError as error:
        yield _describe_failure("approvals", error)


def _isolation(settings: Configuration) -> Iterator[CheckResult]:
    for what, told in upstream_checks.look_at_isolation(settings):
        yield _describe_failure(what, told) if isinstance(told, GatewayError) else _write_finding(what, told)


async def _signals(settings: Configuration) -> AsyncIterator[CheckResult]:
    try:
        async for told in people_checks.look_at_signals(settings):
            yield _write_finding("signals", told)
    except GatewayError as error:
        yield _describe_failure("signals", error)


def _write_finding(what: str, told: ApprovalFinding) -> CheckResult:
    return CheckResult("warn" if told.is_warning else "ok", what, told.found, told.remedy)


def _suppressions(settings: Configuration, names: frozenset[str]) -> Iterator[CheckResult]:
    from fnmatch import fnmatchcase

    today = datetime.now(UTC).date()
    for number, rule in enumerate(settings.inspection.suppressions):
        what = f"inspection.suppressions.{number}"
        if rule.until < today:
            yield CheckResult(
                "warn",
                what,
                f"it ended on {rule.until}: what it covered counts as a credential again",
                "look at it once more, then give it a new date or remove it",
            )
        if not any(fnmatchcase(name, rule.upstream) for name in settings.upstreams):
            yield CheckResult("warn", what, "no upstream has such a name, so it covers nothing", "correct its upstream")
        if (problem := explain_unknown_detector(rule.detector, names)) is not None:
            yield CheckResult("warn", what, problem, "correct its detector")


def _lock(settings: Configuration) -> Iterator[CheckResult]:
    path, trust = settings.catalogue.lock, settings.catalogue.trust
    try:
        lock = lockfile.load(path)
    except GatewayError as error:
        yield _describe_failure("catalogue", error)
        return
    tools, prompts = (
        describe_count(sum(len(lock.of(upstream, subject)) for upstream in lock.upstreams), subject)
        for subject in ("tool", "prompt")
    )
    if path.exists():
        yield CheckResult("ok", "catalogue", f"{path} pins {tools} and {prompts} (trust: {trust})")
    elif trust == "locked":
        yield CheckResult(
            "warn",
            "catalogue",
            f"there is no {path}: no tool can be used",
            "review the tools, then `opagate catalogue pin`",
        )
    else:
        yield CheckResult("ok", "catalogue", f"{path} is written when tools are first seen (trust: first_use)")


async def _upstreams(settings: Configuration, grants: policy_checks.Grants) -> AsyncIterator[CheckResult]:
    if not settings.upstreams:
        yield CheckResult(
            "warn", "upstreams", "there are none", "add one under upstreams, or import some: `opagate init --from FILE`"
        )
        return
    try:
        async with catalogue.open_catalogue(settings) as there:
            tools = list(catalogue.targets_of(there.catalogue, "tool"))
            statuses = there.catalogue.status()
    except GatewayError as error:
        yield _describe_failure("upstreams", error)
        return
    for status in statuses:
        if not status.listed:
            yield _describe_unlisted(status, there.written.lines(status.upstream))
            continue
        for finding in _upstream(status, [tool for tool in tools if tool.upstream == status.upstream], settings):
            yield finding
    listed = {
        status.upstream: frozenset(tool.name for tool in tools if tool.upstream == status.upstream)
        for status in statuses
        if status.listed
    }
    if settings.policy.engine.kind == "embedded":
        for warned in policy_checks.find_unmatched(grants, listed, complete=len(listed) == len(statuses)):
            yield _describe_warning(warned)


def _describe_unlisted(status: UpstreamStatus, lines: tuple[str, ...]) -> CheckResult:
    problem = status.error or "it could not be listed"
    remedy = "see that it runs, and that url or command is right"
    return CheckResult("fail", f"upstream {status.upstream}", problem, remedy, lines)


def _upstream(status: UpstreamStatus, tools: list[Target], settings: Configuration) -> Iterator[CheckResult]:
    what = f"upstream {status.upstream}"
    yield CheckResult("ok", what, f"{describe_count(len(tools), 'tool')}, MCP {status.revision}")
    if status.unlisted is not None:
        yield CheckResult(
            "warn", what, f"its prompts are kept from callers: {status.unlisted}", "mend its prompts/list"
        )
    changed = [name_of_definition(*named) for named, pin in status.states.items() if pin is Pin.CHANGED]
    if changed:
        yield CheckResult(
            "warn",
            what,
            f"not as pinned, and so kept from callers: {', '.join(changed)}",
            f"see `opagate catalogue diff {status.upstream}`",
        )
    unpinned = [name_of_definition(*named) for named, pin in status.states.items() if pin is Pin.UNREVIEWED]
    if unpinned and settings.catalogue.trust == "locked":
        yield CheckResult(
            "warn",
            what,
            f"not pinned, and so kept from callers: {', '.join(unpinned)}",
            f"review, then `opagate catalogue pin {status.upstream}`",
        )
    for warning in status.warnings:
        yield CheckResult("warn", what, warning, "mend the label, or remove it")
    unlabelled = [tool.name for tool in tools if not _has_labels(tool, settings)]
    if unlabelled:
        yield CheckResult(
            "warn",
            what,
            f"without labels, and so taken for writes that leave: {', '.join(unlabelled)}",
            f"label them under upstreams.{status.upstream}.tools",
        )


def _has_labels(tool: Target, settings: Configuration) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(tool.name, pattern) for pattern in settings.upstreams[tool.upstream].tools)


def _journal(settings: Configuration) -> Iterator[CheckResult]:
    folder = settings.journal.path
    try:
        found = read_present_keys(settings)
        if not folder.exists():
            yield _creatable(folder)
            return
        storage.prepare_folder(folder, storage.Disk())
        if not os.access(folder, os.W_OK | os.X_OK):
            remedy = "make it writable for the gateway's user"
            yield CheckResult("fail", "journal", f"{folder} cannot be written", remedy)
            return
        segments = storage.segments(folder)
    except GatewayError as error:
        yield _describe_failure("journal", error)
        return
    try:
        os.close(storage.lock(folder))
    except storage.InUse:
        yield CheckResult(
            "ok", "journal", f"{folder}: {describe_count(len(segments), 'segment')}; a gateway is writing to it"
        )
        return
    except GatewayError as error:
        yield _describe_failure("journal", error)
        return
    yield _check_continuation(folder, found, len(segments))


def _check_continuation(folder: Path, found: Mapping[keys.Name, tuple[bytes, ...]], segments: int) -> CheckResult:
    """Return whether a gateway could go on with the existing journal."""
    try:
        if segments:
            recovery.require_end(folder, Chain.of(found["chain"]), key_id(found["fingerprints"][0]))
    except GatewayError as error:
        return _describe_failure("journal", error)
    return CheckResult("ok", "journal", f"{folder}: {describe_count(segments, 'segment')}, writable")


def _creatable(folder: Path) -> CheckResult:
    parent = next(path for path in folder.absolute().parents if path.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        return CheckResult("ok", "journal", f"{folder} will be made")
    return CheckResult(
        "fail", "journal", f"{folder} cannot be made in {parent}", "make that folder writable, or set journal.path"
    )


def _describe_failure(what: str, error: GatewayError) -> CheckResult:
    return CheckResult("fail", what, error.message, error.remedy)
