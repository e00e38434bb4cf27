"""`opagate serve`: the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvloop

from gateway import app as gateway_app
from gateway import config
from gateway.telemetry import logs

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True)]


def serve(configuration: ConfigOption = Path("gateway.yaml")) -> None:
    """Serve the configured upstreams until SIGTERM or Ctrl-C."""
    settings = config.load(configuration)
    logs.configure(settings.telemetry.log, settings.telemetry.level)
    uvloop.run(gateway_app.run(settings))
