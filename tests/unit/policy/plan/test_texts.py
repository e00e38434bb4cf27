"""A plan of an attacker, compiled and asked: its texts stay texts, and none of them runs."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.plan import compile_process, intermediate
from gateway.policy.plan.program import Program
from gateway.policy.plan.values import EvaluationFailed

_RUN: Final = "__import__('builtins').opagate_ran = True"
_TEXTS: Final = (
    f'"""\n{_RUN}\n"""',
    f'"""\n    {_RUN}\n    """',
    f"x.rego\n{_RUN}\n#",
    *(f"x.rego\n{' ' * depth}{_RUN}\n{' ' * depth}#" for depth in (4, 8)),
    *(f"x{end}{_RUN}{end}#" for end in ("\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029")),
    f"'; {_RUN}; '",
    f"'] = 0; {_RUN}; ['",
    f"' + str({_RUN.replace(' = ', ':=')}) + '",
    f"{{{_RUN}}}",
    f"\\'; {_RUN}; \\'",
    f"0\n{_RUN}",
    f"(lambda: {_RUN})()",
    "{v0} {} {0} %s \U0001f600 \x00 \\N{BULLET} \\",
)


@pytest.fixture
def names_are_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the syntax trees as the only hurdle."""

    def let_through(_: object) -> None:
        """Refuse nothing."""

    monkeypatch.setattr(intermediate, "_require_printable", let_through)


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    ran = hasattr(builtins, "opagate_ran")
    if ran:
        del builtins.opagate_ran  # type: ignore[attr-defined]
    assert not ran


def _string(index: int) -> dict[str, Any]:
    return {"type": "string_index", "value": index}


def _local(local: int) -> dict[str, Any]:
    return {"type": "local", "value": local}


def _do(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "stmt": {"file": 0, "row": 1, **fields}}


_PLACES: Final = ("files", "functions", "entries", "paths", "strings")


def _plan(text: str, places: tuple[str, ...] = _PLACES) -> dict[str, Any]:
    """Return a plan with a text in some places of texts. Its rule makes an object of the string, and its entry returns it."""
    file, function, name, path, string = (text if place in places else "text" for place in _PLACES)
    rule = [
        _do("MakeObjectStmt", target=2),
        _do("ObjectInsertStmt", key=_string(0), value=_string(0), object=2),
        _do("ObjectInsertOnceStmt", key=_string(1), value=_string(0), object=2),
        _do("DotStmt", source=_local(2), key=_string(0), target=3),
        _do("CallStmt", func="concat", args=[_string(0), _local(4)], result=5),
        _do("ReturnLocalStmt", source=2),
    ]
    made = [
        _do("MakeArrayStmt", capacity=1, target=4),
        _do("ArrayAppendStmt", value=_string(0), array=4),
    ]
    inner = [_do("CallDynamicStmt", args=[0, 1], path=[_string(0), _string(0)], result=7)]
    entry = [
        _do("CallStmt", func=function, args=[_local(0), _local(1)], result=2),
        _do("BlockStmt", blocks=[{"stmts": [_do("BlockStmt", blocks=[{"stmts": [_do("BlockStmt", blocks=[{"stmts": inner}])]}])]}]),
        _do("WithStmt", local=0, path=[0], value=_string(0), block={"stmts": [_do("NopStmt")]}),
        _do("MakeObjectStmt", target=3),
        _do("ObjectInsertStmt", key=_string(2), value=_local(2), object=3),
        _do("ResultSetAddStmt", value=3),
    ]  # fmt: skip
    return {
        "static": {
            "strings": [{"value": found} for found in (string, "other", "result")],
            "builtin_funcs": [{"name": "concat"}],
            "files": [{"value": file}],
        },
        "funcs": {
            "funcs": [
                {
                    "name": function,
                    "params": [0, 1],
                    "return": 2,
                    "blocks": [{"stmts": [*made, *rule]}],
                    "path": [path, path],
                }
            ]
        },
        "plans": {"plans": [{"name": name, "blocks": [{"stmts": entry}]}]},
    }


def _program(plan: dict[str, Any]) -> Program:
    return Program(compile_process.compile_plan(json.dumps(plan).encode()), {})


@pytest.mark.usefixtures("names_are_let_through")
@pytest.mark.parametrize("text", _TEXTS)
def test_a_text_in_every_place_of_a_plan_is_a_value_and_never_runs(text: str):
    answer = _program(_plan(text)).answer(text, {})

    assert answer == {text: text, "other": text}


