"""`opagate up --from FILE`: a gateway for the servers of a client's file, from nothing to serving.

Secrets stay in the client's file: the setting `client_file` names it.
"""

from __future__ import annotations

import asyncio
import shlex
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from gateway.config.loading import forget_secrets
from gateway.record.telemetry import logs
from gateway.surfaces import app
from gateway.surfaces.cli import client_values, init, labelling, template, trial
from gateway.surfaces.cli.terminal import note, out, pairs, show
from gateway.upstreams.stdio.isolation import machine

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.surfaces.cli.importing import Imported

_OBSERVED_DAYS: Final = 14
"""Days of observe mode after a first start."""
_ATTEMPTS: Final = 12
_PAUSE: Final = 10.0
"""Attempts to list the tools of all servers, and seconds between two of them."""
_ACCEPTED_DAYS: Final = 30
"""Days for which a first start accepts servers without a sandbox, on a machine that has none."""


def up(source: Path, path: Path, *, port: int) -> None:
    """Serve the servers of a client's file until Ctrl-C. The configuration at `path` is written if there is none.

    Raises `GatewayError` when something cannot start.
    """
    import uvloop

    is_first = not path.exists()
    configuration = adopt(source, path, port=port)
    logs.configure(configuration.telemetry.log, "warning")
    uvloop.run(_serve(configuration, path, is_first=is_first))


async def _serve(configuration: Configuration, path: Path, *, is_first: bool) -> None:
    """Serve, and label the tools beside it after a first start: npx and uvx may take minutes to fetch a server."""
    forget_secrets(configuration)
    links: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    def greet() -> None:
        _greet(configuration, path, links)
        if is_first:
            tasks.append(asyncio.ensure_future(_label(configuration, path)))

    try:
        await app.run(configuration, on_ready=greet, on_link=links.append, read=client_values.load)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    note("stopped; the record is complete")


async def _label(configuration: Configuration, path: Path) -> None:
    """Write the proposed labels of all tools into labels.yaml, which the gateway reads again by itself."""
    found, problems = await labelling.suggest(configuration, replace=False)
    for _ in range(_ATTEMPTS):
        if not problems:
            break
        await asyncio.sleep(_PAUSE)
        found, problems = await labelling.suggest(configuration, replace=False)
    labelling.write_suggestions(path, configuration, found, replace=False)
    for name in problems:
        note(f"note: {name} lists no tools; later: `opagate catalogue label {name} --write`")


def adopt(source: Path, path: Path, *, port: int) -> Configuration:
    """Return the configuration for a client's file, with the secrets of that file. Raises `ConfigurationError`."""
    source = source.expanduser()
    imported = init.read_client_file(client_values.find_sources(source)[0], beside=path)
    if path.exists():
        _require_known(imported, source, path)
    else:
        trial.require_free(port)
        _accept_missing_sandbox(imported)
        observed = datetime.now(UTC).date() + timedelta(days=_OBSERVED_DAYS)
        init.write_files(path, imported.upstreams, template.FirstStart(port, source, observed))
        for text in imported.notes:
            note(f"note: {text}")
    return client_values.load(path)


def _require_known(imported: Imported, source: Path, path: Path) -> None:
    """Name the servers that an earlier start did not write, such as a server that the client has got since."""
    text = path.read_text("utf-8")
    missing = sorted(imported.upstreams.keys() - init.names_of_upstreams(text, str(path)))
    if missing:
        note(f"note: {path} lacks {', '.join(missing)}; `opagate init --from {source}` adds the servers of a file")


def _accept_missing_sandbox(imported: Imported) -> None:
    """Let servers run without a sandbox for some days, on a machine that has none: they ran so in the client."""
    found = machine.examine()
    programs = [upstream for upstream in imported.upstreams.values() if "command" in upstream]
    if found.may_sandbox or not programs:
        return
    until = datetime.now(UTC).date() + timedelta(days=_ACCEPTED_DAYS)
    for upstream in programs:
        upstream["isolation"] = {"kind": "none", "accepted_by": "opagate up --from", "until": until}
        for setting in ("files", "network"):
            upstream.pop(setting, None)
    imported.notes.append(
        f"this machine has no sandbox ({found.problem}), so each server has the rights of your account until {until};"
        " docs/isolation.md says what keeps servers apart"
    )


def _greet(configuration: Configuration, path: Path, links: list[str]) -> None:
    """Print where the gateway is, and the next commands."""
    out.print()
    out.print(
        f"[bold green]opagate {version('opagate')}[/] is up at [bold]{configuration.base_url}[/]. Ctrl-C stops it."
    )
    rows = pairs()
    rows.add_row("  all at once", Text(f"{configuration.base_url}/mcp", style="cyan"))
    for name in configuration.upstreams:
        rows.add_row(f"  {name}", Text(f"{configuration.base_url}/mcp/{name}", style="cyan"))
    show(rows)
    if not configuration.enforce:
        until = "" if configuration.observe_until is None else f" until {configuration.observe_until:%Y-%m-%d}"
        note(
            f"Observe mode is on{until}: calls that policy would refuse or ask about pass, and the record says so."
            f" `enforce: true` in {path} ends it at once."
        )
    if links:
        trial.print_heading("Console", "this link works once, for five minutes; `opagate console` makes another")
        out.print(links[0], markup=False, style="cyan")
    trial.print_heading("Next", "in another terminal")
    where = "" if str(path) == "gateway.yaml" else f" --config {shlex.quote(str(path))}"
    for remark, command in (
        ("the clients on this machine; `connect CLIENT` puts the gateway into the file of one", "connect"),
        ("each decision, as it is made", f"journal tail{where}"),
        ("the tools, their labels and pins", f"catalogue show{where}"),
        ("the least grants for what your agents did", f"policy grants propose{where}"),
    ):
        out.print(f"  # {remark}", style="dim", markup=False)
        out.print(f"  {trial.program()} {command}", style="cyan", markup=False)
    out.print()
