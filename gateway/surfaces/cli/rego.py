"""Rego for authors of policies: every check of a policy folder, its tests, and its compiled form. OPA makes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from gateway.history.declared import sizes
from gateway.model.errors import PolicyError
from gateway.policy import authoring, facts
from gateway.policy.authoring import PolicyTest, describe_place, written
from gateway.policy.folder import annotations, bundle, data_files, folders, overlay
from gateway.policy.folder.bundle import Bundle, Suite
from gateway.policy.folder.data_files import DATA_FILES, GRANTS
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.opa import program as opa_program
from gateway.policy.opa.program import find_program, require_opa
from gateway.policy.plan.loading import Loaded, Plans
from gateway.policy.plan.store import StoredPlan
from gateway.policy.trials import trial
from gateway.policy.trials.trial import Trial

RULES: Final = "opa check"
PLAN: Final = "fields and families"
FACTS: Final = "declared facts"
LOADED: Final = "data, fixtures and speed"


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """A check of a policy folder. `findings` are sentences, empty on success; `skipped` is the reason for not running. `notes` are
    sentences that fail nothing."""

    name: str
    findings: tuple[str, ...] = ()
    skipped: str | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> Literal["ok", "fail", "skipped"]:
        return "skipped" if self.skipped else "fail" if self.findings else "ok"


# --- checks ------------------------------------------------------------------------------------------


async def checks(places: PolicyFolders, limit: float) -> Sequence[FolderCheck]:
    """Return the checks that a policy has to pass before a gateway takes it, and the style of its files.

    `limit` is the processor time of one answer, in seconds. Raise `PolicyBroken` without an OPA.
    """
    opa = require_opa("`opagate policy check`")
    begun = time.monotonic()
    try:
        policy = folders.read_policy(places)
    except PolicyError as error:
        return [_check("read", [f"{error.message}; {error.remedy}"], begun), _check_format(places, opa)]
    found = [_checked(RULES, lambda: _check_rules(places, policy, opa))]
    if found[0].state == "ok":
        plans: list[StoredPlan] = []
        found.append(_checked(PLAN, lambda: _find_in_plan(policy, opa, plans)))
        if found[1].state == "ok":
            found += _describe_facts(policy, plans[0])
            found.append(await _try_policy(places, policy, plans[0], limit))
    return [*found, _check_annotations(places.policy), _check_format(places, opa), _lint(places, policy)]


def _checked(name: str, find: Callable[[], Sequence[str]]) -> FolderCheck:
    begun = time.monotonic()
    try:
        return _check(name, find(), begun)
    except PolicyError as error:
        return _check(name, [f"{error.message}; {error.remedy}"], begun)


def _check(name: str, findings: Sequence[str], begun: float) -> FolderCheck:
    return FolderCheck(name, tuple(findings), None, time.monotonic() - begun)


def _check_rules(places: PolicyFolders, policy: Bundle, opa: Path) -> list[str]:
    """Return the findings of `opa check`: in all files by the folder's own schemas, and by the gateway's own types of the input."""
    with written(policy, with_tests=True) as folder:
        found = authoring.check_folder(folder, opa, *_schemas(places.policy))
    return list(dict.fromkeys([*found, *authoring.check_rules(policy, opa)]))


def _find_in_plan(policy: Bundle, opa: Path, plans: list[StoredPlan]) -> list[str]:
    """Return the findings in the plan of a policy. Add the plan to `plans`."""
    plans.append(authoring.compile_rules(policy, opa))
    return authoring.find_in_plan(policy, plans[0], opa)


def _describe_facts(policy: Bundle, judged: StoredPlan) -> list[FolderCheck]:
    """Return what declared facts take, and which hold nothing; nothing for a policy without any."""
    begun = time.monotonic()
    book = facts.read_facts(policy.decoded_data(), lambda _condition, _arguments, _pointer: False)
    if not book.all:
        return []
    used = authoring.find_input_use(policy, bytes(judged.plan))
    return [FolderCheck(FACTS, seconds=time.monotonic() - begun, notes=tuple(sizes.describe(book, used.facts)))]


async def _try_policy(places: PolicyFolders, policy: Bundle, judged: StoredPlan, limit: float) -> FolderCheck:
    begun = time.monotonic()
    try:
        await _try(places, policy, await Plans().load_plan(bytes(judged.plan), policy.data), limit)
    except PolicyError as error:
        return _check(LOADED, [f"{error.message}; {error.remedy}"], begun)
    return _check(LOADED, [], begun)


async def _try(places: PolicyFolders, policy: Bundle, loaded: Loaded, limit: float) -> None:
    names = {file.name: str(places.policy / file.path) for file in DATA_FILES}
    names |= {GRANTS.name: str(places.grants)} if places.grants else {}
    await trial.require(Trial(loaded.code, policy.data, policy.sources, limit, names))


async def loadable(places: PolicyFolders, limit: float) -> Bundle:
    """Return the policy of these folders. Raise `PolicyBroken` for a policy unfit for a gateway.

    `limit` is the processor time of one answer, in seconds.
    """
    policy, tests = folders.read_with_suites(places)
    await _try(places, policy, await Plans().load(policy, suites=tests), limit)
    return policy


def _check_annotations(folder: Path) -> FolderCheck:
    """Check each reason code for an annotation and a rule, and the generated table for changes."""
    begun = time.monotonic()
    try:
        reasons = annotations.table(bundle.sources(folder))
    except PolicyError as error:
        return _check("annotations", [f"{error.message}; {error.remedy}"], begun)
    path = folder / "gateway/reasons/data.json"
    if not path.exists():
        return _check("annotations", [], begun)
    try:
        kept: object = data_files.parse_data(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        return _check("annotations", [f"{path} cannot be read: {error}"], begun)
    stale = [] if kept == reasons else [f"{path} is not what the annotations say; run `make generate`"]
    return _check("annotations", stale, begun)


# --- tests -------------------------------------------------------------------------------------------


def suites(places: PolicyFolders) -> Sequence[Suite]:
    """Return the tests to run for these folders: the tests of the overlay, if any. Raise `PolicyBroken`."""
    policy, found = folders.read_with_suites(places)
    return found or (Suite(policy),)


def run_tests(tests: Sequence[Suite]) -> list[PolicyTest]:
    """Run the `test_*` rules of suites in OPA. Raise `PolicyBroken`, also without an OPA."""
    opa = require_opa("`opagate policy test`")
    return [test for suite in tests for test in authoring.run_tests(suite, opa)]


# --- style -------------------------------------------------------------------------------------------


def _check_format(places: PolicyFolders, opa: Path) -> FolderCheck:
    """Return the check of the form of the operator's own files: the overlay, if any."""
    begun = time.monotonic()
    done = opa_program.run_program(opa, "fmt", "--list", str(places.overlay or places.policy))
    lines = [f"{line} is not formatted; run `opa fmt --write`" for line in done.lines]
    return _check("opa fmt", lines or ([f"opa ended with status {done.status}"] if done.status else []), begun)


