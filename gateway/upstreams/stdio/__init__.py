"""A stdio MCP server behind a streamable HTTP endpoint.

`upstream.StdioUpstream` has the interface of the HTTP upstream: a client cannot tell the two apart. `child` is a server
process; `spawner` starts and counts processes; `session` and `pool` are the two protocol eras.
"""

from gateway.upstreams.stdio.upstream import Status, StdioUpstream

__all__ = ["Status", "StdioUpstream"]
