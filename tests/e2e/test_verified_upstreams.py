"""Upstreams that verify: real tokens of a real gateway, its published keys, and its answers to introspection."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from gateway import config as configurations
from gateway.surfaces.cli.upstream_checks import look_at_doors
from opagate.verify import Caller, Introspection, Refusal, Verifier
from tests.e2e.left_behind import check_all_ended, tokens_of
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import call, caller, stateless, token, until
from tests.gateway_process import GatewayProcess, free_port, running_gateway
from tests.minted import decoded
from tests.servers.echo import Recorder
from tests.servers.serving import ROOT, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SECRET = "s" * 40
GRANTS = (
    'upstreams: {"*": [{id: all, agents: ["*"], issuers: ["*"], tools: ["*"], effects: [read, write, destructive]}]}'
)
LABELS = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}


def configured(folder: Path, urls: dict[str, str], **more: Any) -> str:
    """Return a configuration with an upstream for each way to bind a token."""
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    upstreams = {
        bind: {
            "url": url,
            "audience": f"https://{bind}.example",
            "environment": "test",
            "tools": json.loads(json.dumps(LABELS)),
            "credential": {"kind": "gateway", "bind": bind, "scopes": {"read": ["echo:read"]}},
        }
        for bind, url in urls.items()
    }
    policy = {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}}
    return yaml.safe_dump({"identity": [{"kind": "development"}], "policy": policy, "upstreams": upstreams, **more})


@pytest.fixture(scope="module")
def gateway(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("verified")
    clients = [
        {"id": bind, "secret": "${UPSTREAM_SECRET}", "audiences": [f"https://{bind}.example"]}
        for bind in ("call", "task")
    ]
    urls = {"call": echo_server.mcp, "task": echo_server.mcp}
    config = configured(folder, urls, authority={"introspection": {"clients": clients}})
    with running_gateway(config, folder, environment={"UPSTREAM_SECRET": SECRET}) as found:
        yield found
    check_all_ended(folder, [*tokens_of(found.origin, echo_server), SECRET])


def verifier_of(gateway: GatewayProcess, bind: Any, *, asks: bool = True) -> Verifier:
    verifier = Verifier(
        gateway.origin, f"https://{bind}.example", bind=bind, introspect=Introspection(bind, SECRET) if asks else None
    )
    verifier._started = 0  # the token of this test is older than its verifier
    return verifier


def received(echo: ServerProcess, text: str) -> tuple[str, bytes]:
    """Return the token and the body of the request with this text, as the upstream received them."""
    (found,) = [record for record in Recorder(echo.origin).requests() if text in record["body"]]
    (value,) = [value for name, value in found["headers"] if name == "authorization"]
    return value.removeprefix("Bearer "), found["body"].encode()


async def code(verifier: Verifier, sent: tuple[str, bytes]) -> str:
    found = await verifier.verify(*sent)
    return found.code if isinstance(found, Refusal) else "accepted"


async def test_a_call_is_verified_while_it_is_in_flight_and_at_no_other_time(
    gateway: GatewayProcess, echo_server: ServerProcess
):
    ann = caller(gateway, "ann", "call")
    with ThreadPoolExecutor(1) as pool:
        running_call = pool.submit(ann.call, "hold", key="verified-call")
        until(lambda: any("verified-call" in record["body"] for record in Recorder(echo_server.origin).requests()))
        sent = received(echo_server, "verified-call")
        verifier = verifier_of(gateway, "call")

        caller_of_it = await verifier.verify(*sent)
        again = await code(verifier, sent)
        changed = await code(verifier, (sent[0], sent[1].replace(b"verified-call", b"in-fright")))

        async with httpx2.AsyncClient() as client:
            await client.post(f"{echo_server.origin}/release/verified-call")
        assert running_call.result(30).status == 200

    assert isinstance(caller_of_it, Caller)
    assert caller_of_it.agent == "ann"
    assert (again, changed) == ("token/used", "call/other")
    assert await code(verifier_of(gateway, "call"), sent) == "token/inactive"


async def test_handed_on_tokens_end_with_their_task(gateway: GatewayProcess, echo_server: ServerProcess):
    headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
    opened = httpx2.post(f"{gateway.origin}/tasks", json={"goal": "read", "expires_in": 600}, headers=headers).json()
    ann = caller(gateway, "ann", "task")
    ann.ask(call("echo", stateless, text="of-a-task"), headers={"opagate-task": opened["token"]})
    sent = received(echo_server, "of-a-task")
    assert await code(verifier_of(gateway, "task"), sent) == "accepted"
    assert decoded(sent[0].split(".")[1])["task"] == opened["id"]

    httpx2.post(f"{gateway.origin}/tasks/{opened['id']}/complete", headers=headers).raise_for_status()

    assert await code(verifier_of(gateway, "task"), sent) == "token/inactive"
    assert await code(verifier_of(gateway, "task", asks=False), sent) == "accepted"


async def test_a_token_of_one_upstream_is_nothing_to_another(gateway: GatewayProcess, echo_server: ServerProcess):
    caller(gateway, "ann", "task").call("echo", text="of-another")
    sent = received(echo_server, "of-another")

    assert await code(verifier_of(gateway, "call"), sent) == "token/audience"
    answer = httpx2.post(
        f"{gateway.origin}/oauth/introspect", data={"token": sent[0]}, auth=httpx2.BasicAuth("call", SECRET)
    )
    assert (answer.status_code, answer.content) == (200, b'{"active":false}')


async def test_an_agent_cannot_use_its_task_token_or_its_own_token_past_the_gateway(
    gateway: GatewayProcess, echo_server: ServerProcess
):
    own = token(gateway, "ann")
    opened = httpx2.post(
        f"{gateway.origin}/tasks", json={"goal": "g", "expires_in": 600}, headers={"authorization": f"Bearer {own}"}
    ).json()
    verifier = verifier_of(gateway, "task", asks=False)

    for agents in (own, opened["token"]):
        assert await code(verifier, (agents, b"")) in {"token/type", "token/algorithm", "token/signature"}


@pytest.mark.parametrize("is_named", [False, True])
def test_a_server_that_fetches_the_keys_serves_a_gateway_that_starts_after_it(
    tmp_path: Path,
    is_named: bool,  # noqa: FBT001 - a parameter of pytest
):
    """The gateway lists its upstreams before it listens, so the server cannot have the keys by then.

    `compose.yaml` names the address of the keys, which is not that of callers.
    """
    port, own = free_port(), free_port()
    command = [
        sys.executable,
        "-m",
        "gateway.surfaces.demo.tickets",
        "--port",
        str(own),
        "--audience",
        "https://call.example",
    ]
    keys = ["--jwks", f"http://127.0.0.1:{port}/.well-known/jwks.json"] if is_named else []
    server = subprocess.Popen([*command, "--issuer", f"http://127.0.0.1:{port}", *keys], cwd=ROOT)
    try:
        until(lambda: is_healthy(own))
        config = configured(tmp_path, {"call": f"http://127.0.0.1:{own}/mcp"})
        with mortal_gateway(config, tmp_path, port=port) as gateway:
            ann = caller(gateway, "ann", "call")
            read = call("read_ticket", stateless, ticket="T-1041")
            until(lambda: b"Checkout hangs" in ann.ask(read).body)
            (door,) = asyncio.run(look_at_doors(config_of(tmp_path)))
            assert door.found == "call: refuses a request without the gateway's token"
            assert not door.is_warning
            gateway.process.terminate()
            gateway.process.wait(30)
    finally:
        server.terminate()
        server.wait(30)


def is_healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx2.TransportError:
        return False


def config_of(folder: Path) -> configurations.Configuration:
    return configurations.load(folder / "gateway.yaml")


async def test_the_check_names_an_upstream_that_answers_without_the_token(echo_server: ServerProcess, tmp_path: Path):
    """An upstream that is down says nothing of itself."""
    urls = {"call": f"{echo_server.mcp}", "task": f"http://127.0.0.1:{free_port()}/mcp"}
    text = configured(tmp_path, urls)
    (door,) = await look_at_doors(configurations.parse(text, base=tmp_path))

    assert door.is_warning
    assert door.found.startswith("call: answers 200 to a request without the gateway's token")
