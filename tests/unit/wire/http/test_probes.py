"""Pages for the kubelet and Prometheus, and what a web page under a name of its own learns from them."""

from __future__ import annotations

import pytest

from tests.requirements import requirement
from tests.unit.wire.http.test_edge import HOST, client, code_of

ADDRESSES = [b"10.1.2.3:8080", b"10.1.2.3", b"[fd00::1]:8080", b"[FD00::1]", b"0.0.0.0:8080", b"127.0.0.1:8080"]
NAMES = [b"evil.example", b"evil.example:8080", b"127.0.0.1.evil.example", b"[fd00::1].evil.example", b"2130706433", b"fd00::1",
         b"10.1.2.3@evil.example", b"10.1.2.3:evil", b"", b":8080", b"[evil.example]:8080"]  # fmt: skip


@requirement("operations/probes")
@pytest.mark.parametrize("path", ["/probe", "/figures"])
@pytest.mark.parametrize("host", ADDRESSES)
async def test_probes_are_answered_whole_at_any_address(path: str, host: bytes):
    """The kubelet and Prometheus ask at the address of the pod, and no name can have led a browser there."""
    there = client()

    assert await there.ask("GET", path, (b"host", host)) == 200
    assert there.body == b"page of " + path.encode()


@requirement("operations/probes")
@pytest.mark.parametrize("host", NAMES)
async def test_under_another_name_a_probe_says_no_more_than_it_has_to(host: bytes):
    """A web page can have a name of its own lead to the gateway (DNS rebinding), and read the answers."""
    probe, figures = client(), client()

    assert await probe.ask("GET", "/probe", (b"host", host)) == 200
    assert probe.body == b"bare /probe"
    assert await figures.ask("GET", "/figures", (b"host", host)) == 403
    assert code_of(figures.body) == "request/host"


@requirement("operations/probes")
async def test_a_probe_without_a_host_is_one_of_http_1_0():
    """A browser always sends one."""
    old, new, twice = client(), client(), client()
    old.version = "1.0"
    assert await old.ask("GET", "/figures") == 200
    assert await new.ask("GET", "/figures") == 403
    assert await twice.ask("GET", "/figures", (b"host", b"10.1.2.3"), (b"host", b"10.1.2.3")) == 403


@pytest.mark.parametrize("path", ["/probe", "/figures"])
@pytest.mark.parametrize("host", [b"10.1.2.3", b"evil.example", HOST[1]])
async def test_a_page_of_another_origin_reads_no_probe(path: str, host: bytes):
    there = client()

    assert await there.ask("GET", path, (b"host", host), (b"origin", b"https://evil.example")) == 403
    assert code_of(there.body) == "request/origin"


@pytest.mark.parametrize("path", ["/page", "/mcp/files", "/tasks", "/nothing"])
async def test_an_address_that_is_not_the_gateways_is_none_for_anything_else(path: str):
    there = client()

    assert await there.ask("GET", path, (b"host", b"10.1.2.3:8080")) == 403
    assert code_of(there.body) == "request/host"


async def test_a_link_of_another_site_to_a_page_for_people_works():
    assert await client().ask("GET", "/page", HOST, (b"sec-fetch-site", b"cross-site")) == 200
