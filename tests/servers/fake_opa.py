"""Something in the place of OPA that answers as it is told to. Run: `python -m tests.servers.fake_opa --fd N`.

It begins `good`: it allows what has a subject, shows all, and is healthy. `POST /mode/<mode>` changes how it answers
questions (never its health): `no-result`, `rubbish`, `error`, `version`, or `slow`, which does not answer at all.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.servers.serving import serve

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

POLICY = {"name": "fake"}


class FakeOpa:
    """The ASGI application."""

    def __init__(self) -> None:
        self.mode = "good"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        path: str = scope["path"]
        if path.startswith("/mode/"):
            self.mode = path.removeprefix("/mode/")
            await respond(send, 200, b"{}")
        elif path.startswith("/v1/data/gateway/") and path.endswith("/result"):
            await self.answer(path, json.loads(body)["input"], send)
        else:
            await respond(send, 200, b'{"result": {}, "provenance": {"revision": "fake-1"}}')

    async def answer(self, path: str, question: dict[str, Any], send: Send) -> None:
        match self.mode:
            case "no-result":
                await respond(send, 200, b"{}")
            case "rubbish":
                await respond(send, 200, b"<html>allow</html>")
            case "error":
                await respond(send, 500, b'{"code": "internal_error", "message": "quotes the input"}')
            case "version":
                await respond(send, 200, json.dumps({"result": {**decision(question), "version": 2}}).encode())
            case "slow":
                await asyncio.Event().wait()
            case _:
                result = visible(question) if "visibility" in path else decision(question)
                await respond(send, 200, json.dumps({"result": result}).encode())


def decision(question: dict[str, Any]) -> dict[str, Any]:
    allowed = "subject" in question
    reasons = [] if allowed else [{"code": "fake/nobody", "message": "nobody asks"}]
    effect = "allow" if allowed else "deny"
    return {"version": 1, "effect": effect, "reasons": reasons, "obligations": [], "policy": POLICY}


def visible(question: dict[str, Any]) -> dict[str, Any]:
    shown = [resource["id"] for resource in question.get("resources", [])] if "subject" in question else []
    return {"version": 1, "visible": shown}


async def respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    serve(FakeOpa(), http="httptools")
