"""Changes of the configuration under calls, held questions and failures, within one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import config
from gateway.model.errors import JournalError
from gateway.surfaces.app.reconfiguring import Reconfiguration
from tests.unit.approving import HOLDING, approve, desk, events
from tests.unit.harness import READING, Bench, Held, Upstream, bench, call

FILES = "upstreams:\n  files:\n    url: http://127.0.0.1:9/mcp\n    audience: files\n    environment: test\n"
SITE = "    headers: [X-Note]\n    additional_arguments: pass\n"


@dataclass
class Site:
    """A gateway whose configuration file a test rewrites."""

    there: Bench
    reconfiguration: Reconfiguration

    async def change(self, text: str) -> None:
        """Write a configuration, and look until it was taken or kept out."""
        (self.there.folder / "gateway.yaml").write_text(f"{BEGINNING}{text}", "utf-8")
        self.reconfiguration.read_again()
        await self.reconfiguration.look()
        await self.reconfiguration.look()

    async def relabel(self, labels: str) -> None:
        await self.change(f"{FILES}{SITE}    tools: {{'*': {labels}}}\n")

    @property
    def problem(self) -> str | None:
        return self.there.gateway.served.problem


BEGINNING = (
    "identity: [{kind: anonymous}]\npolicy: {grants: grants.yaml, engine: {kind: embedded, deadline: 20s}}\n"
    "state: state\nlimits: {drain: 1h}\n"
)


@asynccontextmanager
async def site(folder: Path, upstream: Upstream | None = None, more: str = "") -> AsyncGenerator[Site]:
    async with bench(folder, upstream, f"limits: {{drain: 1h}}\n{more}") as there:
        (folder / "gateway.yaml").write_text(BEGINNING, "utf-8")
        reconfiguration = Reconfiguration(folder / "gateway.yaml", there.gateway, config.load)
        try:
            yield Site(there, reconfiguration)
        finally:
            await reconfiguration.stop()


async def test_a_call_that_waits_for_a_person_is_decided_anew_by_the_new_labels(tmp_path: Path):
    async with site(tmp_path, more=HOLDING) as here:
        waiting = asyncio.create_task(here.there.ask(call("ask_first", path="a")))
        while not desk(here.there).list_open():
            await asyncio.sleep(0)
        await here.relabel("{effect: destructive, egress: true, sensitivity: restricted}")
        await approve(here.there)
        answer = await waiting

        assert here.problem is None
        assert "approval/pending" not in answer.codes
        first, second = here.there.entries("call")
        assert (first["target"]["effect"], second["target"]["effect"]) == ("read", "destructive")
        assert second["effect"] != "allow"
        assert here.there.upstream.sent == []


async def test_a_question_about_a_removed_upstream_is_withdrawn_and_its_call_ends(tmp_path: Path):
    async with site(tmp_path, more=HOLDING) as here:
        waiting = asyncio.create_task(here.there.ask(call("ask_first", path="a")))
        while not desk(here.there).list_open():
            await asyncio.sleep(0)
        await here.change("")
        answer = await waiting

        assert events(here.there) == ["asked", "withdrawn"]
        assert answer.codes == ["upstream/unknown"]
        assert here.there.upstream.sent == []


async def test_a_call_under_way_ends_after_its_upstream_was_removed_and_new_ones_are_refused(tmp_path: Path):
    held = Held()
    async with site(tmp_path, held) as here:
        under_way = asyncio.create_task(here.there.ask(call(path="a")))
        await held.arrived.wait()
        await here.change("")
        refused = await here.there.ask(call(path="b"))
        held.proceed.set()
        answer = await under_way

        assert (refused.status, refused.codes) == (404, ["upstream/unknown"])
        assert answer.json["result"] == {"content": []}
        assert [entry["outcome"] for entry in here.there.entries("settled")] == ["completed"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("audience: files", "audience: elsewhere"),
        ("environment: test", "environment: production"),
        ("environment: test", "environment: test\n    tenant: other"),
        ("environment: test", "environment: test\n    aggregates: [mail]"),
    ],
)
async def test_a_call_goes_to_no_other_system_than_the_one_it_was_decided_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
):
    async with site(tmp_path) as here:
        policy, decide = here.there.gateway.policy, here.there.gateway.policy.decide
        changed = FILES.replace(before, after)

        async def decide_then_change(*asked: object) -> object:
            monkeypatch.undo()
            decision = await decide(*asked)  # type: ignore[arg-type]
            await here.change(f"{changed}{SITE}    tools: {{'*': {READING}}}\n")
            return decision

        monkeypatch.setattr(policy, "decide", decide_then_change)
        refused = await here.there.ask(call(path="a"))

        assert here.problem is None
        assert refused.codes == ["upstream/unreachable"]
        assert here.there.upstream.sent == []
        assert [entry["outcome"] for entry in here.there.entries("settled")] == ["upstream-failed"]


async def test_a_change_without_a_record_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with site(tmp_path) as here:
        journal, written = here.there.gateway.journal, here.there.gateway.journal.append

        async def refuse(kind: str, fields: dict[str, object]) -> object:
            if kind == "configuration":
                raise JournalError("the disk is full", "free some")
            return await written(kind, fields)  # type: ignore[arg-type]

        monkeypatch.setattr(journal, "append", refuse)
        await here.relabel("{effect: destructive}")
        await here.there.ask(call(path="a"))

        assert here.problem is not None
        assert "the disk is full" in here.problem
        assert here.there.entries("call")[-1]["target"]["effect"] == "read"

        monkeypatch.undo()
        await here.reconfiguration.look()
        assert here.problem is None
        await here.there.ask(call(path="a"))
        assert here.there.entries("call")[-1]["target"]["effect"] == "destructive"


async def test_an_upstream_does_not_come_while_nobody_can_read_the_pins(tmp_path: Path):
    async with site(tmp_path) as here:
        (tmp_path / "catalogue.lock").write_text("{ not a lock", "utf-8")
        more = "  more: {url: 'http://127.0.0.1:9/mcp', audience: more}\n"
        await here.change(f"{FILES}{SITE}    tools: {{'*': {READING}}}\n{more}")

        assert here.problem is not None
        assert "catalogue.lock" in here.problem
        assert list(here.there.gateway.served.current.transports) == ["files"]
