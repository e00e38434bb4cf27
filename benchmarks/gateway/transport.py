"""The gateway's server and client with nothing between them: what forwarding costs when nobody decides.

`python -m benchmarks.gateway.transport PORT UPSTREAM`.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import uvicorn

from gateway.http1.address import of_url
from gateway.http1.client import Client

PATIENCE: Final = 20.0
_OURS: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""Headers that each connection writes for itself."""


class Transport:
    """Sends each request on to one upstream, and its answer back."""

    def __init__(self, upstream: str) -> None:
        self._upstream = of_url(upstream)
        self._client: Client | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self._client = self._client or Client(self._upstream, connect=PATIENCE)
        answer = await self._client.request(b"POST", _theirs(scope["headers"]), body, within=PATIENCE)
        await send({"type": "http.response.start", "status": answer.status, "headers": _theirs(answer.headers)})
        async for piece in answer:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _theirs(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _OURS]


if __name__ == "__main__":
    uvicorn.run(
        Transport(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        access_log=False,
        ws="none",
        lifespan="off",
    )
