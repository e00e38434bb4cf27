"""Declared tasks: a caller's plan before it acts. `contract` reads a declaration, `tokens` names the task, `selection`
finds it in a call, and `endpoints` serves it. `history` keeps the actions of a task."""
