"""`python -m benchmarks.labels.collect [SERVER …]`: list the tools of the servers in servers.toml anew, into lists.jsonl.

Each server is the real package, started by npx or uvx. Descriptions of arguments are left out, for no proposal reads them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import PaginatedRequestParams

LISTS: Final = Path(__file__).with_name("lists.jsonl")
_SECONDS: Final = 300.0
_KEPT: Final = frozenset({"type", "format", "enum", "items", "properties", "anyOf", "oneOf"})


def read_lists() -> dict[str, list[Any]]:
    """Return the listed tools of each server."""
    return {item["server"]: item["tools"] for item in map(json.loads, LISTS.read_text("utf-8").splitlines())}


def shorten(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a listed tool that proposals read."""
    kept = {key: tool[key] for key in ("name", "description", "annotations") if tool.get(key)}
    return {**kept, "inputSchema": _shorten_schema(tool.get("inputSchema", {}))}


def _shorten_schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in cast("Mapping[str, Any]", schema).items():
        if key == "properties":
            found[key] = {name: _shorten_schema(inner) for name, inner in value.items()}
        elif key in {"anyOf", "oneOf"}:
            found[key] = [_shorten_schema(inner) for inner in value]
        elif key in _KEPT:
            found[key] = _shorten_schema(value)
    return found


def main(names: Iterable[str]) -> None:
    """List the named servers, or all, and write what they list."""
    servers = tomllib.loads(Path(__file__).with_name("servers.toml").read_text("utf-8"))
    lists = read_lists()
    for name in [*names] or [*servers]:
        tools = asyncio.run(asyncio.wait_for(_list_tools(servers[name]), _SECONDS))
        lists[name] = [shorten(tool) for tool in tools]
        print(f"{name}: {len(tools)} tools")
    lines = (
        json.dumps({"server": name, "tools": lists[name]}, ensure_ascii=False, separators=(",", ":")) for name in lists
    )
    LISTS.write_text("\n".join(lines) + "\n", "utf-8")


async def _list_tools(server: Mapping[str, Any]) -> list[dict[str, Any]]:
    program, *arguments = server["command"]
    environment = {**os.environ, **server.get("environment", {})}
    parameters = StdioServerParameters(command=program, args=arguments, env=environment)
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        found: list[dict[str, Any]] = []
        asked: PaginatedRequestParams | None = None
        while True:
            page = await session.list_tools(params=asked)
            found += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            if page.next_cursor is None:
                return found
            asked = PaginatedRequestParams(cursor=page.next_cursor)


if __name__ == "__main__":
    main(sys.argv[1:])
