"""A gateway to try: the demo servers, their configuration, and the text for the user."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import yaml
from rich.text import Text

from gateway import config
from gateway.authority.minting import Mint
from gateway.config import Configuration, keys
from gateway.identity import development
from gateway.model.errors import ConfigurationError
from gateway.record.journal import storage
from gateway.record.telemetry import logs
from gateway.surfaces import app
from gateway.surfaces.cli.options import TRIAL
from gateway.surfaces.cli.terminal import err, out, pairs, show
from gateway.surfaces.demo import processes
from gateway.surfaces.demo.processes import GatewayKeys

AGENT: Final = "trial"
_CLIENTS: Final = "mcp.json"
"""The client configuration, in the state folder."""
_SECRET: Final = "demo-secret"  # noqa: S105 - the name of a file
"""The secret of a demo server for its questions to the gateway, in the state folder."""
_TOKEN_SECONDS: Final = 365 * 86_400
"""A year: the token outlives any trial. It is good for callers on this machine alone."""
_HEADER: Final = """\
# Written by `opagate up` each time it starts: the gateway that it runs. The demo upstreams live as long as it does.
# Other commands find it here: {name} journal tail --config {path}
"""
_TITLES: Final = {
    "files": "a project's files: read them, write reports",
    "tickets": "customers' tickets: search, read, comment",
    "mail": "a mailbox: read it, write to colleagues",
}


class LentServer(NamedTuple):
    """A demo server whose calls carry a token of their task. The server asks the gateway about each token.

    `before` runs a relay to the server of a URL, and gives the URL of the relay.
    """

    name: str
    before: Callable[[str], AbstractAsyncContextManager[str]]

    def settings(self, secret: Path) -> dict[str, object]:
        """Return the settings of the gateway's answers to the server."""
        client = {"id": self.name, "secret": f"file:{secret}", "audiences": [processes.audience_of(self.name)]}
        return {"authority": {"introspection": {"clients": [client]}}}


async def run(*, port: int, state: Path) -> None:
    """Serve until Ctrl-C. Raises `GatewayError` when something cannot start."""
    async with serve_demo(port=port, state=state) as configuration:
        links: list[str] = []
        await app.run(
            configuration, on_ready=lambda: _greet(configuration, state / TRIAL.name, links), on_link=links.append
        )
    err.print("stopped; the record is complete", style="dim")


@asynccontextmanager
async def serve_demo(*, port: int, state: Path, lent: LentServer | None = None) -> AsyncGenerator[Configuration]:
    """Run the demo servers, and write their configuration into the state folder."""
    require_free(port)
    _make(state)
    require_unused(state)
    with err.status("Starting the demo upstreams") if err.is_terminal else nullcontext() as status:
        published = publish_keys(state, port)
        if lent is not None:
            _keep(state / _SECRET, secrets.token_hex(32))
        asked = published if lent is None else published._replace(secrets={lent.name: state / _SECRET})
        async with AsyncExitStack() as stack:
            urls = await stack.enter_async_context(processes.run_servers(state, asked))
            if lent is not None:
                urls[lent.name] = await stack.enter_async_context(lent.before(urls[lent.name]))
            if status is not None:
                status.stop()
            configuration = write(state / TRIAL.name, port=port, urls=urls, lent=lent)
            logs.configure(configuration.telemetry.log, configuration.telemetry.level)
            yield configuration


def _make(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {state} cannot be made: {error.strerror}", "name another with --state"
        ) from None


