"""A scripted person at the desk: approves one call of the scripted agent, and refuses every other."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

PERSON: Final = "jana"
APPROVED: Final = ("files/delete_file", {"path": "reports/checkout.md"})
"""The call that the person approves, the first time."""


@asynccontextmanager
async def person_at(socket: Path) -> AsyncGenerator[None]:
    """Have the person answer the questions at a desk until the block ends."""
    answering = asyncio.create_task(_answer_questions(socket))
    try:
        yield
    finally:
        answering.cancel()
        await asyncio.wait([answering])


async def _answer_questions(socket: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(socket)
    has_approved = False
    try:
        _send(writer, do="watch")
        while line := await reader.readline():
            news = json.loads(line)["ok"]
            if news["state"] != "pending":
                continue
            question = await _ask(socket, do="show", id=news["id"])
            call = (question["target"], question["said_by_agent"]["arguments"].get("value"))
            says_yes = call == APPROVED and not has_approved
            has_approved = has_approved or says_yes
            vote = {"answer": "approve" if says_yes else "deny", "shown": question["shown"]}
            await _ask(socket, do="vote", id=news["id"], vote=vote)
    finally:
        writer.close()


async def _ask(socket: Path, **request: Any) -> Any:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        _send(writer, **request)
        return json.loads(await reader.readline())["ok"]
    finally:
        writer.close()


def _send(writer: asyncio.StreamWriter, **request: Any) -> None:
    writer.write(json.dumps({"speaks_as": PERSON, **request}).encode() + b"\n")
