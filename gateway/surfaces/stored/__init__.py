"""The state of a gateway on disk: its forms, a copy of it, and its return."""
