"""Rego for authors of policies: every check of a policy folder, and its tests in the embedded engine and in a real
OPA."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, Final, Literal, cast

from gateway.errors import PolicyBroken, PolicyError
from gateway.policy import (
    annotations,
    bundle,
    contract,
    datafile,
    dialect,
    embedded,
    folders,
    overlay,
    path_check,
    selftest,
    shadowing,
    trial,
)
from gateway.policy.bundle import Bundle
from gateway.policy.folders import PolicyFolders
from gateway.policy.problems import DATA_FILES, GRANTS, DataFile
from gateway.policy.selftest import PolicyTest, Suite
from gateway.policy.syntax import Module, Problem
from gateway.policy.trial import Trial

_PROGRAM_SECONDS: Final = 120
STATIC: Final[dict[str, Callable[[tuple[Module, ...], Bundle], list[Problem]]]] = {
    "data beside rules": lambda modules, loaded: shadowing.problems(modules, loaded.sources),
    "both engines agree": lambda modules, _: dialect.problems(modules),
    "paths and types": lambda modules, loaded: path_check.problems(modules, json.loads(loaded.data)),
}
"""The static checks, by their names in `opagate policy check`."""
_COUNT = re.compile(r"^\d+ errors? occurred:\s*")
LOADED: Final = "load and fixtures"
SPEED: Final = "speed"


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """A check of a policy folder. `findings` are sentences, empty on success; `skipped` is the reason for not running."""

    name: str
    findings: tuple[str, ...] = ()
    skipped: str | None = None
    seconds: float = 0.0

    @property
    def state(self) -> Literal["ok", "fail", "skipped"]:
        return "skipped" if self.skipped else "fail" if self.findings else "ok"


# --- checks ------------------------------------------------------------------------------------------


async def checks(places: PolicyFolders, limit: float) -> Sequence[FolderCheck]:
    """Return the checks of a gateway at load, and the checks of OPA and Regal where these programs are installed.

    `limit` is the processor time of one answer, in seconds.
    """
    begun = time.monotonic()
    try:
        policy = folders.read_policy(places)
    except PolicyError as error:
        return [
            _check(LOADED, [f"{error.message}; {error.remedy}"], begun),
            *_skip_checks(error),
            _check_format(places),
        ]
    loaded = await _try_policy(LOADED, policy, None)
    found = [
        loaded,
        await _try_policy(SPEED, policy, limit)
        if loaded.state == "ok"
        else FolderCheck(SPEED, skipped="it is not loaded"),
    ]
    found += [*_static(policy), _check_annotations(places.policy)]
    found += [_readable(file, policy) for file in DATA_FILES]
    return [*found, _opa_check(places, policy), _check_format(places), _lint(places, policy)]


async def build(places: PolicyFolders, folder: Path, limit: float) -> Bundle:
    """Write the policy of these folders into one folder for OPA. Raise `PolicyBroken` if a gateway would refuse the policy,
    and `OSError`."""
    policy = await loadable(places, limit)
    folders.write(policy, folder)
    return policy


async def loadable(places: PolicyFolders, limit: float) -> Bundle:
    """Return the policy of these folders. Raise `PolicyBroken` for a policy unfit for a gateway.

    `limit` is the processor time of one answer, in seconds.
    """
    policy, tests = folders.read_with_suites(places)
    names = {file.name: str(places.policy / file.path) for file in DATA_FILES}
    names |= {GRANTS.name: str(places.grants)} if places.grants else {}
    await trial.require(Trial(policy, tests, limit, names))
    return policy


def _skip_checks(error: PolicyError) -> list[FolderCheck]:
    names = (SPEED, *STATIC, "annotations", *(file.name for file in DATA_FILES), "opa check", "regal")
    return [FolderCheck(name, skipped=f"it cannot be loaded: {error.message}") for name in names]


def _check_format(places: PolicyFolders) -> FolderCheck:
    """Return the check of the form of the operator's own files: the overlay, if any."""
    own = str(places.overlay or places.policy)
    return _program("opa fmt", "opa", "fmt", "--list", own, says="is not formatted; run `opa fmt --write`")


