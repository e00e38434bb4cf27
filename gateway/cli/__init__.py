"""The command line: `opagate`. One module for each command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. A gateway that serves loads neither the other commands nor what they print with."""
    if sys.argv[1:2] == ["serve"]:
        from gateway.cli import running, serve

        sys.exit(running.run(serve.app, "opagate serve", sys.argv[2:]))
    from gateway.cli import root

    root.main()


__all__ = ["main"]
