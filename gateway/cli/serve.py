"""`opagate serve`: the gateway."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.help import Program

_Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration file.")]


app = Program(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)
"""The command by itself, as `opagate serve` runs it."""


@app.command(epilog="Example: opagate serve --config gateway.yaml")
def serve(configuration: _Config = Path("gateway.yaml")) -> None:
    """Serve the configured upstreams until SIGTERM or Ctrl-C."""
    _load_structlog()
    import uvloop

    from gateway import app, config
    from gateway.telemetry import logs

    settings = config.load(configuration)
    logs.configure(settings.telemetry.log, settings.telemetry.level)
    uvloop.run(app.run(settings))


def _load_structlog() -> None:
    """Load structlog without Rich: it would load it, 4 MB, for tracebacks, which are never logged."""
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] - this is how an import is made to fail (importlib reference)
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
