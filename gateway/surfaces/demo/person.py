"""A scripted person at the desk: approves three calls of the scripted agent once each, and refuses every other."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

PERSON: Final = "jana"
APPROVED: Final = (
    ("mail/send_message", "subject", "Checkout"),
    ("files/write_file", "path", "reports/checkout.md"),
    ("files/delete_file", "path", "reports/checkout.md"),
)
"""The calls that the person approves, the first time: target, and an argument with its value."""


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
    waiting = list(APPROVED)
    try:
        _send(writer, "approvals/watch")
        while line := await reader.readline():
            news = json.loads(line)["ok"]
            if news["state"] != "pending":
                continue
            question = await _ask(socket, "approvals/show", id=news["id"])
            arguments = question["said_by_agent"]["arguments"].get("value", {})
            known = [call for call in waiting if call[0] == question["target"] and arguments.get(call[1]) == call[2]]
            waiting = [call for call in waiting if call not in known]
            vote = {"answer": "approve" if known else "deny", "shown": question["shown"]}
            await _ask(socket, "approvals/vote", id=news["id"], **vote)
    finally:
        writer.close()


async def _ask(socket: Path, do: str, **fields: Any) -> Any:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        _send(writer, do, **fields)
        return json.loads(await reader.readline())["ok"]
    finally:
        writer.close()


def _send(writer: asyncio.StreamWriter, do: str, **fields: Any) -> None:
    writer.write(json.dumps({"do": do, "fields": fields, "speaks_as": PERSON}).encode() + b"\n")
