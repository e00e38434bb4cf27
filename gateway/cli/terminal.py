"""What the commands print with: tables and colours on stdout, complaints on stderr."""

from __future__ import annotations

from rich.console import Console

from gateway.errors import GatewayError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def complain(error: GatewayError) -> None:
    """One sentence, and a remedy if there is one."""
    err.print(f"opagate: {error.message}", style="red", markup=False)
    if error.remedy:
        err.print(f"  → {error.remedy}", markup=False)
