"""The bound on what one client holds."""

from __future__ import annotations

import pytest

from gateway.wire.http.limits import ConcurrencyLimit, ConnectionPlaces
from tests.requirements import requirement


@requirement("strangers/connections")
def test_an_address_has_so_many_connections_and_no_more_until_one_is_gone():
    shares = ConcurrencyLimit(2)
    assert [shares.admit("192.0.2.1") for _ in range(3)] == [True, True, False]

    shares.leave("192.0.2.1")

    assert [shares.admit("192.0.2.1") for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("one", "another"), [("192.0.2.1", "192.0.2.2"), ("a caller", "another caller")])
def test_one_client_takes_nothing_from_another(one: str, another: str):
    shares = ConcurrencyLimit(1)
    assert shares.admit(one)
    assert shares.admit(another)


@pytest.mark.parametrize(("other", "admitted"), [("2001:db8:0:1:ffff::2", False), ("2001:db8:0:2::1", True)])
def test_a_network_of_ipv6_is_one_client(other: str, *, admitted: bool):
    shares = ConcurrencyLimit(1)
    assert shares.admit("2001:db8:0:1::1")
    assert shares.admit(other) is admitted


def test_clients_without_an_address_share_one_bound():
    shares = ConcurrencyLimit(1)
    assert [shares.admit("") for _ in range(2)] == [True, False]


def test_what_is_gone_is_forgotten():
    shares = ConcurrencyLimit(1)
    for number in range(3):
        address = f"192.0.2.{number}"
        assert shares.admit(address)
        shares.leave(address)
    assert not shares._held


# --- with all places taken ---------------------------------------------------------------------------


class Held:
    """A connection of the test, by its name."""

    def __init__(self, name: str, ended: list[str]) -> None:
        self.name, self.is_stranger, self._ended = name, True, ended

    def give_way(self) -> None:
        self._ended.append(self.name)


def full(*names: str) -> tuple[ConnectionPlaces, dict[str, Held], list[str]]:
    """Return places that are all taken, by connections of the names, and the list of connections that give way."""
    ended: list[str] = []
    places, held = ConnectionPlaces(100, len(names)), {name: Held(name, ended) for name in names}
    assert all(places.admit(name, holder) for name, holder in held.items())
    return places, held, ended


@requirement("strangers/reserve")
def test_the_stranger_that_is_silent_longest_gives_way_first():
    places, held, ended = full("first", "served", "known")
    for name in ("served", "known"):
        places.begin(held[name])
    places.welcome(held["known"])
    places.rest(held["known"])
    late = [Held(f"late-{number}", ended) for number in range(4)]
    assert all(places.admit("late", holder) for holder in late)
    assert ended == ["first", "late-0", "late-1", "late-2"]


def test_a_stranger_that_is_served_gives_way_before_a_known_caller_that_rests():
    places, held, ended = full("served", "known")
    for holder in held.values():
        places.begin(holder)
    places.welcome(held["known"])
    places.rest(held["known"])
    new = Held("new", ended)
    assert places.admit("new", new)
    places.begin(new)
    places.welcome(new)
    assert places.admit("another", Held("another", ended))
    assert ended == ["served", "known"]


@requirement("strangers/reserve")
def test_a_call_of_a_known_caller_never_gives_way():
    places, held, ended = full("one", "two")
    for holder in held.values():
        places.begin(holder)
        places.welcome(holder)
    assert not places.admit("new", Held("new", ended))
    assert ended == []
    places.rest(held["two"])
    assert places.admit("new", Held("new", ended))
    assert ended == ["two"]


def test_what_has_left_does_not_give_way_and_leaves_room():
    places, held, ended = full("one", "two")
    places.leave("one", held["one"])
    assert places.admit("new", Held("new", ended))
    assert ended == []
    assert places.admit("newer", Held("newer", ended))
    assert ended == ["two"]
