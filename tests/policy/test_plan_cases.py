"""OPA's own cases of how Rego is evaluated, asked of a compiled policy and of OPA.

Each case gets a package of its own, so that OPA compiles all of them at once. A case is left out if it calls a built-in
function which compiled policies do not have, or has another query than one for a rule.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from gateway.policy.plan import values
from gateway.policy.plan.functions import FUNCTIONS
from tests.machine import skip_or_fail
from tests.policy import compiled
from tests.policy.conftest import ROOT
from tests.policy.functions_of_opa import arguments_of_functions

_QUERY: Final = re.compile(r"data((?:\.\w+)+)(?:\s*=\s*x)?")
_REWRITTEN: Final = ("experimental_keywords", "env", "input_term")
KNOWN: Final = {
    "aggregates/count with invalid utf-8 chars (0xFFFD)": "decoded bytes that are no text are an error",
    "data/toplevel integer": "OPA finds a name of base data by a number; a compiled policy does not",
    "data/nested integer": "the same",
    "replacen/semantics/empty key/empty string": "an empty text to be replaced is an error",
    "replacen/semantics/empty key/inserts at every position": "the same",
    "replacen/semantics/empty key/with non-empty keys": "the same",
    "replacen/semantics/empty key/multi-byte key": "the same",
    "strings/sprintf: float too big": "a number beyond floats of 64 bits is an error",
}
"""Cases with another answer, and why. Each is an error or no value."""


@dataclass(frozen=True)
class OpaCase:
    """One case: the rule that it asks for, and its input."""

    note: str
    entry: str
    input: object


@pytest.fixture(scope="module")
def folder_of_cases() -> Path:
    """The cases in the source of the OPA that `make tools` builds."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        skip_or_fail("Go 1.26 or newer, which has the source of OPA")
    command = [str(go), "mod", "download", "-json", "github.com/open-policy-agent/opa"]
    done = subprocess.run(command, cwd=ROOT / "tools/opa", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["Dir"]) / "v1/test/cases/testdata/v1"


@cache
def _unknown() -> re.Pattern[str]:
    """Return the expression for a call of a function that compiled policies do not have, or a template string."""
    missing = sorted(arguments_of_functions().keys() - FUNCTIONS.keys(), key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, missing))})\(|\$[\"`]")


def _written(source: Path, target: Path) -> dict[str, OpaCase]:
    """Write each case as a package below `target`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, OpaCase] = {}
    for path in sorted(source.rglob("*.yaml")):
        for case in cast("list[dict[str, Any]]", yaml.load(path.read_text("utf-8"), Loader=loader)["cases"]):
            query = _QUERY.fullmatch(case["query"].strip())
            if query is None or not case.get("modules") or any(case.get(name) for name in _REWRITTEN):
                continue
            if _unknown().search(" ".join(case["modules"])):
                continue
            name = f"c{len(found)}"
            document: object = json.loads(json.dumps(case["input"], default=str)) if "input" in case else values.U
            found[name] = OpaCase(case["note"], f"{name}/{query[1][1:].replace('.', '/')}", document)
            _write(target / name, name, case)
    return found


def _write(folder: Path, name: str, case: dict[str, Any]) -> None:
    folder.mkdir()
    for number, module in enumerate(case["modules"]):
        text = re.sub(r"(?m)^(\s*package\s+)", rf"\1{name}.", module)
        (folder / f"module{number}.rego").write_text(re.sub(r"\bdata(?=[.\[])", f"data.{name}", text), "utf-8")
    if case.get("data"):
        (folder / "data.json").write_text(json.dumps(case["data"], default=str), "utf-8")


@pytest.mark.opa
def test_a_compiled_policy_answers_opas_own_cases_as_opa_does(opa_path: Path, folder_of_cases: Path, tmp_path: Path):
    folder = tmp_path / "cases"
    folder.mkdir()
    cases = _written(folder_of_cases, folder)
    good = compiled.keep_good(opa_path, folder)
    asked = [case for name, case in cases.items() if name in good]
    plan, data = compiled.plan_of(opa_path, folder, [case.entry for case in asked])

    differing: dict[str, tuple[object, object]] = {}
    with compiled.serving(opa_path, folder, compiled.compiled(plan, data)) as both:
        for case in asked:
            answers = both.opa(case.entry, case.input), both.plan(case.entry, case.input)
            if not compiled.same(*answers):
                differing[case.note] = answers

    assert {note: answers for note, answers in differing.items() if note not in KNOWN} == {}
    assert differing.keys() == KNOWN.keys()
    assert all(answer in {compiled.ERROR, compiled.NOTHING} for _, answer in differing.values())
    assert len(asked) > 1300
