"""The work of `opagate serve`, without the modules that read command lines, which a serving gateway does not need."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CONFIGURATION: Final = Path("gateway.yaml")


def asked_for(words: Sequence[str]) -> Path | None:
    """The configuration to serve, if a command line says so plainly. All others are for typer to read."""
    match words:
        case ["serve"]:
            return CONFIGURATION
        case ["serve", "--config" | "-c", name] if not name.startswith("-"):
            return Path(name)
        case ["serve", word] if word.startswith("--config="):
            return Path(word.removeprefix("--config="))
        case _:
            return None


def serve(configuration: Path) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    _load_structlog()
    import uvloop

    from gateway import app, config
    from gateway.telemetry import logs

    settings = config.load(configuration)
    logs.configure(settings.telemetry.log, settings.telemetry.level)
    uvloop.run(app.run(settings))


def _load_structlog() -> None:
    """Load structlog without Rich. Structlog would load Rich (4 MB) to draw tracebacks, which the gateway never logs."""
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] - this is how an import is made to fail (importlib reference)
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
