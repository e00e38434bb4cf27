"""The index of grants leaves out no grant that holds: with it and without it the shipped policy answers the same."""

from __future__ import annotations

import copy
import json
import random
from typing import Any, Final, cast

import pytest

from gateway.policy.folder import folders
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.grants import FEWEST, index_grants, with_grant_index
from gateway.policy.plan import compile_process, store, values
from gateway.policy.plan.program import Program
from gateway.policy.trials import load_checks
from tests.policy.conftest import Case, cases

VOID: Final = "tool/grant-void"
"""The code that names a void grant: with the index, only a grant that may be for the caller."""
ODD: Final[tuple[Any, ...]] = (None, "*", [], [5], {"0": "a"}, ["a*b*c"], ["", "*"], True)


class Twins:
    """The shipped rules on some grants, with the index of these and without it."""

    def __init__(self, code: Any, data: dict[str, Any], upstreams: Any) -> None:
        grants = {**data["gateway"]["grants"], "upstreams": upstreams}
        plain = {**data, "gateway": {**data["gateway"], "grants": grants}}
        self._indexed, self._scanning = Program(code, plain), Program(code, plain)
        self._scanning._data = plain

    def answer(self, case: Case) -> tuple[Any, Any]:
        entry = f"gateway/{case.entrypoint}/result"
        document = values.plain(case.input)
        return self._indexed.answer(entry, document), self._scanning.answer(entry, document)


@pytest.fixture(scope="module")
def code() -> Any:
    return compile_process.compile_plan(bytes(store.unpack(store.SHIPPED.read_bytes(), "shipped.plan").plan))


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return values.read_json(folders.read_policy(PolicyFolders(folders.find_shipped())).data)


def _questions() -> list[Case]:
    leases = Case("leases", "shipped", "leases", dict(load_checks.LEASES), {})
    return [*(case for case in cases() if case.policy == "shipped"), leases]


def _patterns(chance: random.Random, names: list[str]) -> Any:
    """Return patterns of which some may match one of these names."""
    if chance.random() < 0.08:
        return chance.choice(ODD)
    found: list[str] = []
    for name in chance.choices([*names, "other", "é", ""], k=chance.randint(1, 3)):
        at = chance.randint(0, len(name))
        found.append(chance.choice((name, name, f"{name[:at]}*", f"*{name[at:]}", "*")))
    return found


def _grants(chance: random.Random, document: dict[str, Any], targets: list[dict[str, Any]]) -> dict[str, Any]:
    subject: dict[str, Any] = document.get("subject") or {}
    properties: dict[str, Any] = subject.get("properties") or {}
    agents = [str(subject.get("id", "")), "spiffe://corp/agent/other"]
    issuers = [str(properties.get("issuer", ""))]
    labels: list[dict[str, Any]] = [target.get("properties") or {} for target in targets]
    upstreams = sorted({str(each.get("upstream", "")) for each in labels})
    names = [str(target.get("id", "")).partition("/")[2] for target in targets]
    found: dict[str, Any] = {}
    for upstream in (*upstreams, "*", "elsewhere"):
        grants: list[Any] = [
            {"agents": _patterns(chance, agents), "issuers": chance.choice((["*"], _patterns(chance, issuers)))}
            | {field: _patterns(chance, names) for field in chance.sample(("tools", "resources", "prompts"), k=2)}
            | {"effects": ["read", "write", "destructive"], "sensitivity": chance.choice(("restricted", "public"))}
            | chance.choice(({}, {}, {"approval": True}, {"approval": {"count": 2}}, {"scope": []}, {"users": ["*"]}))
            for _ in range(chance.randint(0, 3 * FEWEST))
        ]
        found[upstream] = chance.choice((grants, grants, grants, {"0": grants}))
    return found


def _without_void(answer: Any) -> Any:
    if "reasons" not in answer:
        return answer
    return {**answer, "reasons": [each for each in answer["reasons"] if each["code"] != VOID]}


def _targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = [document.get("resource"), *(document.get("resources") or ())]
    found += [lease.get("resource") for lease in document.get("leases") or ()]
    return [cast("dict[str, Any]", target) for target in found if isinstance(target, dict)]


@pytest.mark.parametrize("seed", range(4))
def test_the_index_changes_no_answer(code: Any, data: dict[str, Any], seed: int):
    chance = random.Random(seed)
    granted = 0
    for case in chance.sample(_questions(), k=120):
        grants = _grants(chance, case.input, _targets(case.input))
        indexed, scanned = Twins(code, data, grants).answer(case)
        assert _without_void(indexed) == _without_void(scanned), (case.name, json.dumps(grants))
        granted += indexed.get("effect") in {"allow", "ask"} or bool(indexed.get("visible") or indexed.get("keep"))
    assert granted > 5


def test_an_index_of_other_grants_gives_nothing(code: Any, data: dict[str, Any]):
    """A running OPA may hold the index of yesterday's grants."""
    chance = random.Random(5)
    for case in chance.sample(_questions(), k=80):
        now, before = (_grants(chance, case.input, _targets(case.input)) for _ in range(2))
        twins = Twins(code, data, now)
        stale = copy.deepcopy(twins._scanning._data)
        stale["gateway"]["grants"]["index"] = index_grants(before)
        twins._indexed._data = stale
        indexed, scanned = twins.answer(case)
        if scanned.get("effect") == "deny":
            assert indexed["effect"] == "deny"
        for name in ("visible", "keep"):
            assert set(indexed.get(name, ())) <= set(scanned.get(name, ()))


def test_a_grant_of_many_names_takes_a_bounded_part_of_the_index():
    grants = [{"agents": [f"a{n}" for n in range(100)], "tools": [f"t{n}" for n in range(100)]}] * FEWEST

    index = index_grants({"files": grants})["files"]

    assert list(index["tools"]) == ["*"]
    assert index["tools"]["*"]["a7"] == list(range(FEWEST))


@pytest.mark.parametrize("data", [None, [], {}, {"gateway": None}, {"gateway": {"grants": {"upstreams": []}}}])
def test_data_without_many_grants_stay_as_they_are(data: Any):
    assert with_grant_index(data) is data


def test_the_data_of_the_operator_are_not_changed():
    given: dict[str, Any] = {"gateway": {"grants": {"upstreams": {"files": [{"agents": ["a"]}] * FEWEST}}}}
    kept = copy.deepcopy(given)

    assert "index" in with_grant_index(given)["gateway"]["grants"]
    assert given == kept
