"""Three small MCP servers to try the gateway on, and a scripted agent that uses them (`opagate up`)."""
