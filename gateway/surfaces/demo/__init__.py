"""Three small MCP servers to try the gateway on, and a scripted agent as their client (`opagate up`)."""
