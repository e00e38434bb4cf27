"""The faults that are seeded: each changes one place of a function, and the module can still be read."""

from __future__ import annotations

import ast
from pathlib import Path

from tools import seed_faults

SOURCE = """
def kept(items: list[int], least: int = 0) -> frozenset[int]:
    if not items and least:
        log(items, least=least)
    found = frozenset(item for item in items if item > least)
    return found
"""
SEEDED = {
    "negate": "if not (not items and least):",
    "and-or": "if not items or least:",
    "skip": "        None",
    "no-argument": "log(items)",
    "no-filter": "frozenset((item for item in items))",
    "compare": "item >= least",
    "empty": "return frozenset()",
}


def test_each_kind_of_fault_changes_one_place():
    kinds = [kind for kind, _, _, _ in seed_faults.places(ast.parse(SOURCE))]
    faults = [seed_faults.Fault(Path("m.py"), number, kind, 0, "kept") for number, kind in enumerate(kinds)]

    assert sorted(kinds) == sorted(SEEDED)
    for fault in faults:
        assert SEEDED[fault.kind] in seed_faults.seeded(SOURCE, fault)


def test_the_tests_of_a_module_come_before_those_of_its_part():
    named, part = seed_faults.tests_of(Path("gateway/identity/assembly.py"))

    assert "tests/unit/identity/test_assembly.py" in named
    assert part == ["tests/unit/identity"]


def test_the_tests_of_a_room_come_last():
    *_, part, room = seed_faults.tests_of(Path("gateway/calls/response/frames.py"))

    assert (part, room) == (["tests/unit/calls/response"], ["tests/unit/calls"])


def test_every_part_has_places_for_faults():
    folders = {str(parent) for fault in seed_faults.all_faults() for parent in fault.path.parents}

    assert folders >= {f"gateway/{part}" for part in seed_faults.PARTS}
