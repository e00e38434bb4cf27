"""Telemetry for operators: logs, metrics, traces. It holds no secrets and no values of arguments."""
