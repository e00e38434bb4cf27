"""Rules as authors write them, in a real OPA and on the plan: mistakes are found, and right rules pass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy import authoring
from gateway.policy.folder import shadowing
from gateway.policy.folder.bundle import Bundle
from gateway.policy.opa import program as opa_program
from gateway.policy.plan import intermediate
from tests.compiled_policy import opa
from tests.policy.variants import (
    AROUND,
    DATA,
    FUNCTIONS,
    FUNCTIONS_RIGHT,
    PACKAGE,
    RIGHT,
    RIGHT_TOO,
    SILENT,
    WRONG,
    denial,
)

pytestmark = pytest.mark.opa

CASES: Final = {
    **{f"right: {name}": denial(body) for name, body in RIGHT.items()},
    **{f"right: {body}": denial(body) for body in RIGHT_TOO},
    **{f"right: {name}": f"{PACKAGE}{text}\n" for name, text in FUNCTIONS_RIGHT.items()},
    **{f"wrong: {name}": denial(body) for name, (body, _) in WRONG.items()},
    **{f"wrong: {name}": f"{PACKAGE}{text}\n" for name, (text, _) in FUNCTIONS.items()},
}
FILES: Final = {f"gateway/denials/c{number}/c{number}.rego": name for number, name in enumerate(CASES)}


@dataclass(frozen=True)
class Found:
    """The cases in which OPA, or a look at the plan, finds something."""

    by_opa: dict[str, str]
    by_plan: dict[str, str]


def _modules(files: list[str]) -> tuple[tuple[str, str], ...]:
    names = [file.split("/")[2] for file in files]
    texts = [
        CASES[FILES[file]].replace("gateway.denials.mine", f"gateway.denials.{name}")
        for file, name in zip(files, names, strict=True)
    ]
    asked = ", ".join(f'"{name}": data.gateway.denials.{name}' for name in names)
    decision = f"package gateway.decision\n\nresult := {{{asked}}}\n"
    return (*AROUND.items(), *zip(files, texts, strict=True), ("gateway/decision/decision.rego", decision))


@pytest.fixture(scope="module")
def found() -> Found:
    """All cases in one policy; what OPA refuses is left out of the plan."""
    by_opa: dict[str, str] = {}
    # OPA stops after a stage with errors, such as that of the numbers of arguments.
    while told := _ask_opa([file for file, name in FILES.items() if name not in by_opa]):
        by_opa |= told
    rest = [file for file, name in FILES.items() if name not in by_opa]
    policy = Bundle(_modules(rest), json.dumps(DATA), "r")
    stored = authoring.compile_rules(policy, opa())
    said = authoring.find_input_use(policy, bytes(stored.plan)).misuses + _missing_data(bytes(stored.plan))
    return Found(by_opa, {FILES.get(each.partition(":")[0], each): each for each in said})


def _ask_opa(files: list[str]) -> dict[str, str]:
    """Return what OPA finds by the names of the cases. Strictness about unused names would come before types, and hide them."""
    with authoring.written(Bundle(_modules(files), json.dumps(DATA), "r")) as folder:
        schema = Path(__file__).parents[2] / "rego/schemas/input.json"
        options = ("--bundle", "--format", "json", "--max-errors", "100000", "--schema", str(schema))
        done = opa_program.run_program(opa(), "check", *options, str(folder))
    if done.status == 0:
        return {}
    errors = json.loads(done.written or done.complaints)["errors"]
    places = [(str(error["location"]["file"]).removeprefix(f"{folder}/"), error["message"]) for error in errors]
    return {FILES.get(file, file): message for file, message in places}


def _missing_data(plan: bytes) -> list[str]:
    read = intermediate.read_plan(plan)
    rules = [intermediate.rule_path(function) for function in read.functions]
    said: list[str] = []
    for path, place in intermediate.find_reads(read).items():
        try:
            shadowing.require(rules, {path: place}, (), DATA)
        except PolicyBroken as error:
            said.append(error.message)
    # A package of functions alone has no value.
    return [each for each in said if not each.startswith("gateway/decision/")]


def test_right_rules_pass(found: Found):
    assert {name: said for name, said in (found.by_opa | found.by_plan).items() if not name.startswith("wrong")} == {}


def test_mistakes_are_found(found: Found):
    wrong = {name for name in CASES if name.startswith("wrong")}
    known = found.by_opa.keys() | found.by_plan.keys()

    assert {name.removeprefix("wrong: ") for name in wrong - known} == SILENT


def test_a_look_at_the_plan_finds_what_opa_does_not(found: Found):
    through = {f"wrong: {name}" for name in FUNCTIONS} - {f"wrong: {name}" for name in SILENT}

    assert len((through - found.by_opa.keys()) & found.by_plan.keys()) >= 4
    assert "; did you mean `calls`?" in found.by_plan["wrong: a misspelt field of a parameter"]
