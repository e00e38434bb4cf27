"""The one endpoint `/mcp`: all upstreams of a caller as one server. Each message goes the way of `/mcp/<upstream>`; nothing is decided here."""