def _lint(places: PolicyFolders, policy: Bundle) -> FolderCheck:
    """Return Regal's findings in the policy; in the overlay alone, if any."""
    begun, regal = time.monotonic(), find_program("regal")
    if regal is None:
        return FolderCheck("regal", skipped="regal is not on the PATH")
    with written(policy, with_tests=True) as folder:
        options = (*_regal_config(places.policy), "--format", "json", str(folder))
        done = opa_program.run_program(regal, "lint", *options)
    try:
        violations = cast("list[dict[str, Any]]", json.loads(done.written)["violations"])
    except (json.JSONDecodeError, KeyError):
        return _check("regal", [f"regal failed: {' '.join(done.lines)[:500]}"], begun)
    below = f"{overlay.ROOT}/" if places.overlay else ""
    findings = [
        f"{place}: {item['title']}: {item['description']}"
        for item in violations
        if (place := describe_place(item["location"], folder)).startswith(below)
    ]
    return _check("regal", findings, begun)


def _schemas(folder: Path) -> tuple[str, ...]:
    return ("--schema", str(folder / "schemas")) if (folder / "schemas").is_dir() else ()


def _regal_config(folder: Path) -> tuple[str, ...]:
    path = folder / ".regal/config.yaml"
    return ("--config-file", str(path)) if path.is_file() else ()
