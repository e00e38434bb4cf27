"""How a gateway starts to listen and stops."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gateway import config
from gateway.model.errors import ConfigurationError
from gateway.record.journal import reader
from gateway.surfaces import app
from tests.unit.wire.http.servers import make_server


async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, unused_tcp_port: int):
    text = (
        f"listen: 127.0.0.1:{unused_tcp_port}\nidentity: [{{kind: anonymous}}]\nstate: state\nlimits: {{drain: 1s}}\n"
    )
    configuration = config.parse(text, base=tmp_path)
    ready = asyncio.Event()
    running = asyncio.create_task(app.run(configuration, on_ready=ready.set))
    async with asyncio.timeout(300):
        await ready.wait()
        with pytest.raises(ConfigurationError, match="cannot listen"):
            make_server(None, configuration)
        reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        host = f"host: 127.0.0.1:{unused_tcp_port}\r\n".encode()
        writer.write(b"GET /nothing HTTP/1.1\r\n" + host + b"connection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    lines = (tmp_path / "state/journal/00000001.jsonl").read_text("utf-8").splitlines()

    assert answer.startswith(b"HTTP/1.1 404")
    assert b"request/path" in answer
    assert [kind for kind in ("refused", "stop") if any(f'"kind":"{kind}"' in line for line in lines)] == [
        "refused",
        "stop",
    ]


async def test_one_that_is_told_to_stop_before_it_listens_closes_its_record(tmp_path: Path, unused_tcp_port: int):
    text = f"listen: 127.0.0.1:{unused_tcp_port}\nidentity: [{{kind: anonymous}}]\nstate: state\n"
    running = asyncio.create_task(
        app.run(config.parse(text, base=tmp_path), on_ready=lambda: pytest.fail("it listened"))
    )
    async with asyncio.timeout(300):
        while not (tmp_path / "state/journal/00000001.jsonl").exists():
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await running

    assert [entry["kind"] for entry in reader.entries(tmp_path / "state/journal")][-1] == "stop"
