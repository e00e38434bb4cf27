"""Names at the one endpoint: each belongs to one upstream, and leads back to the name that the upstream knows."""

from __future__ import annotations

import re

import pytest

from gateway.calls.endpoint.names import (
    LONGEST,
    Owned,
    OwnedId,
    outer_handle,
    outer_id,
    outer_name,
    outer_uri,
    resolve_handle,
    resolve_id,
    resolve_name,
    resolve_uri,
)

UPSTREAMS = ("a", "b", "crm", "x" * 63)
CLIENTS = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ODD = [
    "search",
    "a__b",
    "_b",
    "__",
    "x" * 200,
    "sеarch",
    "with space",
    "a.b/c",
    "",
    "crm__search",
    "b_0123456789abcdef",
    "\ud800",
]


def resolve(outer: str, *listed: str) -> Owned | None:
    return resolve_name(outer, UPSTREAMS, lambda _: listed)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("name", ODD)
def test_a_name_fits_all_clients_and_leads_back(upstream: str, name: str):
    outer = outer_name(upstream, name)
    assert CLIENTS.fullmatch(outer)
    assert resolve(outer, *ODD) == Owned(upstream, name)


def test_no_two_things_share_a_name():
    outer = {outer_name(upstream, name) for upstream in UPSTREAMS for name in ODD}
    assert len(outer) == len(UPSTREAMS) * len(ODD)


def test_a_tool_cannot_be_named_as_the_digest_of_another():
    long = "x" * 200
    outer = outer_name("a", long)
    assert len(outer) == LONGEST
    impostor = outer.removeprefix("a__")
    assert outer_name("a", impostor) != outer
    assert resolve(outer, impostor, long) == Owned("a", long)


def test_a_digested_name_that_nobody_lists_belongs_to_nobody():
    assert resolve(outer_name("a", "x" * 200), "y") is None


@pytest.mark.parametrize("outer", ["", "search", "d__search", "a_search", "__search", "A__search", "a" * 10_000])
def test_a_name_without_an_upstream_belongs_to_nobody(outer: str):
    assert resolve(outer, "search") is None


def test_a_uri_leads_back_whatever_it_holds():
    for uri in ("file:///x", "opagate:b:file:///x", "", ":", "a:b"):
        assert resolve_uri(outer_uri("a", uri), UPSTREAMS) == Owned("a", uri)
    for foreign in ("file:///x", "opagate:d:file:///x", "OPAGATE:a:file:///x", "opagate:a"):
        assert resolve_uri(foreign, UPSTREAMS) is None


def test_a_handle_leads_back_to_its_upstream():
    assert resolve_handle(outer_handle("a", "b:1"), UPSTREAMS) == Owned("a", "b:1")
    assert resolve_handle("d:1", UPSTREAMS) is None
    assert resolve_handle("a", UPSTREAMS) is None


@pytest.mark.parametrize("identifier", [1, "1", "a:1", "", -3, '"'])
def test_an_id_keeps_its_type(identifier: int | str):
    found = resolve_id(outer_id("crm", identifier), UPSTREAMS)
    assert found == OwnedId("crm", identifier)
    assert found is not None
    assert type(found.id) is type(identifier)


@pytest.mark.parametrize(
    "identifier", [1, None, "crm", "crm:", "crm:true", "crm: 1", "crm:1.0", "crm:[1]", "d:1", "crm:x"]
)
def test_an_id_of_another_form_belongs_to_nobody(identifier: object):
    assert resolve_id(identifier, UPSTREAMS) is None