def require_free(port: int) -> None:
    """Raise `ConfigurationError` if something listens there: better now than after everything has started."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise ConfigurationError(
            f"port {port} on 127.0.0.1 cannot be used: {os.strerror(error.errno or 0)}",
            f"stop what uses it, or take another: --port {port + 1}",
        ) from None


def require_unused(state: Path) -> None:
    """Raise `ConfigurationError` if another gateway writes its record there: its configuration must not be replaced.
    Raises `JournalError` if nobody can tell."""
    folder = state / "journal"
    if not folder.exists():
        return
    try:
        os.close(storage.lock(folder))
    except storage.InUse as error:
        raise ConfigurationError(
            error.message, f"stop it, or keep this one's state elsewhere: --state {state}-2"
        ) from None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def publish_keys(state: Path, port: int) -> GatewayKeys:
    """Write the public key of the gateway to be. The demo servers start first, and accept only requests with its tokens."""
    configuration = config.parse(yaml.safe_dump(_settings(port)), base=state)
    path = state / "jwks.json"
    mint = Mint(keys.load_access(configuration), configuration.base_url)
    path.write_text(json.dumps(mint.jwks()), encoding="utf-8")
    return GatewayKeys(configuration.base_url, path)


def write(path: Path, *, port: int, urls: dict[str, str], lent: LentServer | None = None) -> Configuration:
    """Write the configuration of the trial, and load the file like any other."""
    of_task = () if lent is None else (lent.name,)
    servers = {
        name: item.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        | {"credential": item.credential.model_dump(mode="json", exclude_none=True)}
        for name, item in processes.upstreams(urls, verified=True, of_task=of_task).items()
    }
    document = (
        _settings(port)
        | ({} if lent is None else lent.settings(path.with_name(_SECRET).absolute()))
        | {"upstreams": servers}
    )
    fresh = path.with_suffix(".new")
    fresh.write_text(
        _HEADER.format(path=path, name=program()) + yaml.safe_dump(document, sort_keys=False), encoding="utf-8"
    )
    fresh.replace(path)
    return config.load(path)


def _settings(port: int) -> dict[str, object]:
    """Return the settings of the trial without upstreams."""
    return {
        "listen": f"127.0.0.1:{port}",
        "state": ".",
        "identity": [{"kind": "development"}],
        # A machine on which one tries things out is busy with other things too.
        "policy": {"engine": {"kind": "embedded", "deadline": "2s"}},
        "approvals": {},
        "console": {},
        "journal": {"path": "journal"},
        "catalogue": {"lock": "catalogue.lock"},
        "telemetry": {"log": "console", "level": "warning"},
    }


def make_token(configuration: Configuration, *, clock: Callable[[], float] = time.time) -> str:
    return development.issue(
        development.load_key(configuration.state),
        agent=AGENT,
        audience=f"{configuration.base_url}/mcp",
        ttl=_TOKEN_SECONDS,
        clock=clock,
    )


def client_configuration(configuration: Configuration, bearer: str) -> dict[str, object]:
    """Return a configuration for Cursor, Claude Code and most other clients."""
    headers = {"Authorization": f"Bearer {bearer}"}
    return {
        "mcpServers": {
            name: {"type": "http", "url": f"{configuration.base_url}/mcp/{name}", "headers": headers}
            for name in configuration.upstreams
        }
    }


# --- what its user is told ---------------------------------------------------------------------------


def _greet(configuration: Configuration, path: Path, links: list[str]) -> None:
    bearer = make_token(configuration)
    out.print()
    out.print(
        f"[bold green]opagate {version('opagate')}[/] is up at [bold]{configuration.base_url}[/]. Ctrl-C stops it."
    )
    clients = path.with_name(_CLIENTS)
    _keep(clients, json.dumps(client_configuration(configuration, bearer), indent=2) + "\n")
    rows = pairs()
    for name in configuration.upstreams:
        rows.add_row(
            f"  {name}", Text(f"{configuration.base_url}/mcp/{name}", style="cyan"), Text(_TITLES[name], style="dim")
        )
    show(rows)
    if links:
        print_heading("Console", "this link works once, for five minutes; `opagate console` makes another")
        out.print(links[0], markup=False, style="cyan")
    print_heading("Token", "for as long as this gateway runs, from this machine only")
    out.print(bearer, markup=False)
    print_heading("Client configuration", "for .cursor/mcp.json, .mcp.json of Claude Code, …")
    out.print(f"{clients} is this with the token in it:", style="dim", markup=False)
    out.print(json.dumps(client_configuration(configuration, "TOKEN"), indent=2), markup=False)
    print_heading("Try first", "in another terminal")
    where = f"--config {shlex.quote(str(path))}"
    for remark, command in suggestions(configuration, where, program()):
        out.print(f"  # {remark}", style="dim", markup=False)
        out.print(f"  {command}", style="cyan", markup=False)
    out.print()


def _keep(path: Path, text: str) -> None:
    """Write a file for its owner alone, in the place of the last file."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def print_heading(title: str, remark: str) -> None:
    """Print a heading of the greeting, with a remark."""
    out.print()
    out.print(f"[bold]{title}[/] [dim]({remark})[/]")


def program() -> str:
    """Return how a shell in this folder starts this program: its name if it is on the path, else its place."""
    own = Path(sys.argv[0])
    found = shutil.which("opagate")
    if own.name != "opagate" or (found and Path(found).samefile(own)):
        return "opagate"
    return shlex.quote(os.path.relpath(own))


def suggestions(configuration: Configuration, where: str, name: str = "opagate") -> Iterator[tuple[str, str]]:
    """Yield suggestions for a first try: a remark and its command.

    `where` is the option for the configuration, `name` starts the program.
    """
    yield "each decision, as it is made", f"{name} journal tail {where}"
    yield "mail an outsider, and be refused", _call(f"{configuration.base_url}/mcp/mail", where, name)
    yield "why: the rule, and what would pass (the refusal names its ID)", f"{name} journal explain ID {where}"
    yield "calls that wait for a person, such as files/delete_file in reports/", f"{name} approvals list {where}"
    yield "a link to the console", f"{name} console {where}"
    yield "the tools, their labels and pins", f"{name} catalogue show {where}"
    yield "a scripted agent shows what passes and what does not", f"{name} up --once"


def _call(url: str, where: str, name: str) -> str:
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "send_message", "arguments": {"to": ["x@example.net"], "subject": "Hi", "body": "Hi"}},
    }
    return (
        f'curl {url} -H "Authorization: Bearer $({name} credentials token --agent you {where})"'
        " -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream'"
        f" -d {shlex.quote(json.dumps(body, separators=(',', ':')))}"
    )
