"""`opagate serve`: the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration file.")]


def serve(configuration: _Config = Path("gateway.yaml")) -> None:
    """Serve the configured upstreams until SIGTERM or Ctrl-C."""
    import uvloop

    from gateway import app, config
    from gateway.telemetry import logs

    settings = config.load(configuration)
    logs.configure(settings.telemetry.log, settings.telemetry.level)
    uvloop.run(app.run(settings))
