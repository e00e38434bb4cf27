"""Pages without a caller: probes, and documents for clients (protected-resource metadata, RFC 9728)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.calls.pipeline.readiness import list_problems
from gateway.identity import challenge
from gateway.inspection.words.native import describe_choice
from gateway.policy.observing import describe_ends
from gateway.record.journal.chain import timestamp
from gateway.surfaces.pages.responses import ReplyResponse, json_response
from gateway.upstreams.stdio import StdioUpstream
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from gateway.calls.composition import Gateway
    from gateway.model.wire import JsonObject
    from gateway.upstreams.served import ServedUpstreams


PROBES: Final[Mapping[str, bool]] = MappingProxyType({"/healthz": True, "/readyz": True, "/metrics": False})
"""Path of each probe → whether it has a short answer that a web page of another site may read (see `Handlers.probes`).
A short answer names no file, issuer, upstream or policy."""


def probe_routes(gateway: Gateway, is_draining: Callable[[], bool]) -> list[Route]:
    """Return a route for each of `PROBES`."""

    async def show_health(_request: Request) -> Response:
        return json_response({"status": "ok"})

    async def show_readiness(request: Request) -> Response:
        problems = {
            **list_problems(
                gateway.policy, gateway.journal, gateway.identities, gateway.tls, gateway.served, claim=gateway.claim
            ),
            **({"gateway": "it is stopping"} if is_draining() else {}),
        }
        body: JsonObject = {"ready": not problems}
        if request.scope["opagate.own_host"]:
            body |= {"problems": problems, "policy": _describe_policy(gateway), "core": describe_choice()}
            body["isolation"] = _describe_isolation(gateway)
            body |= {"stops": _count_stops(gateway), "needs_restart": list(gateway.served.waiting)}
            if gateway.claim is not None and (unlike := gateway.claim.find_differences()):
                body["differs"] = {name: list(each) for name, each in unlike.items()}
            if observed := gateway.observing.find_open():
                body["observing"] = describe_ends(observed)
        return json_response(body, status=503 if problems else 200)

    async def show_metrics(_request: Request) -> Response:
        kind = (b"content-type", CONTENT_TYPE_LATEST.encode())
        return ReplyResponse(Reply(200, (kind,), gateway.metrics.exposition()))

    return [Route(path, show) for path, show in zip(PROBES, (show_health, show_readiness, show_metrics), strict=True)]


def _describe_isolation(gateway: Gateway) -> JsonObject:
    """Return the isolation of each stdio upstream, and its open ways."""
    servers = {
        name: each for name, each in gateway.served.current.transports.items() if isinstance(each, StdioUpstream)
    }
    described = {name: each.isolation for name, each in servers.items()}
    return {name: {"by": each.by, "open": list(each.leaves_open)} for name, each in described.items()}


def _count_stops(gateway: Gateway) -> JsonObject:
    """Return the number of stops in force for each scope. Their names are for operators."""
    return dict(Counter(stop.chosen.scope for stop in gateway.stops.register))


def _describe_policy(gateway: Gateway) -> JsonObject:
    status = gateway.policy.status()
    since = timestamp(status.since) if status.since else None
    described: JsonObject = {"name": status.name, "revision": status.revision, "engine": status.engine, "since": since}
    return described if status.plan is None else {**described, "plan": status.plan}


_METADATA: Final = "/.well-known/oauth-protected-resource"
_HEADERS: Final = ((b"cache-control", b"max-age=300"), (b"access-control-allow-origin", b"*"))


def document_routes(served: ServedUpstreams) -> list[Route]:
    """Return the routes of the documents."""
    show_metadata = _MetadataPage(served)
    return [Route(path, show_metadata) for path in (_METADATA, f"{_METADATA}/mcp", f"{_METADATA}/mcp/{{upstream}}")]


class _MetadataPage:
    """An ASGI application. Whichever the method, there is no page for a name that no upstream has."""

    def __init__(self, served: ServedUpstreams) -> None:
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        found = challenge.document(self._served.current.configuration, request.path_params.get("upstream"))
        if found is None:
            raise HTTPException(404)
        if request.method not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        await json_response(found, *_HEADERS)(scope, receive, send)
