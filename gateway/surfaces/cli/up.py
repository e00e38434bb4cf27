"""`opagate up`: everything, embedded, for a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.surfaces.cli.options import TRIAL


def up(
    once: Annotated[
        bool, typer.Option("--once", help="Run a scripted agent through the gateway, show each decision, and exit.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65535, help="The port on 127.0.0.1. By default 8080; a free one with --once."
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder for keys, pins and the record. By default state/; a temporary one with --once.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --once: each step with all that was said.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --once: each step as a JSON line, for programs.")
    ] = False,
) -> None:
    """Start a gateway to try, with demo upstreams (files, tickets, mail) and no configuration.

    It prints endpoints, a token, and what to try first; state/mcp.json is a client configuration with that token.

    With --once, exit status 1 if a step did not go as expected.
    """
    import uvloop

    from gateway.base import own_process
    from gateway.surfaces.cli import tour, trial

    if (as_json or verbose) and not once:
        raise typer.BadParameter(f"{'--json' if as_json else '--verbose'} goes with --once")
    own_process.hide_memory()
    own_process.adopt_orphans()
    if once:
        form = tour.TourForm.JSON if as_json else tour.TourForm.FULL if verbose else tour.TourForm.BRIEF
        passed = uvloop.run(tour.run(port=port, state=state, form=form))
        if not passed:
            raise typer.Exit(1)
    else:
        uvloop.run(trial.run(port=port or 8080, state=state or TRIAL.parent))
