"""The command line: `opagate`. A module for each command."""

from __future__ import annotations

import os
import sys
from functools import partial


def main() -> None:
    """Run the command line. `opagate up` loads neither the other commands nor the packages for printing to
    people."""
    _open_streams()
    from gateway.surfaces.cli import start

    if (configuration := start.asked_for(sys.argv[1:])) is not None:
        from gateway.surfaces.cli import running

        sys.exit(running.run(partial(start.serve, configuration)))
    from gateway.surfaces.cli import root

    root.main()


def _open_streams() -> None:
    """Open missing standard streams on the null device, before another file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - it stays open


__all__ = ["main"]
