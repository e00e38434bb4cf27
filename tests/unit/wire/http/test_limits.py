"""The bound on what one client holds."""

from __future__ import annotations

import pytest

from gateway.wire.http.limits import ConcurrencyLimit
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
