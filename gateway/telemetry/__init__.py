"""What operators see: logs, metrics, traces. Never a secret, and never an argument's value."""
