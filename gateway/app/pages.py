"""The pages beside MCP: health, readiness, metrics, and the protected-resource metadata of RFC 9728."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.config import Configuration
from gateway.identity import metadata
from gateway.journal.chain import timestamp
from gateway.model.wire import JsonObject
from gateway.protocol.replies import Reply
from gateway.steps.visit import Gateway

Page = Callable[[], Awaitable[Reply]]

_METADATA = "/.well-known/oauth-protected-resource"


def pages(configuration: Configuration, gateway: Gateway, *, draining: Callable[[], bool]) -> Mapping[str, Page]:
    """Path → page."""

    async def healthz() -> Reply:
        return _json(200, {"status": "ok"})

    async def readyz() -> Reply:
        problems = not_ready(gateway)
        if draining():
            problems["gateway"] = "it is stopping"
        body = {"ready": not problems, "problems": problems, "policy": _policy(gateway)}
        return _json(503 if problems else 200, body)

    async def metrics() -> Reply:
        return Reply(200, ((b"content-type", CONTENT_TYPE_LATEST.encode()),), gateway.metrics.exposition())

    async def jwks() -> Reply:
        return gateway.tasks.jwks()

    found: dict[str, Page] = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics,
        "/.well-known/jwks.json": jwks,
    }
    for upstream in (None, *configuration.upstreams):
        path = f"{_METADATA}/mcp/{upstream}" if upstream else f"{_METADATA}/mcp"
        found[path] = _document(metadata.document(configuration, upstream) or {})
    found[_METADATA] = found[f"{_METADATA}/mcp"]
    return found


def not_ready(gateway: Gateway) -> dict[str, str]:
    """What keeps the gateway from serving as it should: part → problem, for people."""
    problems: dict[str, str] = {}
    policy = gateway.policy.status()
    if policy.problem is not None:
        problems["policy"] = policy.problem
    elif not policy.ready:
        problems["policy"] = "no policy is in force"
    if (problem := gateway.journal.problem()) is not None:
        problems["journal"] = problem
    for issuer in gateway.identities.status():
        if not issuer.ready:
            problems[f"identity {issuer.issuer}"] = issuer.problem or "its keys are not known"
    return problems


def _policy(gateway: Gateway) -> JsonObject:
    status = gateway.policy.status()
    since = timestamp(status.since) if status.since else None
    return {"name": status.name, "revision": status.revision, "engine": status.engine, "since": since}


def _document(document: JsonObject) -> Page:
    reply = _json(200, document, (b"cache-control", b"max-age=300"), (b"access-control-allow-origin", b"*"))

    async def page() -> Reply:
        return reply

    return page


def _json(status: int, body: JsonObject, *headers: tuple[bytes, bytes]) -> Reply:
    return Reply(status, ((b"content-type", b"application/json"), *headers), msgspec.json.encode(body))
