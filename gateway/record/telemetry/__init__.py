"""Telemetry for operators: logs, metrics, traces. Telemetry holds no secrets and no values of arguments."""
