"""What is done with the messages of an answer, and an answer that is taken apart."""

from __future__ import annotations

from gateway.response.frames import EventMessages, JsonMessages, OpaqueBody
from gateway.response.reserved_names import ReservedNames
from gateway.worker_thread import WorkerThread

LIST = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden"}]}}'
"""A response to another request, which nobody has filtered."""


_WORKER = WorkerThread()


def names() -> ReservedNames:
    return ReservedNames(_WORKER)


async def keep(data: bytes) -> bytes | None:
    return data


async def drop(_data: bytes) -> bytes | None:
    return None


async def replace(_data: bytes) -> bytes | None:
    return b'{"new":1}'


def nothing() -> bytes | None:
    return None


async def run(messages: JsonMessages | EventMessages | OpaqueBody, *chunks: bytes) -> bytes:
    passed = [await messages.feed(chunk) for chunk in chunks]
    return b"".join(passed) + await messages.finish()
