"""A server on a Unix socket in the place of OPA, which gives prepared answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from gateway.config import OpaEngine
from gateway.policy.opa.client import OpaClient


class Peer:
    """What was asked, how often somebody connected, and whether a connection has ended."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()
        self.asked = asyncio.Event()


@asynccontextmanager
async def peer_answering(path: Path, *answers: bytes | None) -> AsyncGenerator[Peer]:
    """A server on a Unix socket that gives these answers, one a request. `None` closes without one; after the last,
    it is silent. An answer that ends in nothing but a header block without a length is ended by closing."""
    peer = Peer()
    left = list(answers)
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        writers.append(writer)
        while request := await request_of(reader):
            peer.requests.append(request)
            peer.asked.set()
            answer = left.pop(0) if left else b""
            if answer is None:
                break
            writer.write(answer)
            if b"connection: close" in answer:
                break
        peer.left.set()
        writer.close()

    listening = await asyncio.start_unix_server(serve, path)
    try:
        yield peer
    finally:
        listening.close()
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await listening.wait_closed()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def result(value: object) -> bytes:
    return http(json.dumps({"result": value}).encode(), kind="Application/JSON; charset=utf-8")


@asynccontextmanager
async def client_of(path: Path, *, deadline: float = 5.0, token: str | None = None) -> AsyncGenerator[OpaClient]:
    settings = OpaEngine(kind="opa", url=f"unix://{path}", deadline=timedelta(seconds=deadline))
    if token is not None:
        settings = settings.model_copy(update={"token": SecretStr(token)})
    client = OpaClient(settings)
    try:
        yield client
    finally:
        await client.aclose()