async def _try_policy(name: str, policy: Bundle, limit: float | None) -> FolderCheck:
    begun = time.monotonic()
    try:
        await trial.require(Trial(policy, limit=limit))
    except PolicyError as error:
        return _check(name, [f"{error.message}; {error.remedy}"], begun)
    return _check(name, [], begun)


def _static(policy: Bundle) -> list[FolderCheck]:
    """Return every finding of the static checks; a load names only the first."""
    begun = time.monotonic()
    try:
        modules = embedded.parse(policy.modules)
    except PolicyError as error:
        return [FolderCheck(name, skipped=f"it cannot be loaded: {error.message}") for name in STATIC]
    found: list[FolderCheck] = []
    for name, check in STATIC.items():
        findings = [f"{item.message}; {item.remedy}" for item in check(modules, policy)]
        found.append(_check(name, findings, begun))
        begun = time.monotonic()
    return found


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
        kept: object = datafile.parse_data(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        return _check("annotations", [f"{path} cannot be read: {error}"], begun)
    stale = [] if kept == reasons else [f"{path} is not what the annotations say; run `make generate`"]
    return _check("annotations", stale, begun)


def _readable(file: DataFile, policy: Bundle) -> FolderCheck:
    begun = time.monotonic()
    try:
        return _check(file.name, problems(policy, file), begun)
    except PolicyError as error:
        return FolderCheck(file.name, skipped=f"it cannot be loaded: {error.message}")


def problems(policy: Bundle, file: DataFile) -> list[str]:
    """Return the policy's problems with a file of its data, each as a sentence. Raise `PolicyBroken`."""
    engine = embedded.loaded(policy.modules, policy.data)
    if file.package not in engine.get_packages():
        return []
    answer, failure = embedded.value(engine, file.rule)
    return file.sentences(failure or answer)


def _check(name: str, findings: Sequence[str], begun: float) -> FolderCheck:
    return FolderCheck(name, tuple(findings), None, time.monotonic() - begun)


# --- tests -------------------------------------------------------------------------------------------


def suites(places: PolicyFolders) -> Sequence[Suite]:
    """Return the tests to run for these folders: the tests of the overlay, if any. Raise `PolicyBroken`."""
    policy, found = folders.read_with_suites(places)
    return found or (Suite(policy),)


def embedded_tests(tests: Sequence[Suite]) -> list[PolicyTest]:
    """Run the `test_*` rules of suites in the embedded engine. Raise `PolicyBroken`."""
    return [test for suite in tests for test in selftest.run(suite)]


def opa_tests(tests: Sequence[Suite]) -> list[PolicyTest] | None:
    """Run the same tests in a real OPA, on the same data. Return `None` if there is no OPA. Raise `PolicyBroken`."""
    opa = program("opa")
    return None if opa is None else [test for suite in tests for test in _opa_tests(opa, suite)]


def _opa_tests(opa: str, suite: Suite) -> list[PolicyTest]:
    with _merge(suite.policy) as merged:
        done = _run(opa, "test", "--timeout", "60s", "--bundle", "--format", "json", str(merged))
    try:
        results = cast("list[dict[str, Any]]", json.loads(done.stdout or "null") or [])
    except json.JSONDecodeError:
        results = []
    if not results and done.returncode not in {0, 2}:
        raise PolicyBroken(f"opa test failed: {' '.join(done.stderr.split())[:500]}", "mend what it names")
    return [
        PolicyTest(
            f"{item['package'].removeprefix('data.')}.{item['name']}",
            _place(item["location"], merged),
            passed=not (item.get("fail") or item.get("error")),
        )
        for item in results
        if not item.get("skip") and _place(item["location"], merged).startswith(suite.below)
    ]


def _place(location: Mapping[str, Any], merged: Path) -> str:
    return f"{str(location.get('file', '')).removeprefix(f'{merged}/')}:{location.get('row', 0)}"


# --- programs ----------------------------------------------------------------------------------------


def program(name: str) -> str | None:
    """Return `opa` or `regal`: from the repository's `.tools/` (`make tools`), else from the PATH."""
    tools = Path(__file__).resolve().parents[2] / ".tools" / name
    return str(tools) if tools.is_file() else shutil.which(name)


def _program(title: str, name: str, *arguments: str, says: str = "") -> FolderCheck:
    found, begun = program(name), time.monotonic()
    if found is None:
        return FolderCheck(title, skipped=f"{name} is not on the PATH")
    done = _run(found, *arguments)
    lines = [f"{line} {says}".strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode == 0 and not says:
        lines = []
    if done.returncode != 0 and not lines:
        lines = [f"{name} ended with status {done.returncode}"]
    return _check(title, lines, begun)


def _opa_check(places: PolicyFolders, policy: Bundle) -> FolderCheck:
    """Return the findings of `opa check`: in all files, and in the deciding files with the gateway's own types of the input."""
    name, begun = "opa check", time.monotonic()
    if program("opa") is None:
        return _program(name, "opa")
    with _merge(policy) as everything:
        lines = _opa_findings(everything, "--strict", *_schemas(places.policy))
    deciding = tuple((file, text) for file, text in policy.modules if not file.startswith("system/"))
    schema = json.dumps(contract.schemas()["input.json"])
    with (
        _merge(replace(policy, modules=deciding, tests=())) as place,
        NamedTemporaryFile("w", suffix=".json") as file,
    ):
        file.write(schema)
        file.flush()
        lines += _opa_findings(place, "--schema", file.name)
    return _check(name, list(dict.fromkeys(lines)), begun)


def _opa_findings(place: Path, *options: str) -> list[str]:
    done = _program("opa check", "opa", "check", "--max-errors", "100000", "--bundle", *options, str(place))
    lines = (_COUNT.sub("", line.replace(f"{place}/", "")) for line in done.findings)
    # A schema by a name of the folder's own is not here in the second look.
    return [line for line in lines if line and not line.endswith("undefined schema: schema.input")]


def _lint(places: PolicyFolders, policy: Bundle) -> FolderCheck:
    """Return Regal's findings in the policy; in the overlay alone, if any."""
    begun, regal = time.monotonic(), program("regal")
    if regal is None:
        return FolderCheck("regal", skipped="regal is not on the PATH")
    with _merge(policy) as merged:
        done = _run(regal, "lint", *_regal_config(places.policy), "--format", "json", str(merged))
    try:
        violations = cast("list[dict[str, Any]]", json.loads(done.stdout)["violations"])
    except (json.JSONDecodeError, KeyError):
        return _check("regal", [f"regal failed: {' '.join(done.stderr.split())[:500]}"], begun)
    below = f"{overlay.ROOT}/" if places.overlay else ""
    findings = [
        f"{place}: {item['title']}: {item['description']}"
        for item in violations
        if (place := _place(item["location"], merged)).startswith(below)
    ]
    return _check("regal", findings, begun)


@contextmanager
def _merge(policy: Bundle) -> Generator[Path]:
    """Give a folder for OPA with the Rego files, tests included, and the very data of the embedded engine."""
    with TemporaryDirectory(prefix="opagate-policy-") as made:
        folders.write(policy, Path(made), with_tests=True)
        yield Path(made)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROGRAM_SECONDS)  # noqa: S603 - the program is opa or regal, without a shell
    except subprocess.TimeoutExpired:
        raise PolicyBroken(
            f"{Path(command[0]).name} took longer than {_PROGRAM_SECONDS} s", "run it by hand to see why"
        ) from None


def _schemas(folder: Path) -> tuple[str, ...]:
    return ("--schema", str(folder / "schemas")) if (folder / "schemas").is_dir() else ()


def _regal_config(folder: Path) -> tuple[str, ...]:
    path = folder / ".regal/config.yaml"
    return ("--config-file", str(path)) if path.is_file() else ()
