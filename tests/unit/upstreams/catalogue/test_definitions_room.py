from __future__ import annotations

import pytest

from gateway.model.target import Pin
from gateway.upstreams.catalogue import definitions
from gateway.upstreams.catalogue.definitions import MAX_KNOWN, MAX_PINNED
from tests.unit.upstreams.catalogue.folding import Case
from tests.unit.upstreams.catalogue.scripted import tool
from tests.unit.upstreams.catalogue.test_definitions import GOOD

ROOM = 100_000
"""Bytes, in the place of `MAX_BYTES`."""


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "MAX_BYTES", ROOM)


def large(name: str, number: int) -> bytes:
    return tool(name, f"{number} ".ljust(ROOM // 10, "x"))


def held(case: Case) -> int:
    """Bytes of all definitions that the gateway holds."""
    return sum(item.size for item in case.definitions.definitions())


def test_an_upstream_that_changes_its_definitions_without_end_does_not_fill_the_memory():
    case = Case(GOOD)
    for number in range(9000):
        case.passing(tool("read_file", f"version {number}"), complete=False)

    assert len(case.reader._remembered) <= 4097  # pyright: ignore[reportPrivateUsage] - the bound is the point


def many(names: range) -> list[bytes]:
    return [tool(f"t{number}") for number in names]


def test_an_upstream_that_gives_its_tools_new_names_each_time_fills_nothing():
    case = Case()
    for first in range(0, 4 * MAX_KNOWN, MAX_KNOWN):
        case.own(*many(range(first, first + MAX_KNOWN)))
        assert len(case.definitions.names()) == MAX_KNOWN
    assert len(case.definitions.fresh) == len(case.definitions.pinned()) == MAX_PINNED
    assert case.pin(f"t{4 * MAX_KNOWN - 1}") is Pin.UNPINNED
    assert case.pin("t0") is Pin.UNKNOWN


def test_what_the_gateway_is_shown_has_room_before_what_only_clients_were_shown():
    case = Case()
    case.own(GOOD)
    case.passing(*many(range(MAX_KNOWN)))
    case.own(GOOD, tool("new"))

    assert case.definitions.names() == {"read_file", "new"}
    assert case.pin("new") is Pin.MATCH
    assert case.pin("t0") is Pin.UNKNOWN


def test_pages_that_never_end_fill_nothing():
    case = Case(GOOD)
    case.own(GOOD)
    for first in range(0, 3 * MAX_KNOWN, 1000):
        case.passing(*many(range(first, first + 1000)), complete=False)

    assert len(case.definitions.names()) == MAX_KNOWN
    assert case.pin() is Pin.MATCH


def test_a_list_of_more_tools_than_are_known_is_never_a_whole_one():
    case = Case()
    case.own(*many(range(MAX_KNOWN + 1)))
    assert not case.definitions.listed
    assert case.pin("t0") is Pin.UNKNOWN


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.usefixtures("little_room")
def test_large_definitions_under_new_names_each_time_fill_nothing(*, own: bool):
    case = Case(GOOD)
    case.own(GOOD)
    for number in range(50):
        case.note([GOOD, large(f"t{number}", number)], complete=True, own=own)
        assert held(case) <= ROOM

    assert case.pin() is Pin.MATCH
    assert case.pin("t0") is (Pin.UNKNOWN if own else Pin.MATCH)
    assert case.pin("t49") is Pin.UNKNOWN


@pytest.mark.usefixtures("little_room")
def test_a_definition_that_grows_beyond_the_room_is_changed_and_not_kept():
    small = [tool(f"t{number}") for number in range(50)]
    case = Case(*small)
    case.own(*small)
    case.own(*(large(f"t{number}", number) for number in range(50)))

    assert held(case) <= ROOM
    assert {case.pin(f"t{number}") for number in range(50)} == {Pin.CHANGED}


@pytest.mark.usefixtures("little_room")
def test_what_was_read_before_is_remembered_up_to_so_many_bytes():
    case = Case(GOOD)
    for number in range(50):
        case.passing(large("read_file", number), complete=False)

    assert sum(map(len, case.reader._remembered)) <= ROOM + ROOM // 5  # pyright: ignore[reportPrivateUsage] - the bound is the point
