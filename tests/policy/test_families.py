"""What a family finds at a glance is what its rules find, each family by itself, on both engines.

In the whole decision one family's denial hides what another's glance missed. Here a probe stands in the place of the
decision: it says of each family what `found` gives and what its rules give, for calls at the edges of its facts.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.errors import PolicyError
from gateway.policy import bundle, embedded
from gateway.policy.embedded import Embedded
from tests.policy.conftest import FAILED, ROOT, Opa, cases, connected, put, take

FAMILIES = sorted(
    path.stem
    for path in (ROOT / "rego/gateway/denials").glob("*/*.rego")
    if re.search(r"^found\(", path.read_text("utf-8"), re.MULTILINE)
)
"""Those that can be asked at a glance."""
ASKING = {"argument", "budget", "credential_chain", "fan_out", "signal", "tool", "toxic_flow"}
"""The families that also have something for a person to decide."""

BASES = {case.name: case.input for case in cases() if case.entrypoint == "decision"}
SMALLEST = "a call of a task that has reached nothing else"
BASES[SMALLEST] = copy.deepcopy(BASES["allow: the agent reads a file"])
BASES[SMALLEST]["session"]["tenants"] = []
OF_A_TENANT = "a call of a task that has reached nothing else, at a system of a tenant"
BASES[OF_A_TENANT] = copy.deepcopy(BASES[SMALLEST])
BASES[OF_A_TENANT]["resource"]["properties"]["tenant"] = "demo"
BASES[OF_A_TENANT]["session"]["tenants"] = ["demo"]

NOTHING = object()
"""For a fact that is not there."""

_ODD: list[Any] = [NOTHING, None, "x", {}, -1, True]
_SIZES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 50, 51, 200, 201, 256, 257, 200_000, 200_001, 1_000_001]
_LISTS: list[Any] = [
    [],
    ["files"],
    ["mail"],
    ["demo"],
    *([str(i) for i in range(size)] for size in (2, 3, 4, 5, 6, 7, 20, 21)),
]
_PLACES: list[Any] = [[], ["/path"], ["/content"], ["/to"], ["/path", "/to"], ["/nowhere"], ["/path/0"], "/path"]
_HELD: dict[str, Any] = {
    "pointer": "/token",
    "role": "credential",
    "origin": {"kind": "result", "audience": "files"},
    "chain_depth": 0,
    "minted_in_task": False,
    "handle": False,
}
_CREDENTIALS: list[Any] = [
    [],
    [_HELD],
    *([{**_HELD, "origin": {"kind": kind}}] for kind in ("result", "user", "broker", "unknown")),
    [{**_HELD, "origin": {"kind": "result", "audience": "mail"}, "chain_depth": 2}],
    [{**_HELD, "role": "content"}, {**_HELD, "minted_in_task": True}],
    [{}],
]
_SYSTEMS: list[Any] = [
    [{"audience": "files"}],
    [{"audience": "files", "environment": "demo"}],
    [{"audience": "files", "tenant": "demo", "environment": "demo"}],
    [{"audience": "mail"}],
    [{"audience": "files"}, {"audience": "mail"}],
]
_CONTRACTS: list[Any] = [
    {"credential_flows": [], "limits": {}},
    {"credential_flows": [{"from": "mail", "to": "files"}], "limits": {"audiences": 5, "calls": 3}},
    {"credential_flows": [], "limits": {"audiences": 1, "denials": 300, "depth": "9", "other": 1}},
    {"credential_flows": [], "limits": {}, "audiences": ["files"], "tools": ["files/*"], "destinations": ["*@a.test"]},
    {"credential_flows": [], "limits": {"audiences": 0, "calls": 0}},
    {"limits": []},
]
_TEXTS: list[Any] = [
    "notes/a.txt", "../a", "a@b.test", "a@localhost", "https://docs.test/a?b=%2Fc", "https://docs.test/a/%2e%2e/b",
    "https://localhost/", "http://127.0.0.1/", "https://user@docs.test/", "https:///docs.test", "https://a.nip.io/x",
    "https://docs.test/..", "https://docs.test/.%2e/", "https://docs.test/%00", "//docs.test", "", "ls\u200b -l",
    ["a@b.test", "a@localhost"], {"a": "../b"}, 7,
]  # fmt: skip
_TIMES = [
    "2026-11-24T09:59:59.9Z", "2026-11-24T10:00:00Z", "2026-11-24T10:00:00.5Z", "2026-11-24T11:00:00Z", "tomorrow", "9",
]  # fmt: skip

FACTS: dict[str, list[Any]] = {
    **{f"/session/{name}": [*_SIZES, *_ODD] for name in ("calls", "denials", "in_flight", "approvals_used")},
    **{f"/session/{name}": [*_SIZES[:12], *_ODD] for name in ("destinations", "spread", "depth")},
    **{
        f"/session/{name}": [*_LISTS, *_ODD]
        for name in ("audiences", "audiences_in_window", "write_audiences", "tenants", "environments")
    },
    "/session/call_destinations": [*_LISTS, ["bob@example.com"], ["eve@evil.test", "bob@example.com"], *_ODD],
    "/session/credentials": [*_CREDENTIALS, *_ODD],
    "/session/ungrounded": [*_PLACES, *_ODD],
    "/session/followed": [*_PLACES, *_ODD],
    "/session/confidential_systems": [[], *_SYSTEMS, *_ODD],
    "/session/labels/untrusted": [True, False, *_ODD],
    "/session/labels/confidentiality": ["public", "internal", "confidential", "restricted", *_ODD],
    "/context/task/contract": [*_CONTRACTS, *_ODD],
    "/context/task/risk": ["low", "medium", "high", *_ODD],
    "/context/task/tenant": ["demo", "other", *_ODD],
    "/context/task/environment": ["demo", "production", *_ODD],
    "/context/task/kind": ["declared", "implicit", *_ODD],
    "/context/task/expires": [*_TIMES, *_ODD],
    "/context/time": [*_TIMES, *_ODD],
    "/subject/id": ["dev", "", *_ODD],
    "/subject/properties/issuer": ["urn:opagate:development", "", *_ODD],
    "/subject/properties/auth_method": ["jwt", "anonymous", "password", *_ODD],
    "/subject/properties/bound": [True, False, *_ODD],
    "/subject/properties/scopes": [[], ["a"], *_ODD],
    "/subject/properties/user": [{"id": "bob", "groups": []}, {"id": "", "groups": []}, {"id": "bob"}, *_ODD],
    "/subject/properties/delegation": [[{"id": "a"}], [{"id": "a", "issuer": "b"}, {"id": "c"}], *_ODD],
    "/subject/properties/delegation_depth": [0, 1, 2, 4, *_ODD],
    "/resource/type": ["tool", "resource", "prompt", *_ODD],
    "/resource/properties/effect": ["read", "write", "destructive", "mint", "exec", *_ODD],
    "/resource/properties/egress": [True, False, *_ODD],
    "/resource/properties/sensitivity": ["public", "confidential", "restricted", *_ODD],
    "/resource/properties/trust": ["trusted", *_ODD],
    "/resource/properties/environment": ["production", *_ODD],
    "/resource/properties/audience": ["mail", "", *_ODD],
    "/resource/properties/tool": ["login", "auth", *_ODD],
    "/resource/properties/pin": ["match", "unpinned", "unreviewed", "changed", "unknown", *_ODD],
    "/resource/properties/roles": [
        {},
        *({"/path": role} for role in ("selector", "destination", "command", "content", "credential", "amount")),
        {"/path": "command", "/path/0": "destination"},
        {"/*": "destination"},
        {"/content": "content", "/to": "destination"},
        *_ODD,
    ],
    "/arguments": [
        *({"path": text} for text in _TEXTS),
        {"to": ["a@b.test"], "user": "root"},
        {"user": "alice"},
        *_ODD,
    ],
}
"""Where a call may differ, and how: what each family's rules tell apart, and what no fact should be."""


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    document = copy.deepcopy(BASES[draw(st.sampled_from(sorted(BASES)))])
    for pointer in draw(st.lists(st.sampled_from(sorted(FACTS)), max_size=5, unique=True)):
        _change(document, pointer, draw(st.sampled_from(FACTS[pointer])))
    return document


