"""AgentDojo's tasks and attacks, replayed on the shipped policy without a model. docs/benchmarks/agentdojo.md explains it."""
