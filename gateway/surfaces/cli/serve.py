"""`opagate serve`: the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.surfaces.cli import start

_Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration file.")]


def serve(configuration: _Config = start.CONFIGURATION) -> None:
    """Serve the configured upstreams until SIGTERM or Ctrl-C."""
    start.serve(configuration)