def changed_once(base: str) -> Iterator[dict[str, Any]]:
    """A call with each fact in each of its ways."""
    for pointer, values in FACTS.items():
        for value in values:
            document = copy.deepcopy(BASES[base])
            _change(document, pointer, value)
            yield document


def _change(document: dict[str, Any], pointer: str, value: object) -> None:
    # Where what would hold the fact is gone or something else, nothing changes.
    with suppress(KeyError, TypeError):
        if value is NOTHING:
            take(document, pointer)
        else:
            put(document, pointer, copy.deepcopy(value))


def _probe() -> str:
    lines = ["package gateway.decision", "findings := set()", "default result := {}", "result := {"]
    for family in FAMILIES:
        rules = "findings" if family in ASKING else "denials"
        path = f"data.gateway.denials.{family}"
        lines.append(f'\t"{family}": [{path}.found(input), {path}.{rules}],')
    return "\n".join([*lines, "}", ""])


@pytest.fixture(scope="module")
def probing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe") / "rego"
    shutil.copytree(ROOT / "rego", folder, ignore=shutil.ignore_patterns("*_test.rego"))
    (folder / "gateway/decision/decision.rego").write_text(_probe(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def loaded(probing: Path) -> Embedded:
    return Embedded(bundle.read_folder(probing), deadline=5.0)


@pytest.fixture(scope="module")
def opa(probing: Path, opa_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opa]:
    address = tmp_path_factory.mktemp("probe-opa") / "opa.sock"
    command = [opa_path, "run", "--server", "--addr", f"unix://{address}", "--log-level", "error", "--bundle", probing]
    process = subprocess.Popen(command)
    connection = connected(address)
    yield Opa(connection)
    connection.close()
    process.kill()
    process.wait()


def _nothing(*_: object) -> list[object]:
    return []


def _answer(engine: Embedded, document: dict[str, Any]) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", engine.answer("decision", json.dumps(document).encode()))
    except PolicyError:
        return FAILED


def _require_alike(answer: dict[str, Any]) -> None:
    assert answer.keys() == set(FAMILIES)
    assert {family: glance for family, (glance, _) in answer.items()} == {
        family: rules for family, (_, rules) in answer.items()
    }


_SETTINGS = settings(
    max_examples=1500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


USUAL = [
    SMALLEST,
    OF_A_TENANT,
    "allow: the agent reads a file",
    "allow: it mails several colleagues",
    "history: a login as oneself",
]


@pytest.mark.parametrize("base", USUAL)
def test_one_fact_is_seen_at_a_glance_as_the_rules_see_it(base: str, loaded: Embedded):
    for document in changed_once(base):
        answer = _answer(loaded, document)
        if answer != FAILED:
            _require_alike(answer)


LIMITS = cast("dict[str, Any]", yaml.safe_load((ROOT / "rego/gateway/settings/data.yaml").read_text("utf-8")))[
    "task_limits"
]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("limit", [{"soft": 0, "hard": 300}, {"hard": 300}], ids=["zero", "lost"])
def test_a_limit_is_seen_at_a_glance_as_the_rules_see_it(
    name: str, limit: dict[str, int], probing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # A lost limit keeps a policy from being loaded; what the rules make of one is asked all the same.
    monkeypatch.setattr(embedded, "defects", _nothing)
    folder = tmp_path / "rego"
    shutil.copytree(probing, folder)
    path = folder / "gateway/settings/data.yaml"
    found = yaml.safe_load(path.read_text("utf-8"))
    found["task_limits"][name] = limit
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    engine = Embedded(bundle.read_folder(folder), deadline=5.0)

    for base in USUAL:
        for value in (0, 1, [], ["files"], ["mail"]):
            document = copy.deepcopy(BASES[base])
            if isinstance(value, list) == isinstance(document["session"].get(name, 0), list):
                document["session"][name] = value
                _require_alike(_answer(engine, document))


@_SETTINGS
@given(document=calls())
def test_what_a_family_finds_at_a_glance_is_what_its_rules_find(loaded: Embedded, document: dict[str, Any]):
    answer = _answer(loaded, document)

    # What no input of the gateway holds may make a built-in fail, and the call is refused.
    assume(answer != FAILED)
    assume(_raises_no_more_than_it_reaches(document.get("session")))
    _require_alike(answer)


def _raises_no_more_than_it_reaches(session: Any) -> bool:
    """Return whether no raised number is above its fact: the glance reads the facts, and history makes no other input."""
    if not isinstance(session, dict):
        return True
    facts = cast("dict[str, Any]", session)
    if not isinstance(facts.get("raises"), dict):
        return True
    sizes = {name: len(cast("list[Any]", fact)) if isinstance(fact, list) else fact for name, fact in facts.items()}
    numbers = cast("dict[str, Any]", facts["raises"]).items()
    return all(not isinstance(number, int | float) or _is_reached(sizes.get(name), number) for name, number in numbers)


def _is_reached(size: Any, number: float) -> bool:
    return not isinstance(size, int | float) or number <= size


@pytest.mark.opa
@settings(_SETTINGS, max_examples=500)
@given(document=calls())
def test_what_a_family_finds_is_the_same_in_opa(loaded: Embedded, opa: Opa, document: dict[str, Any]):
    answer, other = _answer(loaded, document), opa.evaluate("decision", json.dumps(document).encode())

    assume(FAILED not in (answer, other))
    assume(_raises_no_more_than_it_reaches(document.get("session")))
    _require_alike(cast("dict[str, Any]", other))
    assert answer == other


def test_the_fixtures_reach_every_family(loaded: Embedded):
    """Else the two above would compare nothing with nothing."""
    answers = [_answer(loaded, document) for document in BASES.values()]

    assert {family for answer in answers for family, (_, rules) in answer.items() if rules} == set(FAMILIES)
