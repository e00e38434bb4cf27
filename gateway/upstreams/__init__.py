"""The MCP servers behind the gateway: the ways to the servers, and the knowledge of their tools."""
