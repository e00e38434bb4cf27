"""The pages beside MCP: health, readiness, metrics, and the protected-resource metadata of RFC 9728."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.config import Configuration
from gateway.identity import metadata
from gateway.journal.chain import timestamp
from gateway.model.wire import JsonObject
from gateway.protocol.replies import Reply
from gateway.steps.visit import Gateway
from gateway.transport.edge import Page, Probe

_METADATA = "/.well-known/oauth-protected-resource"


def probes(gateway: Gateway, *, draining: Callable[[], bool]) -> Mapping[str, Probe]:
    """Return path → page, for the kubelet, balancers and Prometheus.

    A web page of another site may read the bare answers (see `Probe`): they name no file, issuer, upstream or policy.
    """

    async def healthz() -> Reply:
        return _json(200, {"status": "ok"})

    def problems() -> dict[str, str]:
        return {**not_ready(gateway), **({"gateway": "it is stopping"} if draining() else {})}

    async def readyz() -> Reply:
        found = problems()
        body = {"ready": not found, "problems": found, "policy": _policy(gateway)}
        return _json(503 if found else 200, body)

    async def whether_ready() -> Reply:
        ready = not problems()
        return _json(200 if ready else 503, {"ready": ready})

    async def metrics() -> Reply:
        return Reply(200, ((b"content-type", CONTENT_TYPE_LATEST.encode()),), gateway.metrics.exposition())

    return {
        "/healthz": Probe(healthz, healthz),
        "/readyz": Probe(readyz, whether_ready),
        "/metrics": Probe(metrics, None),
    }


def pages(configuration: Configuration, gateway: Gateway) -> Mapping[str, Page]:
    """Return path → page, for clients."""

    async def jwks() -> Reply:
        return gateway.tasks.jwks()

    found: dict[str, Page] = {"/.well-known/jwks.json": jwks}
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
