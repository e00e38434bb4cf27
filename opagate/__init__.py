"""Modules for MCP servers behind an opagate gateway. They import nothing of the gateway."""
