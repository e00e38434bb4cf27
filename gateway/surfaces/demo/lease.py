"""The life of a lent credential: of a call, of a thief, and of the server's refusal after the end of the task."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx2

from gateway.surfaces.demo.agent import Attempt, AttemptResult, make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from gateway.model.wire import JsonObject
    from gateway.surfaces.demo.thief import Thief

UPSTREAM: Final = "tickets"
"""The demo server with a credential of the task, and not of each call."""
_TOOL: Final = "read_ticket"
_ARGUMENTS: Final = {"ticket": "T-1041"}
_LENT: Final = Attempt(
    UPSTREAM, "Read a ticket in a task of its own, with a credential lent to this task", _TOOL, _ARGUMENTS
)
_STOLEN: Final = Attempt(
    UPSTREAM, "Past the gateway: a thief on the wire has that credential, and uses it", _TOOL, _ARGUMENTS, by="thief"
)
_ENDED: Final = Attempt(
    UPSTREAM, "The task has ended: the server refuses the same credential", _TOOL, _ARGUMENTS, "refused", by="thief"
)
_WITHIN_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05


@dataclass(slots=True)
class LentTask:
    """The task opened by the tour. `id` is empty before."""

    id: str = ""


async def lease_tour(endpoint: str, token: str, thief: Thief, task: LentTask) -> AsyncIterator[AttemptResult]:
    """Go through the life of a lease. Raises `httpx2.HTTPError` and `MCPError` if the gateway cannot be spoken to."""
    async with httpx2.AsyncClient(base_url=endpoint, headers={"Authorization": f"Bearer {token}"}) as http:
        opened = await http.post("/tasks", json={"goal": "Read ticket T-1041", "expires_in": 300})
        opened.raise_for_status()
        task.id = opened.json()["id"]
        yield await make(endpoint, token, _LENT, {"Opagate-Task": opened.json()["token"]})
        credential = thief.stolen(task.id) or ""
        yield await _steal(thief, credential, _STOLEN)
        (await http.post(f"/tasks/{task.id}/complete")).raise_for_status()
        yield await _try_until_refused(thief, credential)


async def _try_until_refused(thief: Thief, credential: str) -> AttemptResult:
    """Try until the server refuses. The server asks the gateway about a credential once a second."""
    step = await _steal(thief, credential, _ENDED)
    for _ in range(int(_WITHIN_SECONDS / _PAUSE_SECONDS)):
        if step.outcome == "refused":
            break
        await asyncio.sleep(_PAUSE_SECONDS)
        step = await _steal(thief, credential, _ENDED)
    return step


async def _steal(thief: Thief, credential: str, attempt: Attempt) -> AttemptResult:
    status, document = await thief.call(credential, _TOOL, _ARGUMENTS)
    if status == 200:
        return AttemptResult(attempt, "allowed", str(document["result"]["content"][0]["text"]))
    return AttemptResult(attempt, "refused", str(document.get("error_description")), (str(document.get("code")),))


def proof_of(entries: Iterable[JsonObject], task: str) -> dict[str, Any] | None:
    """Return the journal entry with the proof of the end of a task's lease."""
    proven = (
        dict(entry)
        for entry in entries
        if (entry.get("kind"), entry.get("event"), entry.get("task")) == ("lease", "revoked", task)
    )
    return next(proven, None)
