"""A whole gateway whose policy lets approved values recur, and tasks of a kind."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.authority.approvals.model import Person
from gateway.identity import development
from gateway.policy.folder.folders import find_shipped
from tests.unit.approving import BOB, approve
from tests.unit.harness import Bench, bench, call
from tests.unit.surfaces.pages.asking import ask_page

if TYPE_CHECKING:
    from gateway.authority.approvals.endorsements import Endorsements
    from tests.unit.harness import Answer

GRANTS = """
upstreams:
  files:
    - {id: all, agents: ["*"], issuers: ["*"], tools: ["*"], effects: [read, write]}
"""
LABELS = (
    "{effect: write, egress: true, sensitivity: internal,"
    " roles: {/to: destination, /cc: destination, /amount: amount, /body: content, '/list/*': destination,"
    " /deep/to: destination, /command: command}}"
)
SHIPPED = "every: {count: 1, assurance: chat, expires_seconds: 900, scopes: [once, destination, limit]}"
RECURRING = (
    "every: {count: 1, assurance: chat, expires_seconds: 900, scopes: [once, destination, limit, recurring],"
    " recur_seconds: 3024000}"
)
CAROL = Person("carol", "https://idp.example", ("sre",), "login", "test")
BOSS = "boss@corp.example"
KIND = "weekly-report"


def policy_with(folder: Path, every: str) -> str:
    """Write a copy of the shipped policy with another rule for every question. Returns the settings that name it."""
    rego = folder / "rego"
    if not rego.exists():
        shutil.copytree(find_shipped(), rego)
    settings = rego / "gateway/settings/data.yaml"
    text = (find_shipped() / "gateway/settings/data.yaml").read_text("utf-8")
    assert SHIPPED in text
    settings.write_text(text.replace(SHIPPED, every), "utf-8")
    return "path: rego, require_tests: false,"


@asynccontextmanager
async def recurring_bench(folder: Path, every: str = RECURRING, **more: Any) -> AsyncGenerator[Bench]:
    options: dict[str, Any] = {"labels": LABELS, "more": "approvals: {hold: 20ms}\n", **more}
    async with bench(
        folder, identity="{kind: development}", policy=policy_with(folder, every), grants=GRANTS, **options
    ) as there:
        yield there


def bearer(there: Bench, agent: str = "reporter", user: str | None = "ursula") -> tuple[bytes, bytes]:
    token = development.issue(
        development.load_key(there.configuration.state),
        agent=agent,
        audience=f"{there.configuration.base_url}/mcp",
        ttl=3600,
        clock=time.time,
        user=user,
    )
    return b"authorization", f"Bearer {token}".encode()


class Work:
    """A task of a kind that has read something untrusted."""

    def __init__(self, there: Bench, name: str, auth: tuple[bytes, bytes]) -> None:
        self.there = there
        self.name = name
        self.auth = auth

    async def call(self, tool: str = "read_file", **arguments: Any) -> Answer:
        return await self.there.ask(call(tool, **arguments), self.auth, (b"opagate-task", self.name.encode()))

    async def passes(self, tool: str = "read_file", **arguments: Any) -> bool:
        """Return whether a call passes, or asks a person; nothing else is meant to happen."""
        sent = len(self.there.upstream.sent)
        answer = await self.call(tool, **arguments)
        if len(self.there.upstream.sent) > sent:
            return True
        assert answer.codes[-1] == "approval/pending", answer.body
        return False


async def task_of_kind(there: Bench, kind: str | None = KIND, **who: Any) -> Work:
    auth = bearer(there, **who)
    body: dict[str, Any] = {"goal": "send the numbers of this week"}
    body |= {} if kind is None else {"kind": kind}
    opened = await ask_page(there, "POST", "/tasks", auth, body=json.dumps(body).encode())
    assert opened.status == 201, opened.body
    work = Work(there, opened.json["id"], auth)
    await work.call("read_more")
    return work


def endorsements(there: Bench) -> Endorsements:
    assert there.gateway.people is not None
    return there.gateway.people.endorsements


async def endorse(there: Bench, *persons: Person, tool: str = "read_file", **arguments: Any) -> Work:
    """Have a call approved with the scope `recurring`, and let it pass once."""
    work = await task_of_kind(there)
    assert not await work.passes(tool, **arguments)
    for person in persons or (BOB,):
        await approve(there, person, scopes=("once", "recurring"))
    assert await work.passes(tool, **arguments)
    return work


def told(there: Bench) -> list[str]:
    return [entry["event"] for entry in there.entries("endorsement")]
