"""Documents for clients: protected-resource metadata (RFC 9728)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.identity import challenge
from gateway.surfaces.pages.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.config import Configuration

_METADATA: Final = "/.well-known/oauth-protected-resource"
_HEADERS: Final = ((b"cache-control", b"max-age=300"), (b"access-control-allow-origin", b"*"))


def document_routes(configuration: Configuration) -> list[Route]:
    """Return the routes of the documents."""

    async def show_metadata(upstream: str | None, _request: Request) -> Response:
        return json_response(challenge.document(configuration, upstream) or {}, *_HEADERS)

    # A route for each upstream: whichever the method, there is no page for any other name.
    resources = {_METADATA: None, f"{_METADATA}/mcp": None}
    resources |= {f"{_METADATA}/mcp/{upstream}": upstream for upstream in configuration.upstreams}
    return [Route(path, partial(show_metadata, upstream)) for path, upstream in resources.items()]
