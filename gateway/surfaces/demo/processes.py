"""The demo servers as upstreams with all their labels, and as child processes.

Their sockets are opened here: no port is guessed and nothing is polled. An open socket accepts connections at once, so the
first health request simply waits until the server serves."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import anyio

from gateway.base.concurrency.background import in_parallel
from gateway.config import ToolLabels, Upstream
from gateway.config.authority import GatewayCredential
from gateway.config.settings import NoCredential
from gateway.model.errors import UpstreamUnreachable
from gateway.model.target import Effect, Role, Sensitivity
from gateway.policy.trials.child_process import clean_environment
from gateway.surfaces.demo.serving import HEALTH

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping
    from pathlib import Path


_FILES: Final = {
    "list_files": ToolLabels(
        effect=Effect.READ, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/folder": Role.SELECTOR}
    ),
    "read_file": ToolLabels(
        effect=Effect.READ, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/path": Role.SELECTOR}
    ),
    "write_file": ToolLabels(
        effect=Effect.WRITE,
        egress=False,
        sensitivity=Sensitivity.INTERNAL,
        roles={"/path": Role.SELECTOR, "/content": Role.CONTENT},
    ),
    "delete_file": ToolLabels(
        effect=Effect.DESTRUCTIVE, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/path": Role.SELECTOR}
    ),
}
_TICKETS: Final = {
    "*_ticket": ToolLabels(sensitivity=Sensitivity.INTERNAL, roles={"/ticket": Role.SELECTOR}),
    "search_tickets": ToolLabels(
        effect=Effect.READ, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/query": Role.SELECTOR}
    ),
    "read_ticket": ToolLabels(effect=Effect.READ, egress=False),
    "comment_ticket": ToolLabels(effect=Effect.WRITE, egress=True, roles={"/comment": Role.CONTENT}),
    "close_ticket": ToolLabels(effect=Effect.DESTRUCTIVE, egress=True, roles={"/resolution": Role.CONTENT}),
    "export_customers": ToolLabels(effect=Effect.READ, egress=False, sensitivity=Sensitivity.RESTRICTED),
}
_MAIL: Final = {
    "*": ToolLabels(sensitivity=Sensitivity.CONFIDENTIAL),
    "list_messages": ToolLabels(effect=Effect.READ, egress=False, roles={"/folder": Role.SELECTOR}),
    "read_message": ToolLabels(effect=Effect.READ, egress=False, roles={"/message": Role.SELECTOR}),
    "send_message": ToolLabels(
        # What it answers is a receipt.
        sensitivity=Sensitivity.INTERNAL,
        effect=Effect.WRITE,
        egress=True,
        roles={
            "/to": Role.DESTINATION,
            "/cc": Role.DESTINATION,
            "/subject": Role.CONTENT,
            "/body": Role.CONTENT,
        },
    ),
}
NAMES: Final = ("files", "tickets", "mail")


def audience_of(name: str) -> str:
    """Return the audience of a demo server."""
    return f"{name}.example.com"


def upstreams(urls: Mapping[str, str], *, verified: bool = False, of_task: Collection[str] = ()) -> dict[str, Upstream]:
    """Return the settings of the demo upstreams. `urls` maps each name to its MCP endpoint.

    Customers write tickets, so these are untrusted, as mail is. The files are the company's own. With `verified`, each
    call carries a token of this gateway; for the names in `of_task` a token of the task.
    """
    labels = {"files": _FILES, "tickets": _TICKETS, "mail": _MAIL}
    return {
        name: Upstream(
            url=urls[name],
            audience=audience_of(name),
            trust="trusted" if name == "files" else "untrusted",
            tenant="example",
            environment="demo",
            tools=labels[name],
            credential=_credential(name, "task" if name in of_task else "call") if verified else NoCredential(),
        )
        for name in NAMES
    }


def _credential(name: str, bind: Literal["call", "task"]) -> GatewayCredential:
    scopes = {effect: (f"{name}:{effect.value}",) for effect in (Effect.READ, Effect.WRITE, Effect.DESTRUCTIVE)}
    return GatewayCredential(kind="gateway", bind=bind, scopes=scopes)


_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_LAST_WORDS_SECONDS: Final = 2.0


class GatewayKeys(NamedTuple):
    """A gateway with tokens for the demo servers: its issuer, and a file with its keys (RFC 7517). `secrets` are files,
    for the servers with a question to the gateway about each token. These servers take tokens of a task for calls.
    """

    issuer: str
    jwks: Path
    secrets: Mapping[str, Path] = MappingProxyType({})


@asynccontextmanager
async def run_servers(logs: Path, gateway: GatewayKeys | None = None) -> AsyncGenerator[dict[str, str]]:
    """Run the demo servers for as long as the block lasts. Gives name → MCP endpoint, once all servers answer.

    `logs` is an existing folder for their output. With `gateway`, the servers refuse requests past that gateway. Raises
    `UpstreamUnreachable` if a server does not answer within 30 s.
    """
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(_child(name, logs / f"demo-{name}.log", gateway)) for name in NAMES]
        await in_parallel(*(partial(_wait_for, name, port, child, logs) for name, port, child in started))
        yield {name: f"http://127.0.0.1:{port}/mcp" for name, port, _ in started}


@asynccontextmanager
async def _child(
    name: str, log: Path, gateway: GatewayKeys | None
) -> AsyncGenerator[tuple[str, int, asyncio.subprocess.Process]]:
    demanded = () if gateway is None else ("--issuer", gateway.issuer, "--jwks", str(gateway.jwks))
    if gateway is not None and name in gateway.secrets:
        demanded = (*demanded, "--secret", str(gateway.secrets[name]))
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"gateway.surfaces.demo.{name}",
            "--fd",
            str(listening.fileno()),
            "--audience",
            audience_of(name),
            *demanded,
            pass_fds=[listening.fileno()],
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=clean_environment() | {"PYTHONUNBUFFERED": "1"},
        )
        port: int = listening.getsockname()[1]
    try:
        yield name, port, child
    finally:
        await _stop(child)


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
    if child.stdin is not None:
        child.stdin.close()


async def _wait_for(name: str, port: int, child: asyncio.subprocess.Process, logs: Path) -> None:
    """Wait until a server answers. Raise `UpstreamUnreachable` if the server ends first, or does not answer in time."""
    is_healthy = False
    with anyio.move_on_after(_START_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_at_end, child, group.cancel_scope)
            with suppress(OSError, ValueError):
                await _check_health(port)
                is_healthy = True
            group.cancel_scope.cancel()
    if is_healthy:
        return
    # A server that dies drops the connection a moment before its status can be read.
    with anyio.move_on_after(_LAST_WORDS_SECONDS):
        await child.wait()
    ended = child.returncode is not None
    problem = f"ended with status {child.returncode}" if ended else f"does not answer on port {port}"
    raise UpstreamUnreachable(f"the demo server {name} {problem}", f"see {logs / f'demo-{name}.log'}")


async def _cancel_at_end(child: asyncio.subprocess.Process, scope: anyio.CancelScope) -> None:
    await child.wait()
    scope.cancel()


async def _check_health(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {HEALTH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise ConnectionError(f"the health check answered {status!r}")
    finally:
        writer.close()
