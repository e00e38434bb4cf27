"""The MCP servers behind the gateway: how they are reached, and what is known of their tools."""
