"""Declared tasks: a caller's plan before it acts. `contract` reads a declaration, `tokens` names the task, `selection`
finds the task in a call, and `endpoints` serves `/tasks`. `history` keeps the actions of a task."""
