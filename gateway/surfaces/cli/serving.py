"""The commands around a serving gateway: `opagate up`, `check` and `credentials token`."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from gateway.surfaces.cli import loop, start
from gateway.surfaces.cli.options import TRIAL, ConfigOption, JsonOption, configuration, configuration_path, seconds
from gateway.surfaces.cli.terminal import emit, err, line, note, out, paint, plain, show, table

_ServedOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="The configuration file. Without it: gateway.yaml, where it exists."
    ),
]
_SourceOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Serve the MCP servers of a client's file: of Claude, Codex, Cursor, Gemini CLI, opencode, VS Code.",
    ),
]


_WorkersOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=64,
        help="So many gateways on one port, over the database of `store`, or over one of their own in the state folder.",
    ),
]


def up(
    config: _ServedOption = None,
    source: _SourceOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Run a scripted agent through the gateway, show each decision, and exit.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="The port of a demo, on 127.0.0.1. By default 8080; a free one with --once.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder of a demo's keys, pins and record. By default state/; a temporary one with --once.",
        ),
    ] = None,
    workers: _WorkersOption = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --once: each step with all that was said.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --once: each step as a JSON line, for programs.")
    ] = False,
) -> None:
    """Start the gateway of gateway.yaml. Without this file, start a demo with servers for files, tickets and mail.

    The gateway runs until SIGTERM or Ctrl-C.

    A demo prints endpoints, a token, and what to try first; state/mcp.json is a client configuration with that token.

    With --from, it serves the servers of a client's file, and writes gateway.yaml and grants.yaml for them if there are none.

    Secrets stay in the client's file: each start reads them there.

    With --once, exit status 1 if a step did not go as expected.
    """
    if source is not None and (once or state is not None):
        raise typer.BadParameter("--from goes with --port alone")
    if (as_json or verbose) and not once:
        raise typer.BadParameter(f"{'--json' if as_json else '--verbose'} goes with --once")
    for option, value in (("--config", config), ("--workers", workers)):
        if value is not None and (source is not None or once):
            raise typer.BadParameter(f"{option} goes without --from and --once")
    if source is not None:
        from gateway.surfaces.cli import adoption

        start.protect_process()
        adoption.up(source, start.CONFIGURATION, port=port or 8080)
    elif once:
        start.protect_process()
        _run_tour(port, state, as_json=as_json, verbose=verbose)
    else:
        _serve(config, port, state, workers)


def _serve(config: Path | None, port: int | None, state: Path | None, workers: int | None) -> None:
    """Serve a configuration, or a demo where there is none."""
    import uvloop

    if config is not None or start.CONFIGURATION.exists():
        if port is not None or state is not None:
            raise typer.BadParameter("--port and --state are for a demo; the configuration has `listen` and `state`")
        if workers is not None:
            from gateway.surfaces.cli import workers as supervised

            raise typer.Exit(supervised.serve(config or start.CONFIGURATION, workers))
        start.serve(config or start.CONFIGURATION)
        return
    if workers is not None:
        raise typer.BadParameter("--workers is for a gateway with a configuration")
    from gateway.surfaces.cli import trial

    start.protect_process()
    uvloop.run(trial.run(port=port or 8080, state=state or TRIAL.parent))


def _run_tour(port: int | None, state: Path | None, *, as_json: bool, verbose: bool) -> None:
    import uvloop

    from gateway.surfaces.cli import tour

    form = tour.TourForm.JSON if as_json else tour.TourForm.FULL if verbose else tour.TourForm.BRIEF
    if not uvloop.run(tour.run(port=port, state=state, form=form)):
        raise typer.Exit(1)


def token(
    agent: Annotated[str, typer.Option(metavar="NAME", help="The agent that the token is for.")],
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The person on whose behalf it acts.")] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A group of that person. Repeatable.")] = None,
    scope: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A scope. Repeatable.")] = None,
    ttl: Annotated[str, typer.Option(metavar="DURATION", help="How long it is valid.")] = "1h",
    config: ConfigOption = None,
) -> None:
    """Print a development token, and nothing else, on standard output."""
    from gateway.identity import claims
    from gateway.surfaces.cli.caller import issue_development_token

    lifetime = seconds(ttl)
    for option, name in (("agent", agent), ("user", user)):
        if name is not None and claims.identifier(name) is None:
            raise typer.BadParameter(
                f"--{option} is empty, too long, no SPIFFE ID or not printable, so no gateway takes it"
            )
    if group and not user:
        raise typer.BadParameter("a group is that of a user; add --user")
    settings = configuration(config)
    made = issue_development_token(
        settings,
        str(configuration_path(config)),
        agent=agent,
        ttl=lifetime,
        clock=time.time,
        user=user,
        groups=group or (),
        scopes=scope or (),
    )
    is_private = any(identity.kind == "development" and identity.reach == "private" for identity in settings.identity)
    place = "private addresses and this machine" if is_private else "this machine only"
    note(f"A token for development: {settings.base_url} accepts it from {place}, for {ttl}.")
    line(made)


def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Validate the configuration and reach for everything in it: keys, upstreams, policy, lock file, journal, TLS.

    Nothing is pinned and nothing is called. Exit status 1 if something would keep the gateway from working.
    """
    from gateway.surfaces.cli import checks

    path = configuration_path(config)
    if not path.exists():
        configuration(path)  # says that it is missing, and how to make one
    with err.status("Checking") if err.is_terminal else nullcontext():
        found = loop.run(checks.run(path))
    failed = any(item.state == "fail" for item in found)
    if as_json:
        emit({"configuration": str(path), "ok": not failed, "findings": [checks.as_json(item) for item in found]})
    else:
        rows = table("", "what", "found", title=f"Configuration {path}")
        for item in found:
            text = plain(item.found)
            for line in item.lines:
                text.append("\n  ").append_text(plain(line))
            if item.remedy:
                text.append("\n→ ", style="cyan").append_text(plain(item.remedy))
            rows.add_row(paint(item.state), item.what, text)
        show(rows)
        out.print(_summary([item.state for item in found]))
    if failed:
        raise typer.Exit(1)


def _summary(states: list[str]) -> object:
    failures, warnings = states.count("fail"), states.count("warn")
    if failures:
        return paint("fail", f"{failures} to mend before the gateway works, {warnings} to look at")
    return paint(
        "warn" if warnings else "ok", f"{warnings} to look at; the gateway would start" if warnings else "all is well"
    )
