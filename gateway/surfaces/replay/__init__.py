"""Trials of recorded sessions on a policy. `trace` defines a session, `reader` streams it from a file, and `secrets`
makes its credentials. `engine` decides its steps as the gateway would, and `report` counts and compares."""

from gateway.surfaces.replay.engine import StepOutcome, replay
from gateway.surfaces.replay.reader import check, read_traces
from gateway.surfaces.replay.report import DecisionDifference, Totals, compare
from gateway.surfaces.replay.trace import Expectation, Step, Trace, TraceInvalid

__all__ = [
    "DecisionDifference",
    "Expectation",
    "Step",
    "StepOutcome",
    "Totals",
    "Trace",
    "TraceInvalid",
    "check",
    "compare",
    "read_traces",
    "replay",
]
