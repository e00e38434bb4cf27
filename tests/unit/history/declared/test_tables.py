"""The tables of declared facts beyond their bound."""

from __future__ import annotations

from collections.abc import ItemsView

from gateway.history.declared import tables
from gateway.history.declared.tables import Cell, Mark, Table

WIDTH = 60.0


class SearchedCells(dict[str, Cell]):
    """The keys of a table, which count the searches through all of them."""

    searches = 0

    def items(self) -> ItemsView[str, Cell]:  # type: ignore[override] - the view of a dict, by its interface
        self.searches += 1
        return super().items()


def mark(key: str) -> list[Mark]:
    return [Mark("calls@1", "", key, "count", ("open", "done"), WIDTH, 2)]


def test_a_full_table_is_searched_once_in_a_part_of_the_window():
    cells = SearchedCells()
    held = {"calls@1": Table(WIDTH, cells)}
    for key in ("a", "b"):
        tables.reserve(held, key, 0.0, mark(key))
        tables.close(held, key, 0.0, mark(key), ("done",))

    for number in range(10):
        tables.reserve(held, f"more-{number}", 1.0, mark(f"more-{number}"))
        tables.close(held, f"more-{number}", 1.0, mark(f"more-{number}"), ("deny",))
    assert (cells.searches, set(cells)) == (1, {"a", "b"})

    after = WIDTH * (tables.PARTS + 1)
    tables.reserve(held, "later", after, mark("later"))
    assert (cells.searches, set(cells)) == (2, {"later"})


def test_an_open_call_that_found_no_room_is_missing_from_its_key_alone():
    held: tables.Tables = {}
    for call in ("a", "b", "without"):
        tables.reserve(held, call, 0.0, mark(call if call != "without" else "c"))
    tables.close(held, "b", 0.0, mark("b"), ("deny",))
    tables.reserve(held, "later", 1.0, mark("c"))

    def is_lacking(key: str) -> bool:
        return tables.read(held["calls@1"], key, 1.0, ("count", True), ("", None))[2]

    assert [key for key in ("a", "b", "c", "d") if is_lacking(key)] == ["c"]
    tables.close(held, "without", 1.0, mark("c"), ("deny",))
    assert not is_lacking("c")