@pytest.mark.parametrize("place", ["files", "functions", "entries", "paths"])
@pytest.mark.usefixtures("names_are_let_through")
@pytest.mark.parametrize("text", _TEXTS)
def test_a_text_in_one_place_of_a_plan_never_runs(text: str, place: str):
    answer = _program(_plan(text, (place,))).answer(text if place == "entries" else "text", {})

    assert answer == {"text": "text", "other": "text"}


@pytest.mark.usefixtures("names_are_let_through")
@pytest.mark.parametrize("text", _TEXTS)
def test_the_place_of_a_failure_is_told_with_the_name_of_its_file(text: str):
    plan = _plan(text)
    (rule,) = plan["funcs"]["funcs"]
    rule["blocks"][0]["stmts"].insert(0, _do("CallStmt", func="concat", args=[_local(0), _local(0)], result=9))

    with pytest.raises(EvaluationFailed) as raised:
        _program(plan).answer(text, {})
    assert str(raised.value) == f"{text}:1"


@pytest.mark.parametrize("place", ["files", "functions", "entries", "paths"])
@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2Jb", "a\u2028b", "a\u202eb", "a\u200bb", "a\x00b"])
def test_a_name_with_a_character_that_does_not_print_is_refused(text: str, place: str):
    with pytest.raises(PolicyBroken, match="does not print") as raised:
        _program(_plan(text, (place,)))
    assert raised.value.message.isprintable()


_FIELDS: Final = tuple(
    (kind, field)
    for kind, fields in {
        "AssignIntStmt": "value target",
        "BreakStmt": "index",
        "CallDynamicStmt": "args result",
        "CallStmt": "func result",
        "MakeArrayStmt": "capacity target",
        "MakeNumberRefStmt": "Index index target",
        "ResultSetAddStmt": "value",
        "ScanStmt": "source key value",
        "WithStmt": "local path",
    }.items()
    for field in (*fields.split(), "file", "row")
)
_WHOLE: Final[dict[str, dict[str, Any]]] = {
    "AssignIntStmt": {"value": 1, "target": 9},
    "BreakStmt": {"index": 0},
    "CallDynamicStmt": {"args": [0, 1], "result": 9, "path": [_string(0)]},
    "CallStmt": {"func": "concat", "args": [_string(0), _local(4)], "result": 9},
    "MakeArrayStmt": {"capacity": 0, "target": 9},
    "MakeNumberRefStmt": {"Index": 0, "index": 0, "target": 9},
    "ResultSetAddStmt": {"value": 2},
    "ScanStmt": {"source": 0, "key": 9, "value": 10, "block": {"stmts": []}},
    "WithStmt": {"local": 0, "path": [0], "value": _string(0), "block": {"stmts": []}},
}


def _with_field(kind: str, field: str, value: object) -> dict[str, Any]:
    plan = _plan("text")
    plan["funcs"]["funcs"][0]["blocks"][0]["stmts"].insert(0, _do(kind, **{**_WHOLE[kind], field: value}))
    return plan


@pytest.mark.parametrize(("kind", "field"), _FIELDS)
@pytest.mark.parametrize("value", [f"9 = 0; {_RUN}; v9", True, 1.0, [f"0, {_RUN}"], {"type": _RUN}])
def test_a_field_of_another_kind_is_refused(kind: str, field: str, value: object):
    with pytest.raises(PolicyBroken):
        _program(_with_field(kind, field, value))


@pytest.mark.parametrize(("kind", "field"), _FIELDS)
@pytest.mark.parametrize("value", [-1, 10**6])
def test_a_number_out_of_its_range_is_refused_or_has_no_effect_beyond_the_answer(kind: str, field: str, value: int):
    with suppress(PolicyBroken, EvaluationFailed):
        assert _program(_with_field(kind, field, value)).answer("text", {}) in ({"text": "text", "other": "text"}, None)


@pytest.mark.parametrize("text", [f"1; {_RUN}", "1_0", "0x1", "1" * 5_000, "1e999999999", "nan", "٣", " 1", "1\n"])
def test_a_number_that_is_no_number_of_json_is_refused(text: str):
    plan = _plan(text)
    plan["plans"]["plans"][0]["blocks"][0]["stmts"].insert(0, _do("MakeNumberRefStmt", Index=0, index=0, target=8))

    with pytest.raises(PolicyBroken):
        _program(plan)
