"""An MCP server on the Python SDK that completes the variables of a prompt and of a resource template, and prints what it
was asked to complete.

Run: `python -m tests.servers.completing --fd N`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server import Server

from tests.servers.serving import serve

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

CITIES = ("paris", "parma", "porto")


async def list_prompts(
    _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
) -> types.ListPromptsResult:
    return types.ListPromptsResult(
        prompts=[types.Prompt(name="travel", arguments=[types.PromptArgument(name=name) for name in ("from", "to")])]
    )


async def complete(_context: ServerRequestContext[Any], params: types.CompleteRequestParams) -> types.CompleteResult:
    said = [params.argument.value, *(params.context.arguments or {} if params.context else {}).values()]
    sys.stdout.write(f"completed: {' '.join(said)}\n")
    values = [city for city in CITIES if city.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


if __name__ == "__main__":
    server = Server[Any]("completing", version="1.0.0", on_list_prompts=list_prompts, on_completion=complete)
    serve(server.streamable_http_app())
