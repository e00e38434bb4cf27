"""A glance and a close look say the same.

Families, approvals, obligations and lists have functions that say at a glance that nothing of theirs holds. Here the
policy runs beside one without them, which evaluates every rule for every call.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.errors import PolicyError
from gateway.policy import bundle
from gateway.policy.embedded import Embedded, Entrypoint
from tests.policy.conftest import Case, Engines, cases, put, take
from tests.policy.test_fixtures import ANYTHING, places

CASES = cases()
GLANCES = {
    r"\b(argument|budget|credential_chain|fan_out|signal|tool|toxic_flow)\.found\(input\)": r"data.gateway.denials.\1.findings",
    r"\b(?!overlay\b)(\w+)\.found\(input\)": r"data.gateway.denials.\1.denials",
    r"\bobligations\.of\(input\)": "sort(data.gateway.obligations.required)",
    r"(?m)^\tfindings == set\(\)$": "\tfalse",
    r"(?m)^\t_named\(resource\)$": "",
    r"(?m)^\tusual\(grant\)$": "\tfalse",
}
"""The glances where they are used, and what stands there instead without them."""
USERS = ("decision/decision.rego", "visibility/visibility.rego", "grants/problems/problems.rego")

TEXTS = st.one_of(
    st.text(alphabet=list("ab.@/:%-_~ A1\\\u2024\x00"), max_size=10),
    st.sampled_from(
        ["localhost", "a@localhost", "127.0.0.1", "metadata/a", "a/../b", "..", "//localhost", "x@a.nip.io"]
    ),
    st.builds(
        "".join, st.lists(st.sampled_from(["..", "/", "a", ".", "@", "localhost", "127.0.0.1", "%2e"]), max_size=5)
    ),
)


@pytest.fixture(scope="session")
def careful(policies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Embedded]:
    """Each policy without its glances."""
    found: dict[str, Embedded] = {}
    for name, folder in policies.items():
        copied = tmp_path_factory.mktemp("careful") / name
        shutil.copytree(folder, copied)
        taken: set[str] = set()
        for user in USERS:
            path = copied / "gateway" / user
            text = path.read_text(encoding="utf-8")
            for glance, instead in GLANCES.items():
                text, count = re.subn(glance, instead, text)
                taken |= {glance} if count else set()
            path.write_text(text, encoding="utf-8")
        assert taken == GLANCES.keys()
        found[name] = Embedded(bundle.read_folder(copied), deadline=5.0)
    return found


def _answer(engine: Embedded, entrypoint: Entrypoint, document: dict[str, Any]) -> object:
    try:
        return engine.answer(entrypoint, json.dumps(document).encode())
    except PolicyError:
        return "failed"


@pytest.mark.parametrize(("number", "case"), [pytest.param(*item, id=item[1].name) for item in enumerate(CASES)])
def test_a_fixture_is_decided_alike_with_any_fact_missing(
    number: int, case: Case, embedded: dict[str, Engines], careful: dict[str, Embedded]
):
    """A fixture that is refused leaves out each fourth fact, its neighbours others: its refusal would hide most of what a glance
    missed. Each family's rules are compared with its glance in `test_families.py`."""
    quick, close = embedded[case.policy].embedded, careful[case.policy]
    assert _answer(quick, case.entrypoint, case.input) == _answer(close, case.entrypoint, case.input)
    left_out = places(case.input)[number % 4 :: 4] if case.expected.get("effect") == "deny" else places(case.input)
    for pointer in left_out:
        document = copy.deepcopy(case.input)
        take(document, pointer)
        assert _answer(quick, case.entrypoint, document) == _answer(close, case.entrypoint, document), pointer


@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_changed_input_is_decided_alike(
    embedded: dict[str, Engines], careful: dict[str, Embedded], data: st.DataObject
):
    """What the schema forbids may make a built-in fail in a rule that a glance spares; that says nothing of meaning."""
    case = data.draw(st.sampled_from(CASES))
    document = copy.deepcopy(case.input)
    for _ in range(data.draw(st.integers(1, 3))):
        put(document, data.draw(st.sampled_from(sorted(places(document)))), data.draw(ANYTHING))

    close = _answer(careful[case.policy], case.entrypoint, document)
    assume(close != "failed")
    quick = _answer(embedded[case.policy].embedded, case.entrypoint, document)

    assert quick == close or (quick == "failed" and _refuses(close))


@settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    role=st.sampled_from(["selector", "destination", "command", "content", "amount"]),
    value=TEXTS | st.lists(TEXTS, max_size=3),
)
def test_an_argument_is_judged_alike(
    embedded: dict[str, Engines], careful: dict[str, Embedded], role: str, value: str | list[str]
):
    document = copy.deepcopy(next(case.input for case in CASES if case.name.startswith("allow")))
    document["resource"]["properties"]["roles"] = {"/path": role}
    document["arguments"] = {"path": value}

    quick, close = (
        _answer(engine, "decision", document) for engine in (embedded["shipped"].embedded, careful["shipped"])
    )

    assert quick == close


def _refuses(answer: Any) -> bool:
    return answer.get("effect") == "deny" or answer.get("visible") == []
