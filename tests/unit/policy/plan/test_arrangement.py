"""Blocks of a plan keep their meaning when they are arranged: the answers are held by the tests of generated policies."""

from __future__ import annotations

from typing import Any

from gateway.policy.plan.arrangement import arrange
from gateway.policy.plan.intermediate import Block, Statement


def _local(number: int) -> dict[str, Any]:
    return {"type": "local", "value": number}


def _dot(source: int, target: int) -> Statement:
    return Statement(
        "DotStmt", {"source": _local(source), "key": {"type": "string_index", "value": 0}, "target": target}
    )


def _assign(source: int, target: int) -> Statement:
    return Statement("AssignVarStmt", {"source": _local(source), "target": target})


def _make(target: int) -> Statement:
    return Statement("MakeArrayStmt", {"capacity": 0, "target": target})


def _append(array: int, value: int) -> Statement:
    return Statement("ArrayAppendStmt", {"value": _local(value), "array": array})


def _return(source: int) -> Statement:
    return Statement("ReturnLocalStmt", {"source": source})


def _ways(*ways: list[Statement]) -> Statement:
    return Statement("BlockStmt", {}, tuple(Block(tuple(way)) for way in ways))


def _arranged(*statements: Statement) -> list[Statement]:
    return [*arrange([Block(statements)], [0, 1])[0].statements]


def _targets(block: Block) -> list[int]:
    return [statement.fields["target"] for statement in block.statements]


def test_each_way_of_a_rule_has_locals_of_its_own():
    way = [_dot(0, 5), _assign(5, 6)]

    first, second = _arranged(_ways(way, way))[0].inner

    assert not {*_targets(first)} & {*_targets(second)}
    assert second.statements[1].fields["source"] == _local(_targets(second)[0])


def test_a_local_that_is_read_after_the_ways_keeps_its_number():
    both = _arranged(_ways([_dot(0, 5)], [_dot(1, 5)]), _assign(5, 6))[0].inner

    assert [_targets(way) for way in both] == [[5], [5]]


def test_a_local_that_one_way_has_from_another_keeps_its_number():
    both = _arranged(_ways([_dot(0, 5)], [_assign(5, 6)]))[0].inner

    assert [_targets(way) for way in both] == [[5], [6]]


def test_a_local_that_is_assigned_before_the_ways_keeps_its_number():
    both = _arranged(_dot(0, 5), _ways([_dot(0, 5)], [_dot(1, 5)]))[1].inner

    assert [_targets(way) for way in both] == [[5], [5]]


def test_a_parameter_keeps_its_number():
    both = _arranged(_ways([_assign(0, 1)], [_assign(0, 1)]))[0].inner

    assert [_targets(way) for way in both] == [[1], [1]]


def test_an_array_is_made_directly_before_its_items():
    inner, outer, value = _make(5), _make(6), _dot(0, 7)

    found = _arranged(outer, inner, _append(6, 5), value, _append(6, 7), _return(6))

    assert found == [inner, value, outer, _append(6, 5), _append(6, 7), _return(6)]


def test_an_array_is_not_moved_past_a_read_of_it_nor_past_a_change_of_an_item():
    reads = [_make(5), _dot(5, 6), _append(5, 6), _return(5)]
    replaces = [_dot(0, 6), _make(5), _append(5, 6), _dot(1, 6), _append(5, 6), _return(5)]
    grows = [_make(6), _make(5), _append(5, 6), _append(6, 0), _append(5, 1), _return(5)]

    assert _arranged(*reads) == reads
    assert _arranged(*replaces) == replaces
    assert _arranged(*grows) == grows


def test_an_array_that_a_loop_fills_stays_where_it_is_made():
    body = Block((_append(5, 7),))
    loop = Statement("ScanStmt", {"source": 0, "key": 6, "value": 7}, (body,))

    assert _arranged(_make(5), loop, _return(5)) == [_make(5), loop, _return(5)]
