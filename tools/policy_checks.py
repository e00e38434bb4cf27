"""What `make policy` runs: is the policy well formed, formatted, tested in full, and clean to the linter?

Each check runs one program and gives what it found, empty if nothing. `tests/policy/test_rego.py` shows that each can fail.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

from gateway.model.errors import PolicyError
from gateway.policy import authoring
from gateway.policy.folder import bundle
from gateway.policy.folder.data_files import DATA_FILES
from gateway.policy.plan.loading import Plans
from gateway.policy.plan.program import CompiledPolicy

ROOT = Path(__file__).resolve().parents[1]
REGO = ROOT / "rego"
PATIENCE = "60s"
"""How long one test may take. OPA's own five seconds are too few for tables of cases on a machine that is busy."""
TOOLS = Path(os.environ.get("OPAGATE_TOOLS") or ROOT / ".tools")

Findings: TypeAlias = list[str]


def formatted(rego: Path) -> Findings:
    """`opa fmt`: the files that are not in the one form."""
    files = _run("opa", "fmt", "--list", str(rego)).stdout.split()
    return [f"{file}: not formatted; run `opa fmt --write`" for file in files]


def compiled(rego: Path) -> Findings:
    """`opa check`, strict, with the types of the schemas: a misspelt field of the input is an error."""
    return _problems(_run("opa", "check", "--strict", "--bundle", "--schema", str(REGO / "schemas"), str(rego)))


def loaded(rego: Path) -> Findings:
    """As the gateway judges rules of others: the types of its own input, no function out of bounds, no family that nobody asks."""
    try:
        authoring.judge(bundle.read_folder(rego), ())
    except PolicyError as error:
        return [f"{error.message}; {error.remedy}"]
    return []


def tested(rego: Path) -> Findings:
    """`opa test --coverage`: the tests that fail, else the lines of the policy that no test reaches. All must be."""
    words = ("opa", "test", "--timeout", PATIENCE, "--bundle")
    result = _run(*words, "--coverage", "--format", "json", str(rego))
    if result.returncode != 0:
        return _problems(_run(*words, str(rego)))
    report = cast("dict[str, Any]", json.loads(result.stdout))
    return [
        f"{name}: no test reaches line {', '.join(str(row) for row in sorted(rows))}"
        for name, file in sorted(report["files"].items())
        if (rows := {part["start"]["row"] for part in file.get("not_covered", [])})
    ]


def linted(rego: Path) -> Findings:
    """Regal, with the rules and relaxations of `.regal/config.yaml`."""
    result = _run("regal", "lint", "--config-file", str(REGO / ".regal/config.yaml"), "--format", "json", str(rego))
    report = cast("dict[str, Any]", json.loads(result.stdout or "{}"))
    if "violations" not in report:
        return [f"no report: {result.stderr.strip()}"]
    return [
        f"{found['location'].get('file', rego)}:{found['location'].get('row', 0)}: {found['title']}: {found['description']}"
        for found in report["violations"]
    ]


def readable(rego: Path) -> Findings:
    """What the policy says is wrong with its own data: grants that hold for nobody, limits that let nothing pass."""
    try:
        program = asyncio.run(Plans().load(bundle.read_folder(rego))).program
        policy = CompiledPolicy(program, deadline=60.0, thread_time=time.thread_time)
        return [f"{file.path}: {problem}" for file in DATA_FILES for problem in policy.problems(file)]
    except PolicyError:
        return ["not known while the policy cannot be loaded"]


CHECKS: dict[str, Callable[[Path], Findings]] = {
    "fmt": formatted,
    "check": compiled,
    "load": loaded,
    "test": tested,
    "regal": linted,
    "data": readable,
}


def main() -> int:
    """Run all checks. Exit status 1 if one found something, 2 if a program is missing."""
    missing = [name for name in ("opa", "regal") if not (TOOLS / name).exists()]
    if missing:
        print(f"{' and '.join(missing)} not found in {TOOLS}; run `make tools` (needs Go)", file=sys.stderr)
        return 2
    failed = False
    for name, check in CHECKS.items():
        begun = time.monotonic()
        findings = check(REGO)
        failed = failed or bool(findings)
        print(f"{name:<10}{'failed' if findings else 'ok':<8}{time.monotonic() - begun:5.1f} s")
        for finding in findings:
            print(f"  {finding}")
    return int(failed)


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOLS / program, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


def _problems(result: subprocess.CompletedProcess[str]) -> Findings:
    if result.returncode == 0:
        return []
    return [line for line in (result.stdout + result.stderr).splitlines() if line.strip()] or ["failed without a word"]


if __name__ == "__main__":
    sys.exit(main())
