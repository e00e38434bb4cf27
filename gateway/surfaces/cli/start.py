"""The work of `opagate up`, without the modules for command lines, of no use to a serving gateway."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CONFIGURATION: Final = Path("gateway.yaml")


def asked_for(words: Sequence[str]) -> Path | None:
    """Return the configuration to serve, if a command line names it plainly. All others are for typer to read."""
    match words:
        case ["up"] if CONFIGURATION.exists():
            return CONFIGURATION
        case ["up", "--config" | "-c", name] if not name.startswith("-"):
            return Path(name)
        case ["up", word] if word.startswith("--config="):
            return Path(word.removeprefix("--config="))
        case _:
            return None


def serve(configuration: Path) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    load_lean()
    import uvloop

    from gateway.config.loading import forget_secrets
    from gateway.record.telemetry import logs
    from gateway.surfaces import app
    from gateway.surfaces.cli import client_values

    protect_process()
    settings = client_values.load(configuration)
    forget_secrets(settings)
    logs.configure(settings.telemetry.log, settings.telemetry.level)
    uvloop.run(app.run(settings, read=client_values.load))


def protect_process() -> None:
    """Hide the memory of this process from other programs, and make orphans below it its children."""
    from gateway.base import own_process

    own_process.hide_memory()
    own_process.adopt_orphans()


def load_lean() -> None:
    """Load structlog and Starlette without packages that they would load and the gateway never uses.

    Structlog loads Rich (4 MB) to draw tracebacks, and greenlet where it is installed. Starlette loads python_multipart (2 MB)
    to read forms.
    """
    _load("structlog", without=("rich", "greenlet"))
    _load("starlette.requests", without=("python_multipart", "multipart"))


def _load(module: str, *, without: Sequence[str]) -> None:
    absent = [name for name in without if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment] - this is how an import is made to fail (importlib reference)
    try:
        importlib.import_module(module)
    finally:
        for name in absent:
            del sys.modules[name]
