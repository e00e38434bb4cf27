"""The pages beside MCP, of a gateway whose parts are real."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.app.pages import pages, probes
from gateway.identity.keys import KeyStatus
from tests.requirements import requirement
from tests.unit.harness import Bench


async def shown(there: Bench, path: str, *, draining: bool = False) -> tuple[int, Any]:
    probe = probes(there.gateway, draining=lambda: draining).get(path)
    reply = await (probe.show if probe else pages(there.configuration, there.gateway)[path])()
    return reply.status, json.loads(reply.body)


@requirement("operations/probes")
async def test_what_anybody_may_read_says_only_whether_it_is_ready(there: Bench, monkeypatch: pytest.MonkeyPatch):
    found = probes(there.gateway, draining=lambda: False)
    alive, ready, figures = (found[path].bare for path in ("/healthz", "/readyz", "/metrics"))
    assert alive is not None
    assert ready is not None
    assert figures is None
    replies = [await alive(), await ready()]
    monkeypatch.setattr(there.gateway.journal, "problem", lambda: f"the disk of {there.folder} is full")
    replies.append(await ready())

    assert [(reply.status, reply.body) for reply in replies] == [
        (200, b'{"status":"ok"}'),
        (200, b'{"ready":true}'),
        (503, b'{"ready":false}'),
    ]


async def test_a_gateway_that_serves_is_alive_and_ready(there: Bench):
    assert await shown(there, "/healthz") == (200, {"status": "ok"})
    status, body = await shown(there, "/readyz")
    assert (status, body["ready"], body["problems"], body["policy"]["engine"]) == (200, True, {}, "embedded")
    assert body["policy"]["since"].endswith("Z")


async def test_a_gateway_that_stops_is_not_ready(there: Bench):
    assert (await shown(there, "/readyz", draining=True))[1]["problems"] == {"gateway": "it is stopping"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"problem": "it is broken"}, "it is broken"),
        ({"ready": False}, "no policy is in force"),
    ],
)
async def test_a_policy_that_does_not_decide_is_named(
    there: Bench, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], problem: str
):
    status = replace(there.gateway.policy.status(), **change)
    monkeypatch.setattr(there.gateway.policy, "status", lambda: status)

    code, body = await shown(there, "/readyz")

    assert (code, body["problems"]) == (503, {"policy": problem})


async def test_a_journal_that_cannot_be_written_is_named(there: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(there.gateway.journal, "problem", lambda: "the disk is full")

    code, body = await shown(there, "/readyz")

    assert (code, body["problems"]) == (503, {"journal": "the disk is full"})


async def test_an_issuer_without_keys_is_named(there: Bench, monkeypatch: pytest.MonkeyPatch):
    fields = dict.fromkeys(KeyStatus.__dataclass_fields__)
    statuses = [KeyStatus(**{**fields, "issuer": f"https://{name}", "ready": name == "c", "problem": problem})  # pyright: ignore[reportArgumentType] - what the page does not read is left out
                for name, problem in (("a", "it is away"), ("b", None), ("c", None))]  # fmt: skip
    monkeypatch.setattr(there.gateway.identities, "status", lambda: statuses)

    assert (await shown(there, "/readyz"))[1]["problems"] == {
        "identity https://a": "it is away",
        "identity https://b": "its keys are not known",
    }


async def test_each_resource_has_its_metadata(there: Bench):
    base = "/.well-known/oauth-protected-resource"
    for path, resource in ((f"{base}/mcp", "/mcp"), (base, "/mcp"), (f"{base}/mcp/files", "/mcp/files")):
        status, body = await shown(there, path)
        assert (status, body["resource"]) == (200, f"http://127.0.0.1:8080{resource}")


async def test_metrics_are_in_the_format_of_prometheus(there: Bench):
    reply = await probes(there.gateway, draining=lambda: False)["/metrics"].show()

    assert dict(reply.headers)[b"content-type"].startswith(b"text/plain")
    assert b"opagate_policy_ready 1.0" in reply.body
