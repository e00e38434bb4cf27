import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.identity import keys
from gateway.identity.keys import DiscoverySource, FileSource, LoadError, UrlSource
from tests.unit.identity.web import Answer, Site, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def site() -> "AsyncIterator[Site]":
    async with serving() as running:
        yield running


async def load(source: UrlSource | DiscoverySource) -> bytes:
    try:
        return await source.load()
    finally:
        await source.aclose()


async def test_a_file_is_read(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.write_bytes(b"{}")
    source = FileSource(path)
    assert await source.load() == b"{}"
    assert source.place == str(path)
    await source.aclose()


async def test_a_file_that_is_missing_or_too_large_is_an_error(tmp_path: Path):
    with pytest.raises(LoadError, match="No such file"):
        await FileSource(tmp_path / "none").load()
    large = tmp_path / "large"
    large.write_bytes(b"x" * (keys.MAX_BYTES + 1))
    with pytest.raises(LoadError, match="larger than 1 MiB"):
        await FileSource(large).load()


async def test_a_url_is_fetched(site: Site):
    site.answers["/keys"] = Answer(b"{}")
    assert await load(UrlSource(f"{site.url}/keys")) == b"{}"


async def test_a_redirect_on_the_same_host_is_followed(site: Site):
    site.answers |= {"/old": Answer(status=302, headers={"location": "/keys"}), "/keys": Answer(b"{}")}
    assert await load(UrlSource(f"{site.url}/old")) == b"{}"


@pytest.mark.parametrize(
    "target", ["http://localhost:{port}/keys", "https://evil.example/keys", "http://169.254.169.254/"]
)
async def test_a_redirect_to_another_host_is_refused_without_a_request(site: Site, target: str):
    port = site.url.rpartition(":")[2]
    site.answers |= {"/old": Answer(status=302, headers={"location": target.format(port=port)}), "/keys": Answer(b"{}")}
    with pytest.raises(LoadError, match="sends to another host"):
        await load(UrlSource(f"{site.url}/old"))
    assert site.asked == ["/old"]


async def test_a_redirect_loop_ends(site: Site):
    site.answers["/keys"] = Answer(status=302, headers={"location": "/keys"})
    with pytest.raises(LoadError, match="redirects too often"):
        await load(UrlSource(f"{site.url}/keys"))
    assert len(site.asked) == keys.MAX_REDIRECTS + 1


async def test_an_answer_that_is_too_large_is_refused(site: Site):
    site.answers["/keys"] = Answer(b"x" * (keys.MAX_BYTES + 1))
    with pytest.raises(LoadError, match="more than 1024 KiB"):
        await load(UrlSource(f"{site.url}/keys"))


@pytest.mark.parametrize("status", [204, 400, 404, 500])
async def test_any_other_status_is_an_error(site: Site, status: int):
    site.answers["/keys"] = Answer(status=status)
    with pytest.raises(LoadError, match=f"answered {status}"):
        await load(UrlSource(f"{site.url}/keys"))


async def test_a_server_that_does_not_answer_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keys, "DEADLINE", 0.05)
    gate = asyncio.Event()
    site.answers["/keys"] = Answer(gate=gate)
    with pytest.raises(LoadError, match=r"did not answer|ReadTimeout"):
        await load(UrlSource(f"{site.url}/keys"))
    gate.set()


async def test_a_server_that_is_away_is_an_error(unused_tcp_port: int):
    with pytest.raises(LoadError, match="cannot be reached: ConnectError"):
        await load(UrlSource(f"http://127.0.0.1:{unused_tcp_port}/keys"))


async def test_a_plain_http_url_is_never_asked():
    with pytest.raises(LoadError, match="not https"):
        await load(UrlSource("http://idp.example/keys"))


async def test_a_source_that_was_never_used_closes():
    await UrlSource("https://idp.example/keys").aclose()


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server/realms/a",
        "/.well-known/openid-configuration/realms/a",
        "/realms/a/.well-known/openid-configuration",
    ],
)
async def test_an_issuer_is_discovered_at_each_well_known_place(site: Site, path: str):
    issuer = f"{site.url}/realms/a"
    metadata = {"issuer": issuer, "jwks_uri": f"{site.url}/keys"}
    site.answers |= {path: Answer(json.dumps(metadata).encode()), "/keys": Answer(b"{}")}
    assert await load(DiscoverySource(issuer)) == b"{}"


async def test_an_issuer_without_metadata_is_an_error(site: Site):
    with pytest.raises(LoadError, match="answered 404"):
        await load(DiscoverySource(site.url))
    assert site.asked == ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"issuer": "{url}/", "jwks_uri": "{url}/keys"}, "another issuer"),
        ({"issuer": "https://evil.example", "jwks_uri": "{url}/keys"}, "another issuer"),
        ({"jwks_uri": "{url}/keys"}, "another issuer"),
        ({"issuer": "{url}"}, "has no jwks_uri"),
        ({"issuer": "{url}", "jwks_uri": 7}, "has no jwks_uri"),
        ({"issuer": "{url}", "jwks_uri": "http://idp.example/keys"}, "not https"),
        ({"issuer": "{url}", "jwks_uri": "file:///etc/passwd"}, "not https"),
        ([], "not a JSON object"),
    ],
)
async def test_metadata_that_does_not_fit_ends_the_search(site: Site, metadata: object, problem: str):
    first = "/.well-known/oauth-authorization-server"
    body = json.dumps(metadata).replace("{url}", site.url).encode()
    site.answers |= {first: Answer(body), "/keys": Answer(b"{}")}
    with pytest.raises(LoadError, match=problem):
        await load(DiscoverySource(site.url))
    assert site.asked == [first]


async def test_an_https_issuer_cannot_send_to_plain_http_on_loopback(site: Site):
    body = b'{"issuer":"https://idp.example","jwks_uri":"http://127.0.0.1:9/keys"}'
    site.answers |= {"/metadata": Answer(body)}
    with pytest.raises(LoadError, match="not https"):
        await load(DiscoverySource("https://idp.example", (f"{site.url}/metadata",)))
