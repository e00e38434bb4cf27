"""An MCP server with one act that cannot be taken back, and a count of it.

Run: `python -m tests.servers.payments --fd N`, where N is a listening socket, or `--stdio`. It speaks both eras. In the handshake era
its sessions are stateful, and `pay_confirmed` asks the client in the midst of the call.
"""

from __future__ import annotations

import sys

from mcp.server.elicitation import AcceptedElicitation
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

from tests.servers.serving import serve


class Confirmation(BaseModel):
    """The form that the payer fills in."""

    is_right: bool


def build() -> MCPServer:
    """Return the server."""
    server = MCPServer("payments", version="1", log_level="WARNING")
    paid: list[str] = []

    @server.tool()
    def pay(to: str, amount: int) -> str:  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        """Pay an amount of money to somebody. Cannot be taken back."""
        paid.append(to)
        return f"paid {amount} to {to}: payment {paid.count(to)}"

    @server.tool()
    async def pay_confirmed(to: str, amount: int, context: Context) -> str:  # pyright: ignore[reportUnusedFunction]
        """Pay after the payer has confirmed the amount."""
        answer = await context.elicit(f"Pay {amount} to {to}?", Confirmation)
        if not isinstance(answer, AcceptedElicitation) or not answer.data.is_right:
            return f"not paid: {answer.action}"
        return pay(to, amount)

    @server.tool()
    def count(to: str) -> str:  # pyright: ignore[reportUnusedFunction]
        """Count the payments to somebody."""
        return str(paid.count(to))

    return server


if __name__ == "__main__":
    if "--stdio" in sys.argv:
        build().run("stdio")
    else:
        serve(build().streamable_http_app())
