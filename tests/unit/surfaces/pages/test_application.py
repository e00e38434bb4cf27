"""Paths, methods and targets of the pages, and the documents for clients."""

from __future__ import annotations

import pytest

from gateway.model.wire import Headers
from tests.requirements import requirement
from tests.unit.harness import Bench
from tests.unit.surfaces.pages.asking import ask_page

METADATA = "/.well-known/oauth-protected-resource"
PAGES = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/.well-known/jwks.json",
    METADATA,
    f"{METADATA}/mcp",
    f"{METADATA}/mcp/files",
)


async def test_each_resource_has_its_metadata(there: Bench):
    for path, resource in ((f"{METADATA}/mcp", "/mcp"), (METADATA, "/mcp"), (f"{METADATA}/mcp/files", "/mcp/files")):
        answer = await ask_page(there, "GET", path)
        assert (answer.status, answer.json["resource"]) == (200, f"http://127.0.0.1:8080{resource}")
        headers = dict(answer.headers)
        assert headers[b"content-type"] == b"application/json"
        assert headers[b"cache-control"] == b"max-age=300"
        assert headers[b"access-control-allow-origin"] == b"*"


async def test_a_gateway_that_signs_no_access_tokens_publishes_no_key(there: Bench):
    """Only the gateway itself verifies task tokens, and agents hold them: a server must not take one for an access token."""
    answer = await ask_page(there, "GET", "/.well-known/jwks.json")

    assert answer.json == {"keys": []}
    assert dict(answer.headers)[b"cache-control"] == b"max-age=300"


async def test_a_page_answers_head_with_the_headers_of_get(there: Bench):
    """The server leaves the body out."""

    def lasting(path: str, headers: Headers) -> Headers:
        return tuple(field for field in headers if path != "/metrics" or field[0] != b"content-length")

    for path in PAGES:
        get, head = await ask_page(there, "GET", path), await ask_page(there, "HEAD", path)
        assert head.status == get.status == 200
        assert lasting(path, head.headers) == lasting(path, get.headers)
        assert int(dict(get.headers)[b"content-length"]) == len(get.body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_a_page_is_only_read_and_names_its_methods(there: Bench, method: str):
    for path in PAGES:
        answer = await ask_page(there, method, path)
        assert (answer.status, answer.codes) == (405, ["request/http-method"])
        assert dict(answer.headers)[b"allow"] == b"GET, HEAD"
    recorded = [entry["reasons"][0]["code"] for entry in there.entries("refused")]
    assert recorded == ["request/http-method"] * len(PAGES)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE"])
async def test_a_client_that_looks_for_tokens_here_is_sent_to_the_authorization_server(there: Bench, method: str):
    for path in ("/register", "/authorize", "/token", "/.well-known/oauth-authorization-server/mcp/a"):
        answer = await ask_page(there, method, path)
        assert (answer.status, answer.codes) == (404, ["request/path"])
        assert b"issues no tokens" in answer.body
        assert b"/.well-known/oauth-protected-resource" in answer.body


MALFORMED = [
    "/",
    "//",
    "*",
    "/nothing",
    "//mcp/files",
    "//healthz",
    "/healthz/",
    "/healthz//",
    "/./healthz",
    "/%68ealthz",
    "/healthz%00",
    "/healthz%0a",
    "/healthz%2f",
    "/HEALTHZ",
    "/healthz;x=1",
    "/metrics/",
    "/tasksx",
    "/%74asks",
    "/mcp%2Ffiles",
    f"{METADATA}/",
    f"{METADATA}/mcp/",
    f"{METADATA}/mcp/nothing",
    f"{METADATA}/mcp/files/",
    f"{METADATA}/mcp//files",
    f"{METADATA}/mcp/files%2f",
    f"{METADATA}/mcp/%66iles",
    f"{METADATA}/mcp/files/../files",
    "/.well-known/jwks.json/",
    "/{upstream}",
]


@requirement("operations/probes")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_a_target_that_is_only_like_a_page_is_none(there: Bench, method: str):
    """A balancer that judges paths sees another page than a gateway that decodes, folds or redirects them."""
    for path in MALFORMED:
        answer = await ask_page(there, method, path)
        assert (answer.status, answer.codes) == (404, ["request/path"]), path
        assert b"location" not in dict(answer.headers)
        assert b"MCP is at /mcp/<upstream>." in answer.body


async def test_a_query_changes_nothing_however_long_it_is(there: Bench):
    for path in PAGES:
        query = "?" + "a=%00&" * 10_000
        assert (await ask_page(there, "GET", path + query)).status == 200


async def test_a_path_as_long_as_a_head_may_be_is_none(there: Bench):
    for path in ("/" * 60_000, "/tasks" * 10_000, f"{METADATA}/mcp/" + "f" * 60_000, "/healthz" + "%2f" * 20_000):
        assert (await ask_page(there, "GET", path)).status == 404
