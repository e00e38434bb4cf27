"""Health, readiness and metrics of a gateway whose parts are real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.keys import KeyStatus
from tests.requirements import requirement
from tests.unit.harness import Bench, bench
from tests.unit.surfaces.pages.asking import ask_page


async def shown(there: Bench, path: str, **more: Any) -> tuple[int, Any]:
    answer = await ask_page(there, "GET", path, **more)
    return answer.status, answer.json


@requirement("operations/probes")
async def test_under_another_name_a_probe_says_only_whether_it_is_ready(there: Bench, monkeypatch: pytest.MonkeyPatch):
    """A web page of another site can have a name of its own lead here, and read the answers."""
    asked = [await ask_page(there, "GET", path, host=b"evil.example") for path in ("/healthz", "/readyz")]
    monkeypatch.setattr(there.gateway.journal, "problem", lambda: f"the disk of {there.folder} is full")
    asked.append(await ask_page(there, "GET", "/readyz", host=b"evil.example"))

    assert [(answer.status, answer.body) for answer in asked] == [
        (200, b'{"status":"ok"}'),
        (200, b'{"ready":true}'),
        (503, b'{"ready":false}'),
    ]
    refused = await ask_page(there, "GET", "/metrics", host=b"evil.example")
    assert (refused.status, refused.codes) == (403, ["request/host"])


async def test_a_gateway_that_serves_is_alive_and_ready(there: Bench):
    assert await shown(there, "/healthz") == (200, {"status": "ok"})
    for host in (b"127.0.0.1:8080", b"10.1.2.3:8080"):
        status, body = await shown(there, "/readyz", host=host)
        assert (status, body["ready"], body["problems"], body["policy"]["engine"]) == (200, True, {}, "embedded")
        assert body["policy"]["since"].endswith("Z")


async def test_a_gateway_that_stops_is_not_ready(there: Bench):
    status, body = await shown(there, "/readyz", is_draining=True)

    assert (status, body["problems"]) == (503, {"gateway": "it is stopping"})


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


async def test_metrics_are_in_the_format_of_prometheus(there: Bench):
    answer = await ask_page(there, "GET", "/metrics")

    assert dict(answer.headers)[b"content-type"].startswith(b"text/plain")
    assert b"opagate_policy_ready 1.0" in answer.body


async def test_observe_mode_is_shown_and_the_gateway_is_ready(tmp_path: Path):
    more = "enforce: false\nobserve_until: 2100-01-01T00:00:00Z\n"
    async with bench(tmp_path, more=more) as there:
        status, body = await shown(there, "/readyz")

    assert (status, body["observing"]) == (200, {"files": "2100-01-01T00:00:00Z"})
