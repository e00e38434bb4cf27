"""The table of the gateway's own reasons, and the places that refuse."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import msgspec
import pytest

from gateway.model import reasons
from gateway.model.error_codes import REFUSED
from gateway.model.errors import HistoryError
from gateway.model.reasons import policy_codes
from gateway.model.reasons.text import EntryText

ROOT = Path(__file__).resolve().parents[3]
NAMED = {name: entry for name, entry in vars(reasons).items() if isinstance(entry, reasons.RefusalText)}
OF_RULES: dict[str, object] = json.loads((ROOT / "rego/gateway/reasons/data.json").read_text("utf-8"))
FAMILIES = {code.partition("/")[0] for code in (*OF_RULES, *(entry.code for entry in reasons.entries()))} - {
    "{word}",
    "gateway",
}
"""`gateway` is the name of a package of Rego too."""
CODE = re.compile(r"([a-z]+(?:-[a-z]+)*)/[a-z-]*")
PAGES = ("task", "vote", "endorsement", "connection", "console", "lease")
"""Families whose status a page takes from the code."""


@cache
def calls() -> tuple[tuple[Path, ast.Call], ...]:
    return tuple(
        (path, node)
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
    )


@pytest.fixture(scope="module", autouse=True)
def _calls_of_this_module() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Forget the calls after these tests: a worker would keep their trees to its end."""
    yield
    calls.cache_clear()


def slots(entry: reasons.RefusalText) -> set[str]:
    texts = entry.code, entry.message, entry.remedy
    return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name is not None}


def entry_of(call: ast.Call) -> reasons.RefusalText | None:
    """Return the entry whose reason or refusal a call makes."""
    made = call.func
    if not isinstance(made, ast.Attribute) or made.attr not in {"reason", "refusal"}:
        return None
    return NAMED.get(ast.unparse(made.value).removeprefix("reasons."))


def test_a_reason_has_its_words_in_the_table_alone():
    own = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call in calls()
        if ast.unparse(call.func) == "Reason" and call.args and isinstance(call.args[0], ast.Constant | ast.JoinedStr)
    ]
    assert own == []


def spelled(source: str) -> list[str]:
    """Return the codes that a module's literals spell: a family of the tables, a slash and a name."""
    tree = ast.parse(source)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    pieces = [
        str(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
    ]
    return [piece for piece in pieces if (found := CODE.fullmatch(piece)) and found[1] in FAMILIES]


def test_no_module_outside_the_table_spells_a_code():
    found = {
        str(path.relative_to(ROOT)): codes
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        if path.parent.name != "reasons" and (codes := spelled(path.read_text("utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        'refuse("task/own")',
        "code = 'toxic-flow/own'",
        'CODES = {"policy/undefined": 1}',
        'code = f"credential/{kind}"',
        'code = "budget/" + name',
    ],
)
def test_a_spelled_code_is_found(source: str):
    assert len(spelled(source)) == 1


@pytest.mark.parametrize("source", ['"""task/own"""', 'method = "tools/call"', 'kind = "application/json"'])
def test_other_names_with_a_slash_are_no_codes(source: str):
    assert spelled(source) == []


def test_each_code_of_policy_that_the_gateway_names_has_a_rule():
    constants = [value for name, value in vars(policy_codes).items() if name.isupper()]
    named = {code for value in constants for code in ({value} if isinstance(value, str) else value)}

    assert len(named) > 20
    assert named <= OF_RULES.keys()


def test_no_name_stands_twice_in_the_table():
    found: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.extend(name for name, _ in pairs)
        return dict(pairs)

    json.loads((ROOT / "gateway/model/reasons/reasons.json").read_text("utf-8"), object_pairs_hook=collect)
    names = [name for name in found if name.isupper()]

    assert len(names) == len(set(names)) == len(NAMED)
    assert tuple(names) == reasons.names()


@pytest.mark.parametrize(
    "entry",
    [
        {"code": "a/b", "status": 400, "message": "A."},
        {"code": "a/b", "status": "400", "message": "A.", "remedy": ""},
        {"code": "a/b", "status": 400, "message": "A.", "remedy": "", "rpc": "REFUSD"},
        {"code": "a/b", "status": 400, "message": "A.", "remedy": "", "remdy": "B."},
    ],
)
def test_an_entry_of_another_form_fails_at_the_start(entry: dict[str, object]):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(entry, EntryText)


def test_a_refusal_fills_exactly_the_slots_of_its_entry():
    wrong = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call in calls()
        if (entry := entry_of(call)) is not None and {item.arg for item in call.keywords} != slots(entry)
    ]
    assert wrong == []


def test_every_entry_of_the_table_is_given_somewhere():
    paths = [path for path in (ROOT / "gateway").rglob("*.py") if path.parent.name != "reasons"]
    assert NAMED.keys() - {word for path in paths for word in re.findall(r"\w+", path.read_text("utf-8"))} == set()


def test_the_entries_of_a_code_of_pages_share_its_status_and_no_two_have_one_text():
    statuses: dict[str, set[int]] = defaultdict(set)
    for entry in reasons.entries():
        if entry.code.partition("/")[0] in PAGES:
            statuses[entry.code].add(entry.status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}
    texts = [(entry.code, entry.message, entry.remedy) for entry in reasons.entries()]
    assert len(set(texts)) == len(texts) == len(NAMED)


def test_an_entry_is_a_code_with_words_for_people():
    for entry in reasons.entries():
        assert re.fullmatch(r"[a-z-]+/(?:[a-z-]+|\{fault\})", entry.code), entry
        assert entry.message.endswith((".", "{problem}")), entry
        assert not entry.remedy or entry.remedy.endswith((".", "{remedy}")), entry
        assert 200 <= entry.status < 600, entry


def test_values_with_braces_stand_as_they_are():
    reason = reasons.CONTROL_INVALID.reason(problem="{word} and {0.__class__}")

    assert reason.message == "The request cannot be read: {word} and {0.__class__}."


def test_a_refusal_has_the_status_and_the_error_code_of_its_entry():
    refusal = reasons.TASK_UNKNOWN.refusal()

    assert (refusal.status, refusal.rpc_code, refusal.reason.code) == (404, REFUSED, "task/unknown")
    assert reasons.status_of("task/unknown") == 404
    assert reasons.status_of("policy/own") == 403


def test_a_failure_becomes_a_reason_in_sentences():
    reason = reasons.reason_of(HistoryError("the history cannot be read", "ask the operator"))

    assert (reason.code, reason.message) == ("history/unavailable", "The history cannot be read.")
    assert reason.remedy == "Ask the operator."
    assert reasons.reason_of(HistoryError("the history cannot be read")).remedy == ""
