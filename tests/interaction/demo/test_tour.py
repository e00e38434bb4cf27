"""The scripted agent through a real gateway process, with the policy and the grants that ship."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import yaml
from mcp import Client

from gateway.identity import development
from gateway.surfaces.demo.agent import SCRIPT, person_at, tour
from gateway.surfaces.demo.processes import upstreams
from tests.gateway_process import gateway_process

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("errors", ["result", "protocol"])
async def test_the_tour_shows_what_passes_and_what_is_refused(demo: dict[str, str], tmp_path: Path, errors: str):
    settings = {
        name: upstream.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        for name, upstream in upstreams(demo).items()
    }
    config = yaml.safe_dump(
        {"errors": errors, "identity": [{"kind": "development"}], "approvals": {}, "upstreams": settings}
    )
    async with gateway_process(config, tmp_path) as gateway:
        token = development.issue(
            development.load_key(tmp_path / "state"),
            agent="tour",
            audience=f"{gateway.origin}/mcp",
            ttl=300,
            clock=time.time,
        )
        async with person_at(tmp_path / "state/control.sock"):
            steps = [step async for step in tour(gateway.origin, token)]

    assert [step.attempt for step in steps] == list(SCRIPT)
    refused = {(step.attempt.tool, step.codes) for step in steps if step.outcome == "refused"}
    assert refused == {
        ("export_customers", ("tool/not-granted",)),
        ("send_message", ("tool/arguments",)),
        ("delete_file", ("tool/arguments",)),
        ("delete_file", ("approval/effect", "approval/grant", "approval/denied")),
        ("comment_ticket", ("credential-chain/egress", "credential-chain/presentation")),
        ("send_message", ("credential-chain/egress", "credential-chain/presentation", "approval/denied")),
        ("send_message", ("fan-out/destinations", "tool/arguments")),
    }
    assert not [step for step in steps if step.outcome == "failed"]
    assert [step.outcome for step in steps[-2:]] == ["allowed", "refused"]
    assert all(step.decision and step.text for step in steps if step.outcome == "refused")
    assert steps[0].text == "list_files, read_file, write_file, delete_file"
    assert steps[3].text == "search_tickets, read_ticket, comment_ticket, close_ticket"
    assert "make promote" in steps[2].text
    async with Client(demo["mail"]) as client:
        sent = str((await client.call_tool("list_messages", {"folder": "sent"})).content)
    assert "jana@example.com" in sent
    assert "example.net" not in sent
    assert "colleague-" not in sent
    async with Client(demo["files"]) as client:
        assert not (await client.call_tool("read_file", {"path": "docs/deployment.md"})).is_error
